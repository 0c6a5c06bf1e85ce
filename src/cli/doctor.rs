//! `doctor`: tries everything that serving needs, and says of what fails how to mend it.

use super::{Gateway, options, output, trial};
use crate::{
    auth::{self, Issuer, Mode},
    config::{Config, Loaded},
    outbound::Clients,
    providers::{Registry, Upstream},
    spool::Spool,
    store::{Address, Filter, Store, StoreError, Window},
    telemetry::{Clock as _, SystemClock},
};
use anyhow::anyhow;
use plugin_api::{ErrorClass, Provider, ProviderError};
use std::{
    path::Path,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{task::JoinSet, time::timeout};
use uuid::Uuid;

/// A vendor that has not answered by then is as good as away.
const PATIENCE: Duration = Duration::from_secs(10);
/// And storage, which asks several times by itself, as little.
const STORAGE_PATIENCE: Duration = Duration::from_secs(30);
/// Signatures and tokens of vendors fail beyond a few minutes; this tells early.
const SKEW_US: i64 = 60_000_000;
/// This program is younger than that: 2026-01-01.
const BORN_US: i64 = 1_767_225_600_000_000;

/// What findings about a provider are called, before its name.
const PROVIDER: &str = "provider ";

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    /// Not in use, with the reason.
    Off,
    /// Works, and deserves a look.
    Warn,
    Fail,
}

/// One thing that was tried.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Finding {
    verdict: Verdict,
    what: String,
    says: String,
    remedy: Option<String>,
}

impl Finding {
    /// In use, and nothing speaks against it.
    pub fn works(&self) -> bool {
        matches!(self.verdict, Verdict::Ok | Verdict::Warn)
    }
    fn new(verdict: Verdict, what: &str, says: impl Into<String>) -> Finding {
        Finding { verdict, what: what.into(), says: says.into(), remedy: None }
    }
    pub fn ok(what: &str, says: impl Into<String>) -> Finding {
        Finding::new(Verdict::Ok, what, says)
    }
    pub fn fail(what: &str, says: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { remedy: Some(remedy.into()), ..Finding::new(Verdict::Fail, what, says) }
    }
    fn warn(what: &str, says: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { remedy: Some(remedy.into()), ..Finding::new(Verdict::Warn, what, says) }
    }
}

/// Examine the machine: database, storage, disk, clock, and every provider's credentials
///
/// Vendors are asked only what is free, unless `--generate` is given. The exit code is 1 when something fails.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Args {
    /// Also make the cheapest image there is with every provider that works; the price is told first, and asked about
    #[arg(long)]
    generate: bool,
    /// Make the images without asking
    #[arg(long, requires = "generate")]
    yes: bool,
}

pub async fn run(gateway: &Gateway, args: Args) -> anyhow::Result<ExitCode> {
    let loaded = gateway.load()?;
    let findings = examine(gateway, &loaded).await?;
    output::print(&report(&findings));
    let mut failed = findings.iter().any(|f| f.verdict == Verdict::Fail);
    if args.generate {
        let works = |finding: &Finding| {
            finding.what.strip_prefix(PROVIDER).filter(|_| finding.works()).map(str::to_owned)
        };
        let working: Vec<String> = findings.iter().filter_map(works).collect();
        failed |= !trial::run(gateway, loaded, &working, args.yes).await?;
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn examine(gateway: &Gateway, loaded: &Loaded) -> anyhow::Result<Vec<Finding>> {
    let (config, data_dir) = (&loaded.config, gateway.data_dir());
    let clients = Clients::new()?;
    let mut findings: Vec<Finding> = vec![configuration(loaded)];
    if let Err(error) = options::prepare(&data_dir) {
        findings.push(Finding::fail(
            "data directory",
            output::sentence(&error),
            "Everything else lies in it.",
        ));
        return Ok(findings);
    }
    findings.push(Finding::ok("data directory", data_dir.display().to_string()));
    let store = Store::open(&config.database, &data_dir, Arc::new(SystemClock)).await;
    findings.push(database(config, &data_dir, &store).await);
    findings.push(storage(config, &data_dir).await);
    let (disk, spool) = disk(config, &data_dir);
    findings.push(disk);
    findings.push(clock(config, gateway, &clients, store.as_ref().ok()).await);
    findings.push(public_url(config, &clients).await);
    findings.extend(issuers(config, &clients).await);
    let spool = Arc::new(spool.unwrap_or_else(|| Spool::unopened(&config.storage.spool, &data_dir)));
    let registry = options::build_registry(config, gateway.plugins, spool)?;
    findings.extend(providers(registry).await);
    Ok(findings)
}

/// Good, or it would not be here.
fn configuration(loaded: &Loaded) -> Finding {
    let file = super::banner::configuration(loaded);
    let notes: Vec<&str> = loaded.warnings.iter().chain(&loaded.later).map(String::as_str).collect();
    match notes.as_slice() {
        [] => Finding::ok("configuration", file),
        notes => Finding::warn("configuration", file, notes.join("\n")),
    }
}

async fn database(config: &Config, data_dir: &Path, store: &Result<Store, StoreError>) -> Finding {
    let (name, is_file) = match Address::parse(&config.database.url, data_dir) {
        Ok(address) => (address.to_string(), address.is_file()),
        // Its text is in what the store says; the URL itself may hold a password.
        Err(_) => ("database.url".to_owned(), false),
    };
    let remedy = if is_file {
        "Check the file's rights and owner and the free space; `database.url` names another file."
    } else {
        "Check `database.url`, whether the server runs and can be reached from here, and the rights of its user."
    };
    let tried = async {
        let store = store.as_ref().map_err(Clone::clone)?;
        store.probe().await?;
        store.load().await
    };
    match timeout(PATIENCE, tried).await {
        Ok(Ok((waiting, running))) => {
            Finding::ok("database", format!("{name} takes writes; {waiting} jobs wait, {running} run"))
        }
        Ok(Err(error)) => Finding::fail("database", error.to_string(), remedy),
        Err(_) => Finding::fail(
            "database",
            format!("{name} gives no answer in {} s", PATIENCE.as_secs()),
            "Another program may hold its lock: end it, or wait until it is done.",
        ),
    }
}

async fn storage(config: &Config, data_dir: &Path) -> Finding {
    let place = crate::images::place(&config.storage, data_dir);
    let tried = async {
        let images = super::images::open(config, data_dir)?;
        let start = Instant::now();
        images.health().await.map(|()| start.elapsed())
    };
    let remedy = match config.storage.kind.as_str() {
        "fs" => "Check `storage` in the configuration, the folder's rights, and the free space.",
        _ => "Check `storage.options` in the configuration; docs/storage.md has every step.",
    };
    match timeout(STORAGE_PATIENCE, tried).await {
        Ok(Ok(took)) => {
            let took = took.as_millis();
            let says = format!(
                "{}, {place}: an object was written, read and deleted in {took} ms",
                config.storage.kind
            );
            Finding::ok("storage", says)
        }
        Ok(Err(error)) => Finding::fail("storage", error.to_string(), remedy),
        Err(_) => Finding::fail(
            "storage",
            format!("{place} gives no answer in {} s", STORAGE_PATIENCE.as_secs()),
            remedy,
        ),
    }
}

fn disk(config: &Config, data_dir: &Path) -> (Finding, Option<Spool>) {
    let spool = match Spool::open(&config.storage.spool, data_dir, config.storage.max_image.0) {
        Ok(spool) => spool,
        Err(error) => {
            let remedy = "Check the folder's rights; `storage.spool.root` names another one.";
            return (Finding::fail("disk", format!("the spool cannot be used: {error}"), remedy), None);
        }
    };
    let sizes = spool.free_bytes().and_then(|free| Ok((free, spool.used_bytes()?)));
    let finding = match sizes {
        Err(error) => Finding::fail("disk", error.to_string(), "Check that the disk is mounted."),
        Ok((free, used)) => {
            let says = format!(
                "{} free; {} of {} for answers on their way",
                output::bytes(free),
                output::bytes(used),
                config.storage.spool.limit
            );
            if spool.has_room() {
                Finding::ok("disk", says)
            } else {
                Finding::fail(
                    "disk",
                    says,
                    "Free some space or raise storage.spool.limit: until then new jobs wait.",
                )
            }
        }
    };
    (finding, Some(spool))
}

async fn clock(config: &Config, gateway: &Gateway, clients: &Clients, store: Option<&Store>) -> Finding {
    let now = SystemClock.now_us();
    let newest = match store {
        Some(store) => store
            .list_jobs(&Filter::default(), Window::first(1))
            .await
            .ok()
            .and_then(|found| found.rows.into_iter().next()),
        None => None,
    };
    let newest_us = newest.map(|rows| rows.job.created_us);
    let seen = match options::registry(config, gateway.plugins, &gateway.data_dir()) {
        Ok(registry) => vendor_time(config, &registry, clients).await,
        Err(_) => None,
    };
    judge_clock(now, newest_us, seen.as_ref().map(|(host, us)| (host.as_str(), *us)))
}

fn judge_clock(now_us: i64, newest_job_us: Option<i64>, vendor: Option<(&str, i64)>) -> Finding {
    let says = output::time(now_us);
    let set = "Set the machine's clock, best by NTP: leases, links and vendors' signatures depend on it.";
    if now_us < BORN_US {
        return Finding::fail("clock", format!("{says} is before this program was written"), set);
    }
    if let Some(job) = newest_job_us.filter(|job| *job > now_us + SKEW_US) {
        let text = format!("{says}, and the newest job is of {}: the clock was set back", output::time(job));
        return Finding::fail("clock", text, set);
    }
    match vendor {
        None => Finding::ok("clock", format!("{says} (no vendor to compare with)")),
        Some((host, theirs)) if (theirs - now_us).abs() > SKEW_US => {
            let side = if theirs > now_us { "behind" } else { "ahead of" };
            Finding::fail("clock", format!("{says}, {} {side} {host}", output::span(theirs - now_us)), set)
        }
        Some((host, _)) => Finding::ok("clock", format!("{says}, as {host} has it")),
    }
}

/// The time as the first vendor that is on has it, by the `Date` of an answer to a request without credentials.
async fn vendor_time(config: &Config, registry: &Registry, clients: &Clients) -> Option<(String, i64)> {
    let url = registry.instances().filter(|instance| instance.is_on()).find_map(|instance| {
        let url = config.providers.get(&instance.id)?.plugin.get("base_url")?.as_str()?;
        url::Url::parse(url).ok().filter(|url| url.scheme() == "https")
    })?;
    let answer = timeout(PATIENCE / 2, clients.vendor().head(url.clone()).send()).await.ok()?.ok()?;
    let date = answer.headers().get(http::header::DATE)?.to_str().ok()?;
    Some((url.host_str()?.to_owned(), http_date(date)?))
}

fn http_date(text: &str) -> Option<i64> {
    let zoned = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(zoned.timestamp().as_microsecond())
}

async fn public_url(config: &Config, clients: &Clients) -> Finding {
    let Some(url) = &config.server.public_url else {
        return Finding::ok("public URL", "not set: links lead to the address that is bound");
    };
    let probe = format!("{}/livez", url.trim_end_matches('/'));
    let says = match timeout(PATIENCE / 2, clients.vendor().get(&probe).send()).await {
        Ok(Ok(answer)) if answer.status().is_success() => {
            return Finding::ok("public URL", format!("{url} answers"));
        }
        Ok(Ok(answer)) => format!("{probe} answers {}", answer.status()),
        Ok(Err(_)) => format!("{url} cannot be reached from here"),
        Err(_) => format!("{url} gives no answer"),
    };
    let remedy =
        "Fine while the server is stopped; else check server.public_url, DNS and the proxy in front.";
    Finding::warn("public URL", says, remedy)
}

/// Fetches the keys of every issuer, at the same time.
async fn issuers(config: &Config, clients: &Clients) -> Vec<Finding> {
    let used = matches!(config.auth.mode, Mode::Jwt | Mode::Any);
    let mut running = JoinSet::new();
    for (n, issuer) in config.auth.issuers.iter().cloned().enumerate() {
        let http = clients.vendor().clone();
        running.spawn(async move {
            let tried = if used { Some(auth::try_keys(&issuer, &http).await) } else { None };
            (n, judge_issuer(&issuer, tried))
        });
    }
    in_order(running).await
}

fn judge_issuer(issuer: &Issuer, tried: Option<Result<(usize, Vec<String>), String>>) -> Finding {
    let what = format!("issuer {}", issuer.issuer);
    let from = issuer.jwks_url.as_ref().or(issuer.jwks_file.as_ref()).map_or("", String::as_str);
    match tried {
        None => Finding::new(Verdict::Off, &what, "`auth.mode` takes no tokens: `any` or `jwt` does"),
        Some(Err(why)) => Finding::fail(
            &what,
            format!("{from}: {why}"),
            "Check its jwks_url or jwks_file; its `jwks_uri` stands under /.well-known/openid-configuration. \
             Until its keys are there, its tokens are answered with 503.",
        ),
        Some(Ok((keys, skipped))) => {
            let noun = if keys == 1 { "key" } else { "keys" };
            let says = format!("{keys} {noun} for {} at {from}", issuer.algorithms.join(", "));
            match skipped.as_slice() {
                [] => Finding::ok(&what, says),
                // Issuers publish keys for other uses, too.
                _ => Finding { remedy: Some(skipped.join("\n")), ..Finding::ok(&what, says) },
            }
        }
    }
}

/// The finding about one configured provider alone.
///
/// # Errors
/// The providers cannot be built, or the answer of the vendor has no place on this machine.
pub async fn provider(gateway: &Gateway, config: &Config, id: &str) -> anyhow::Result<Finding> {
    let data_dir = gateway.data_dir();
    options::prepare(&data_dir)?;
    let spool = Spool::open(&config.storage.spool, &data_dir, config.storage.max_image.0)?;
    let registry = options::build_registry(config, gateway.plugins, Arc::new(spool))?;
    let upstream = registry.instance(id).cloned().ok_or_else(|| anyhow!("there is no provider `{id}`"))?;
    Ok(ask(&registry, &upstream).await)
}

/// Asks a vendor what is free there.
async fn ask(registry: &Registry, upstream: &Upstream) -> Finding {
    let what = format!("{PROVIDER}{}", upstream.id);
    let provider = match &upstream.provider {
        Err(why) => return Finding::new(Verdict::Off, &what, why),
        Ok(provider) => provider,
    };
    let ask = async |provider: &dyn Provider| {
        let context = registry.context(Uuid::new_v4(), tokio::time::Instant::now() + PATIENCE);
        let late =
            || ProviderError::new(ErrorClass::Unavailable, format!("no answer in {} s", PATIENCE.as_secs()));
        timeout(PATIENCE, provider.check(&context)).await.unwrap_or_else(|_| Err(late()))
    };
    let keys = upstream.keys();
    if keys.len() < 2 {
        return judge_provider(&what, ask(provider.as_ref()).await);
    }
    // The first that fails is told; its name says which of them it is.
    for key in keys {
        if let Err(error) = ask(key.provider.as_ref()).await {
            return judge_provider(&format!("{what}, key {}", key.id), Err(error));
        }
    }
    Finding::ok(&what, format!("it answers, and takes all {} of its keys", keys.len()))
}

/// Asks every vendor at the same time.
async fn providers(registry: Registry) -> Vec<Finding> {
    let registry = Arc::new(registry);
    let mut running = JoinSet::new();
    for (n, upstream) in registry.instances().cloned().enumerate() {
        let registry = registry.clone();
        running.spawn(async move { (n, ask(&registry, &upstream).await) });
    }
    in_order(running).await
}

/// The findings, by the number that each came with.
async fn in_order(mut running: JoinSet<(usize, Finding)>) -> Vec<Finding> {
    let mut findings = Vec::new();
    while let Some(done) = running.join_next().await {
        findings.extend(done.ok());
    }
    findings.sort_by_key(|(n, _)| *n);
    findings.into_iter().map(|(_, finding)| finding).collect()
}

fn judge_provider(what: &str, checked: Result<(), ProviderError>) -> Finding {
    use ErrorClass::*;
    let Err(error) = checked else { return Finding::ok(what, "it answers, and takes its credentials") };
    let remedy = match error.class {
        RateLimited | ConcurrencyLimited | Overloaded => {
            return Finding::warn(what, error.message, "The vendor asks to slow down; try again later.");
        }
        Authentication => {
            "Check the key in the configuration or its variable; the vendor's console makes a new one."
        }
        Permission => "The key is good and may not do this: give it the right in the vendor's console.",
        QuotaExhausted => "Top up the account or raise its limit at the vendor.",
        NotFound => "Check base_url and the account's id.",
        Unavailable | Timeout | OutcomeUnknown => {
            "Check base_url and this machine's way to the network; the vendor may be down."
        }
        _ => "Check base_url: what answers there does not speak as this kind of provider does.",
    };
    Finding::fail(what, error.message, remedy)
}

/// A line for each finding, and its remedy below it.
pub fn lines(findings: &[Finding]) -> String {
    let word = |verdict| match verdict {
        Verdict::Ok => "ok",
        Verdict::Off => "off",
        Verdict::Warn => "warn",
        Verdict::Fail => "FAIL",
    };
    let mut rows = Vec::new();
    for finding in findings {
        rows.push(vec![word(finding.verdict).into(), finding.what.clone(), finding.says.clone()]);
        for line in finding.remedy.iter().flat_map(|remedy| remedy.lines()) {
            rows.push(vec![String::new(), String::new(), format!("-> {line}")]);
        }
    }
    output::table(&["", "", ""], &rows)
}

fn report(findings: &[Finding]) -> String {
    let failed = findings.iter().filter(|f| f.verdict == Verdict::Fail).count();
    let end = match failed {
        0 => "Nothing failed.".into(),
        1 => "One thing failed.".into(),
        n => format!("{n} things failed."),
    };
    format!("{}\n{end}\n", lines(findings))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vendors_failure_comes_with_its_remedy() {
        let refused = Err(ProviderError::new(ErrorClass::Authentication, "the key was refused"));
        let finding = judge_provider("provider a", refused);
        assert_eq!(finding.verdict, Verdict::Fail);
        let text = report(&[judge_provider("provider b", Ok(())), finding]);
        assert!(
            text.starts_with(
                "ok    provider b  it answers, and takes its credentials\nFAIL  provider a  the key"
            ),
            "{text}"
        );
        assert!(text.contains("-> Check the key") && text.ends_with("One thing failed.\n"), "{text}");

        let slow =
            judge_provider("provider c", Err(ProviderError::new(ErrorClass::RateLimited, "slow down")));
        assert_eq!(slow.verdict, Verdict::Warn, "its credentials were not refused");
    }

    #[test]
    fn a_clock_is_judged_by_what_is_known() {
        let now = BORN_US + 1;
        let verdict = |now, job, vendor| judge_clock(now, job, vendor).verdict;
        assert_eq!(verdict(now, None, None), Verdict::Ok);
        assert_eq!(verdict(now, Some(now), Some(("v", now + SKEW_US))), Verdict::Ok);
        assert_eq!(verdict(0, None, None), Verdict::Fail);
        assert_eq!(verdict(now, Some(now + 2 * SKEW_US), None), Verdict::Fail);
        let behind = judge_clock(now, None, Some(("api.example.com", now + 600_000_000)));
        assert!(behind.says.contains("10 min 0 s behind api.example.com"), "{}", behind.says);
    }

    #[test]
    fn dates_of_answers_are_read() {
        assert_eq!(http_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777_000_000));
        assert_eq!(http_date("yesterday"), None);
    }

    #[tokio::test]
    async fn a_fresh_machine_is_well_and_a_blocked_folder_is_named() {
        let plugins = crate::providers::builtin::PLUGINS;
        let dir = tempfile::tempdir().unwrap();
        let data_dir = dir.path().join("data");
        let globals = options::Globals { data_dir: Some(data_dir.clone()), ..Default::default() };
        let gateway = Gateway { globals, plugins, extra: None };
        let loaded = gateway
            .load_in(
                dir.path().into(),
                vec![
                    "providers={p: {kind: placeholder}}".into(),
                    "models={}".into(),
                    "routing.default_model=[]".into(),
                ],
            )
            .unwrap();
        let findings = examine(&gateway, &loaded).await.unwrap();
        assert!(findings.iter().all(|f| f.verdict == Verdict::Ok), "{}", report(&findings));

        std::fs::remove_dir_all(data_dir.join("images")).unwrap();
        std::fs::write(data_dir.join("images"), "in the way").unwrap();
        let findings = examine(&gateway, &loaded).await.unwrap();
        let failed: Vec<_> = findings.iter().filter(|f| f.verdict == Verdict::Fail).collect();
        assert_eq!(failed.len(), 1, "{}", report(&findings));
        assert!(failed[0].what == "storage" && failed[0].says.contains("images"), "{}", report(&findings));
    }
}
