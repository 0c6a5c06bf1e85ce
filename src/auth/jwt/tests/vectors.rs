//! What a bearer may look like: each line with its case of S1 to S16, the section that decides, what comes of it, and
//! how many signatures that costs.

use super::{lines, *};
use Wants::{Good, Invalid, Malformed, Missing};

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Wants {
    Good,
    Missing,
    Invalid,
    Malformed,
}

struct Vector {
    case: &'static str,
    rfc: &'static str,
    headers: Vec<String>,
    query: Option<String>,
    wants: Wants,
    costs: u64,
}

#[derive(Default)]
pub struct Table(Vec<Vector>);

impl Table {
    pub fn headers(&mut self, case: &'static str, rfc: &'static str, headers: &[&str], wants: Wants) {
        let headers = headers.iter().map(|header| (*header).to_owned()).collect();
        let costs = u64::from(wants == Good);
        self.0.push(Vector { case, rfc, headers, query: None, wants, costs });
    }
    pub fn query(&mut self, rfc: &'static str, headers: &[&str], query: String) {
        self.headers("S4", rfc, headers, Malformed);
        self.0.last_mut().unwrap().query = Some(query);
    }
    /// A bearer that is refused without a signature, or good for the price of one.
    pub fn bearer(&mut self, case: &'static str, rfc: &'static str, token: impl AsRef<str>, wants: Wants) {
        self.headers(case, rfc, &[&format!("Bearer {}", token.as_ref())], wants);
    }
    /// A bearer that is refused for its signature, or for what counts only under a good one.
    pub fn verified(&mut self, case: &'static str, rfc: &'static str, token: impl AsRef<str>) {
        self.bearer(case, rfc, token, Invalid);
        self.costing(1);
    }
    /// The last line costs so many signatures.
    pub fn costing(&mut self, costs: u64) {
        self.0.last_mut().unwrap().costs = costs;
    }
}

#[tokio::test]
async fn every_bearer_is_judged_as_its_line_says() {
    let scene = Scene::start().await;
    let mut table = Table::default();
    lines::all(&mut table, &scene);
    assert!(table.0.len() >= 300, "{}", table.0.len());
    let fetches = scene.issuer.fetches();
    let mut wrong = Vec::new();
    for (n, vector) in table.0.iter().enumerate() {
        let before = scene.verifications();
        let headers: Vec<&str> = vector.headers.iter().map(String::as_str).collect();
        // What cannot stand in a header never comes so far.
        if headers.iter().any(|h| http::HeaderValue::from_bytes(h.as_bytes()).is_err()) {
            panic!("line {n} is no header");
        }
        let got = match scene.send(&headers, vector.query.as_deref()).await {
            Ok(_) => Good,
            Err(AuthError::Missing) => Missing,
            Err(AuthError::Malformed(_)) => Malformed,
            Err(AuthError::Invalid) => Invalid,
            Err(AuthError::Unavailable) => panic!("line {n}: the keys are there"),
        };
        let costs = scene.verifications() - before;
        if (got, costs) != (vector.wants, vector.costs) {
            let shown: Vec<String> = headers.iter().map(|h| h.chars().take(120).collect()).collect();
            let parts: Vec<String> = headers
                .iter()
                .flat_map(|h| h.split('.'))
                .filter_map(|part| {
                    String::from_utf8(BASE64.decode(part.trim_start_matches("Bearer ")).ok()?).ok()
                })
                .collect();
            wrong.push(format!(
                "line {n}, {} ({}): wanted {:?} for {}, got {got:?} for {costs}: {shown:?} {parts:?}",
                vector.case, vector.rfc, vector.wants, vector.costs
            ));
        }
    }
    assert!(wrong.is_empty(), "{} lines are wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(scene.canary.requests().len(), 0, "S9, S10: nobody was asked on a token's word");
    assert!(scene.issuer.fetches() <= fetches + 1, "S9: one fetch for all the unknown keys");
    println!("{} vectors", table.0.len());
}
