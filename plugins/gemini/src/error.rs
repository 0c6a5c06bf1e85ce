//! One place that says what Google's errors mean: `{"error":{"code","message","status","details":[...]}}`.

use plugin_api::{Answer, ErrorClass, ProviderError, Retry, Spend, asked_wait};
use serde_json::Value;
use std::time::Duration;

/// What an answer without success means.
pub(crate) fn parse(answer: &Answer) -> ProviderError {
    let body: Value = if answer.binary { Value::Null } else { answer.json().unwrap_or_default() };
    // A stream's error comes in a list.
    let error = body.get("error").or_else(|| body.get(0)?.get("error")).unwrap_or(&Value::Null);
    let text = |key: &str| error.get(key).and_then(Value::as_str).unwrap_or_default();
    let details = error.get("details").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let status = answer.status.as_u16();
    let (class, spend) = classify(status, text("status"), details);
    let message = match text("message") {
        "" if answer.status.is_redirection() => {
            format!("Google answered with a redirect ({status}), which is never followed: check base_url")
        }
        "" => format!("Google answered with status {status}"),
        said => said.to_owned(),
    };
    let mut told = ProviderError::new(class, message).with_status(status);
    if let Some(spend) = spend {
        told = told.with_spend(spend);
    }
    if class == ErrorClass::BadResponse {
        told = told.with_retry(Retry::Elsewhere);
    }
    if !text("status").is_empty() {
        told = told.with_code(text("status").chars().take(100).collect::<String>());
    }
    told.with_wait(retry_delay(details).or_else(|| asked_wait(&answer.headers)))
}

/// The class of a failure, and the spend where it is not the usual one of its class.
fn classify(status: u16, word: &str, details: &[Value]) -> (ErrorClass, Option<Spend>) {
    use ErrorClass::*;
    match word {
        "INVALID_ARGUMENT" if has_reason(details, "API_KEY_INVALID") => (Authentication, None),
        "INVALID_ARGUMENT" | "OUT_OF_RANGE" => (InvalidRequest, None),
        "FAILED_PRECONDITION" | "PERMISSION_DENIED" => (Permission, None),
        "UNAUTHENTICATED" => (Authentication, None),
        "NOT_FOUND" => (NotFound, None),
        "RESOURCE_EXHAUSTED" if is_used_up(details) => (QuotaExhausted, None),
        "RESOURCE_EXHAUSTED" => (RateLimited, None),
        "CANCELLED" | "DEADLINE_EXCEEDED" => (Timeout, None),
        "UNAVAILABLE" => (Overloaded, None),
        "INTERNAL" => (Unavailable, None),
        _ => match status {
            499 | 504 => (Timeout, None),
            400..=599 => (ErrorClass::of_status(status), None),
            // A redirect or the like: nothing was made.
            _ => (BadResponse, Some(Spend::None)),
        },
    }
}

fn has_reason(details: &[Value], reason: &str) -> bool {
    details.iter().any(|detail| detail.get("reason").and_then(Value::as_str) == Some(reason))
}

/// A quota of the day, or none at all: no short wait would help.
fn is_used_up(details: &[Value]) -> bool {
    let violations = details.iter().filter_map(|detail| detail.get("violations")?.as_array()).flatten();
    let text = |violation: &Value, key: &str| match violation.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    };
    violations.into_iter().any(|v| text(v, "quotaId").contains("PerDay") || text(v, "quotaValue") == "0")
}

/// `"17s"` of the detail `RetryInfo`.
fn retry_delay(details: &[Value]) -> Option<Duration> {
    let text = details.iter().find_map(|detail| detail.get("retryDelay")?.as_str())?;
    let seconds: f64 = text.strip_suffix('s')?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use testkit::answer;

    fn told(status: u16, word: &str, details: Value) -> ProviderError {
        let body = json!({"error": {"code": status, "message": "m", "status": word, "details": details}});
        parse(&answer(status, &[], body.to_string()))
    }

    #[test]
    fn every_status_has_its_class_its_advice_and_its_spend() {
        use ErrorClass::*;
        use Retry::{Elsewhere, Later, Never};
        use Spend::{None as Free, Possible};
        let per_day = json!([{"violations": [{"quotaId": "GenerateRequestsPerDayPerProject"}]}]);
        let zero = json!([{"violations": [{"quotaId": "GenerateRequestsPerMinute", "quotaValue": "0"}]}]);
        let bad_key = json!([{"reason": "API_KEY_INVALID"}]);
        for (status, word, details, class, retry, spend) in [
            (400, "INVALID_ARGUMENT", json!([]), InvalidRequest, Never, Free),
            (400, "INVALID_ARGUMENT", bad_key, Authentication, Elsewhere, Free),
            (400, "FAILED_PRECONDITION", json!([]), Permission, Elsewhere, Free),
            (401, "UNAUTHENTICATED", json!([]), Authentication, Elsewhere, Free),
            (403, "PERMISSION_DENIED", json!([]), Permission, Elsewhere, Free),
            (404, "NOT_FOUND", json!([]), NotFound, Elsewhere, Free),
            (429, "RESOURCE_EXHAUSTED", json!([]), RateLimited, Later, Free),
            (429, "RESOURCE_EXHAUSTED", per_day, QuotaExhausted, Elsewhere, Free),
            (429, "RESOURCE_EXHAUSTED", zero, QuotaExhausted, Elsewhere, Free),
            (499, "CANCELLED", json!([]), Timeout, Later, Possible),
            (500, "INTERNAL", json!([]), Unavailable, Later, Possible),
            (503, "UNAVAILABLE", json!([]), Overloaded, Later, Free),
            (504, "DEADLINE_EXCEEDED", json!([]), Timeout, Later, Possible),
            (409, "ABORTED", json!([]), InvalidRequest, Never, Free),
            (502, "", json!(null), Unavailable, Later, Possible),
        ] {
            let error = told(status, word, details);
            assert_eq!((error.class, error.retry, error.spend), (class, retry, spend), "{status} {word}");
            assert_eq!(error.vendor_code.unwrap_or_default(), word);
        }
    }

    #[test]
    fn the_wait_is_the_details_word_before_the_headers() {
        let wait = |text: &str| told(429, "RESOURCE_EXHAUSTED", json!([{"retryDelay": text}])).retry_after;
        assert_eq!(wait("17s"), Some(Duration::from_secs(17)));
        assert_eq!(wait("0.5s"), Some(Duration::from_millis(500)));
        for nonsense in ["", "17", "-1s", "NaNs", "s"] {
            assert_eq!(wait(nonsense), None, "{nonsense}");
        }
        let long = told(429, "RESOURCE_EXHAUSTED", json!([{"retryDelay": "3600s"}]));
        assert_eq!((long.retry, long.retry_after), (Retry::Elsewhere, None));
        let listed =
            parse(&answer(429, &[("retry-after", "3")], r#"[{"error":{"status":"RESOURCE_EXHAUSTED"}}]"#));
        assert_eq!(listed.retry_after, Some(Duration::from_secs(3)));
    }
}
