//! Compares what a plugin sent, and what it made of the answer, with a recorded case. Every difference is a
//! sentence.

use crate::{Recorded, conformance::Outcome};
use plugin_api::{Artifact, ProviderError, Retry, Source};
use serde_json::Value;

/// Headers of the transport, or whose values every client chooses by itself.
const OWN_HEADERS: [&str; 6] =
    ["host", "content-length", "user-agent", "accept", "content-type", "transfer-encoding"];

/// A header that carries a credential or depends on the moment: only its presence and its scheme are compared.
fn is_credential(name: &str) -> bool {
    ["authorization", "key", "token", "secret", "timestamp", "date", "signature"]
        .iter()
        .any(|w| name.contains(w))
}

pub(crate) fn requests(want: &Recorded, got: &Recorded) -> Vec<String> {
    let mut off = Vec::new();
    if want.method != got.method {
        off.push(format!("sent {} instead of {}", got.method, want.method));
    }
    let decoded = |path: &str| path.replace("%40", "@").replace("%2F", "/");
    if decoded(&want.path) != decoded(&got.path) {
        off.push(format!("sent to {} instead of {}", got.path, want.path));
    }
    for (name, value) in &want.headers {
        let name = name.as_str();
        if OWN_HEADERS.contains(&name) {
            continue;
        }
        let (want, got) = (value.to_str().unwrap_or_default(), got.header(name));
        match got {
            None => off.push(format!("sent no header {name}")),
            Some(got) if is_credential(name) => {
                let scheme = |text: &str| text.split_once(' ').map(|(scheme, _)| scheme.to_owned());
                if scheme(want) != scheme(got) {
                    off.push(format!("header {name} has another scheme"));
                }
            }
            Some(got) if got != want => off.push(format!("header {name} is `{got}` instead of `{want}`")),
            Some(_) => {}
        }
    }
    if !want.headers.contains_key("authorization") && got.headers.contains_key("authorization") {
        off.push("sent an authorization header that is not asked for".into());
    }
    if want.essence() != got.essence() {
        off.push(format!("content type {:?} instead of {:?}", got.essence(), want.essence()));
        return off;
    }
    match want.essence().as_deref() {
        Some("multipart/form-data") => parts(want, got, &mut off),
        Some(kind) if kind.ends_with("json") => values("body", &want.json(), &got.json(), &mut off),
        _ if want.body != got.body => off.push("the body differs".into()),
        _ => {}
    }
    off
}

/// Parts as a set: what is wanted must be there, and nothing else.
fn parts(want: &Recorded, got: &Recorded, off: &mut Vec<String>) {
    type Key = (String, bool, Option<String>, bytes::Bytes);
    let keys = |request: &Recorded| -> Vec<Key> {
        let part = |p: crate::SeenPart| {
            let kind = p.content_type.as_deref().map(crate::wire::essence).filter(|_| p.file_name.is_some());
            (p.name, p.file_name.is_some(), kind, p.bytes)
        };
        request.parts().into_iter().map(part).collect()
    };
    let show = |(name, file, kind, bytes): &Key| match file {
        true => {
            format!("file part `{name}` ({}, {} bytes)", kind.as_deref().unwrap_or("no type"), bytes.len())
        }
        false => format!("part `{name}` = `{}`", String::from_utf8_lossy(bytes)),
    };
    let (want, mut got) = (keys(want), keys(got));
    for key in &want {
        match got.iter().position(|g| g == key) {
            Some(at) => drop(got.remove(at)),
            None => off.push(format!("sent no {}", show(key))),
        }
    }
    off.extend(got.iter().map(|key| format!("sent an unasked {}", show(key))));
}

fn short(value: &Value) -> String {
    let text = value.to_string();
    if text.len() > 120 { format!("{}...", text.chars().take(120).collect::<String>()) } else { text }
}

fn values(at: &str, want: &Value, got: &Value, off: &mut Vec<String>) {
    match (want, got) {
        (Value::Object(want), Value::Object(got)) => {
            for (key, value) in want {
                match got.get(key) {
                    Some(other) => values(&format!("{at}.{key}"), value, other, off),
                    None => off.push(format!("{at}.{key} is missing")),
                }
            }
            for key in got.keys().filter(|k| !want.contains_key(*k)) {
                off.push(format!("{at}.{key} = {} is not asked for", short(&got[key])));
            }
        }
        (Value::Array(want), Value::Array(got)) if want.len() == got.len() => {
            for (n, (want, got)) in want.iter().zip(got).enumerate() {
                values(&format!("{at}[{n}]"), want, got, off);
            }
        }
        // 7 and 7.0 are one number; f32 options come back with their noise.
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64().unwrap_or(f64::NAN), b.as_f64().unwrap_or(f64::NAN));
            if (a - b).abs() > 1e-6 * a.abs().max(1.0) {
                off.push(format!("{at} is {b} instead of {a}"));
            }
        }
        _ if want == got => {}
        _ => off.push(format!("{at} is {} instead of {}", short(got), short(want))),
    }
}

/// The word of serde for a unit variant.
pub(crate) fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

pub(crate) fn outcomes(want: &Value, got: &Result<Outcome, ProviderError>) -> Vec<String> {
    let mut off = Vec::new();
    if let Some(check) = want.get("check").and_then(Value::as_str) {
        let said = match got {
            Ok(Outcome::Ready) => "ready".to_owned(),
            Ok(_) => "something else".into(),
            Err(error) => word(&error.class),
        };
        if said != check {
            off.push(format!("the check said {said} instead of {check}"));
        }
        return off;
    }
    match got {
        Err(error) if want.get("error").is_some() => errors(want, error, &mut off),
        Err(error) => off.push(format!("failed: {error:?}")),
        Ok(Outcome::Done(artifact)) if want.get("images").or(want.get("downloads")).is_some() => {
            artifacts(want, artifact, &mut off);
        }
        Ok(Outcome::Ticket(ticket)) if want.get("ticket").is_some() => {
            if !shows(ticket, &want["ticket"]) {
                off.push(format!("ticket {} does not hold {}", short(ticket), want["ticket"]));
            }
        }
        Ok(Outcome::Waiting) if want.get("progress").is_some() => {}
        Ok(other) => off.push(format!("wanted {}, got {}", short(want), short(&describe(other)))),
    }
    off
}

/// The wanted value stands somewhere in the ticket, which may hold more.
fn shows(ticket: &Value, want: &Value) -> bool {
    match ticket {
        _ if ticket == want => true,
        Value::Object(map) => map.values().any(|v| shows(v, want)),
        Value::Array(items) => items.iter().any(|v| shows(v, want)),
        _ => false,
    }
}

pub(crate) fn errors(want: &Value, error: &ProviderError, off: &mut Vec<String>) {
    let mut field = |name: &str, got: Value| {
        if let Some(want) = want.get(name)
            && *want != got
        {
            off.push(format!("{name} is {got} instead of {want} ({error})"));
        }
    };
    field("error", word(&error.class).into());
    field("spend", word(&error.spend).into());
    field("stage", error.stage.clone().into());
    field("retry_after_ms", error.retry_after.map(|d| d.as_millis() as u64).into());
    if want.get("retry").is_some() {
        field("retry", (error.retry == Retry::Later).into());
    }
}

fn artifacts(want: &Value, got: &Artifact, off: &mut Vec<String>) {
    let got = artifact(got);
    let whole = ["images", "downloads"];
    for key in whole {
        let empty = Value::Array(Vec::new());
        values(key, want.get(key).unwrap_or(&empty), &got[key], off);
    }
    if let Some(failed) = want.get("failed") {
        values("failed", failed, &got["failed"], off);
    }
    for key in ["cost", "usage"] {
        // Members that are not wanted may be there.
        for (name, value) in want.get(key).and_then(Value::as_object).into_iter().flatten() {
            values(&format!("{key}.{name}"), value, &got[key][name], off);
        }
    }
    for (key, member) in [("seed", "seeds"), ("revised_prompt", "revised_prompts")] {
        if let Some(value) = want.get(key) {
            values(key, value, &got[member][0], off);
        }
    }
}

/// An artifact as the fixtures spell it.
pub(crate) fn artifact(artifact: &Artifact) -> Value {
    let (mut images, mut downloads) = (Vec::new(), Vec::new());
    for picture in &artifact.pictures {
        match &picture.source {
            Source::Url(url) => downloads.push(Value::from(url.as_str())),
            Source::Blob(blob) => images.push(match blob.sniff() {
                Some(s) => {
                    serde_json::json!({"mime": s.mime.as_str(), "width": s.width, "height": s.height})
                }
                None => Value::from("not an image"),
            }),
        }
    }
    let failed = artifact.failed.iter();
    let cost = artifact.cost.map(|cost| {
        let money = cost.money;
        serde_json::json!({"amount_micros": money.amount_micros, "currency": money.currency(), "basis": cost.basis})
    });
    serde_json::json!({
        "images": images,
        "downloads": downloads,
        "failed": failed.map(|f| serde_json::json!({"index": f.index, "error": f.error.class})).collect::<Vec<_>>(),
        "usage": artifact.usage,
        "cost": cost,
        "seeds": artifact.pictures.iter().map(|p| p.seed).collect::<Vec<_>>(),
        "revised_prompts": artifact.pictures.iter().map(|p| p.revised_prompt.clone()).collect::<Vec<_>>(),
        "model": artifact.model,
        "vendor_request_id": artifact.vendor_request_id,
    })
}

/// An outcome in a form that can be compared and shown.
pub(crate) fn describe(outcome: &Outcome) -> Value {
    match outcome {
        Outcome::Done(done) => artifact(done),
        Outcome::Ticket(ticket) => serde_json::json!({ "ticket": ticket }),
        Outcome::Waiting => "waiting".into(),
        Outcome::Ready => "ready".into(),
        Outcome::AskedAgain(error) => format!("asked for again: {error}").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plugin_api::ErrorClass;
    use serde_json::json;

    fn request(body: Value) -> Recorded {
        let headers = [("content-type", "application/json"), ("authorization", "Bearer a")];
        Recorded {
            method: "POST".into(),
            path: "/v1".into(),
            headers: headers.iter().map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap())).collect(),
            body: body.to_string().into(),
        }
    }

    #[test]
    fn a_request_with_another_field_is_told_apart() {
        let want = request(json!({"n": 1, "prompt": "a"}));
        assert!(
            requests(&want, &request(json!({"prompt": "a", "n": 1.0}))).is_empty(),
            "order does not count"
        );
        assert_eq!(requests(&want, &request(json!({"prompt": "a"}))), ["body.n is missing"]);
        assert_eq!(requests(&want, &request(json!({"prompt": "b", "n": 1}))).len(), 1);
        assert_eq!(requests(&want, &request(json!({"prompt": "a", "n": 1, "style": "x"}))).len(), 1);
        let mut other = want.clone();
        other.headers.insert("authorization", "Basic a".parse().unwrap());
        assert_eq!(requests(&want, &other), ["header authorization has another scheme"]);
        other.headers.remove("authorization");
        assert_eq!(requests(&want, &other), ["sent no header authorization"]);
    }

    #[test]
    fn an_error_of_another_class_or_spend_is_told_apart() {
        let got = Err(ProviderError::new(ErrorClass::RateLimited, "slow down"));
        assert!(outcomes(&json!({"error": "rate_limited", "spend": "none"}), &got).is_empty());
        assert_eq!(outcomes(&json!({"error": "overloaded", "spend": "certain"}), &got).len(), 2);
        assert_eq!(outcomes(&json!({"error": "rate_limited", "retry_after_ms": 7000}), &got).len(), 1);
        assert_eq!(outcomes(&json!({"images": []}), &got).len(), 1);
    }
}
