//! One place that reads every error form of the dialect, and says what it means.

use plugin_api::{Answer, ErrorClass, ProviderError, Retry, Spend, asked_wait};
use serde_json::Value;
use std::time::Duration;

/// What the body says, from any of `{"error":{...}}`, `{"error":"text"}`, `{"message":...}`, `{"detail":...}`.
#[derive(Debug, Default, PartialEq)]
struct Said {
    message: String,
    code: Option<String>,
    kind: Option<String>,
    stage: Option<String>,
    /// It is about the value of one argument.
    argument: bool,
}

impl Said {
    /// `None`: no error member.
    fn read(body: &Value) -> Option<Said> {
        let text = |value: &Value, key: &str| match value.get(key)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        let error = match body.get("error") {
            None | Some(Value::Null) => body,
            Some(Value::String(message)) => {
                return Some(Said { message: message.clone(), code: text(body, "code"), ..Said::default() });
            }
            Some(error) => error,
        };
        let message = text(error, "message").or_else(|| detail(error.get("detail")?));
        if message.is_none() && std::ptr::eq(error, body) {
            return None;
        }
        let details = error.get("moderation_details");
        Some(Said {
            message: message.unwrap_or_default(),
            code: text(error, "code"),
            kind: text(error, "type"),
            argument: text(error, "param").is_some_and(|name| !name.is_empty()),
            stage: details.and_then(|d| text(d, "moderation_stage")),
        })
    }

    fn is(&self, word: &str) -> bool {
        [&self.code, &self.kind].into_iter().flatten().any(|said| said == word)
    }
    fn mentions(&self, words: &[&str]) -> bool {
        let all = [Some(&self.message), self.code.as_ref(), self.kind.as_ref()];
        all.into_iter().flatten().any(|text| {
            let text = text.to_ascii_lowercase();
            words.iter().any(|word| text.contains(word))
        })
    }
}

/// FastAPI: a text, or a list with the place of each wrong value.
fn detail(detail: &Value) -> Option<String> {
    match detail {
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => {
            let item = |item: &Value| {
                let place: Vec<String> = item
                    .get("loc")
                    .and_then(Value::as_array)
                    .into_iter()
                    .flatten()
                    .map(|step| step.as_str().map_or_else(|| step.to_string(), str::to_owned))
                    .collect();
                let what = item.get("msg").and_then(Value::as_str)?;
                Some(if place.is_empty() { what.to_owned() } else { format!("{}: {what}", place.join(".")) })
            };
            Some(items.iter().filter_map(item).collect::<Vec<_>>().join("; "))
        }
        _ => None,
    }
}

/// The error of a success status whose body holds an error instead of images.
pub(crate) fn in_success(answer: &Answer, body: &Value) -> Option<ProviderError> {
    body.get("error").filter(|e| !e.is_null())?;
    let said = Said::read(body)?;
    let error = by_words(200, &said)
        .unwrap_or_else(|| ProviderError::new(ErrorClass::Unavailable, "the vendor failed"))
        // It got as far as an answer: nobody says that nothing was made.
        .with_spend(Spend::Possible);
    Some(dressed(error, &said, answer))
}

/// What an answer without success means.
pub(crate) fn parse(answer: &Answer) -> ProviderError {
    let status = answer.status.as_u16();
    if answer.status.is_redirection() || status < 200 {
        let what = format!(
            "the vendor answered with a redirect ({status}), which is never followed: check base_url"
        );
        return dressed(
            ProviderError::new(ErrorClass::BadResponse, what).with_spend(Spend::None),
            &Said::default(),
            answer,
        );
    }
    let body: Value = answer.json().unwrap_or_default();
    let said = Said::read(&body);
    let is_page = said.is_none();
    let said = said.unwrap_or_default();
    let error = by_words(status, &said).filter(|_| status < 500);
    let error = error.unwrap_or_else(|| by_status(status, &said, is_page));
    with_advice(dressed(error, &said, answer), answer)
}

/// Codes and texts that say more than the status does.
fn by_words(status: u16, said: &Said) -> Option<ProviderError> {
    // The text about a key, a model or an argument (one is called `moderation`) may quote any word.
    let quotes = matches!(status, 401 | 404 | 422) || said.argument;
    let speaks_of = |words: &[&str]| !quotes && said.mentions(words);
    let new = |class| Some(ProviderError::new(class, ""));
    if said.is("rate_limit_exceeded") {
        return new(ErrorClass::RateLimited); // its text may speak of billing
    }
    let blocked = ["moderation_blocked", "content_policy_violation"];
    if blocked.iter().any(|code| said.is(code)) || speaks_of(&["content_policy", "moderation", "safety"]) {
        let error = ProviderError::new(ErrorClass::ContentBlocked, "");
        return Some(match said.stage.as_deref() {
            None => error,
            Some("input") => error.with_stage("input"),
            // Made, and then held back; or nobody says where.
            Some(stage) => error.with_spend(Spend::Possible).with_stage(stage),
        });
    }
    if said.is("insufficient_quota")
        || said.is("billing_hard_limit_reached")
        || speaks_of(&["quota", "insufficient balance", "insufficient credit", "billing"])
    {
        return new(ErrorClass::QuotaExhausted);
    }
    if said.is("unknown_parameter") || said.is("unsupported_parameter") {
        return new(ErrorClass::UnsupportedParameter);
    }
    if said.is("model_not_found") {
        return new(ErrorClass::NotFound);
    }
    if said.is("invalid_api_key") {
        return new(ErrorClass::Authentication);
    }
    None
}

fn by_status(status: u16, said: &Said, is_page: bool) -> ProviderError {
    let class = match status {
        401 => ErrorClass::Authentication,
        402 => ErrorClass::QuotaExhausted,
        403 => ErrorClass::Permission,
        404 => ErrorClass::NotFound,
        408 => ErrorClass::Timeout,
        409 => ErrorClass::Unavailable,
        429 if said.mentions(&["balance", "credit"]) => ErrorClass::QuotaExhausted,
        429 => ErrorClass::RateLimited,
        400..=499 => ErrorClass::InvalidRequest,
        // A page comes from a proxy, which does not know whether the request was carried out.
        500.. if is_page => ErrorClass::Unavailable,
        503 => ErrorClass::Overloaded,
        504 => ErrorClass::Timeout,
        _ => ErrorClass::Unavailable,
    };
    let error = ProviderError::new(class, "");
    match class {
        // A model that is still loading has not drawn anything.
        ErrorClass::Overloaded if !said.mentions(&["loading"]) => error.with_spend(Spend::Possible),
        _ => error,
    }
}

/// The vendor's words and ids.
fn dressed(mut error: ProviderError, said: &Said, answer: &Answer) -> ProviderError {
    let status = answer.status.as_u16();
    if !said.message.is_empty() {
        let told = ProviderError::new(error.class, said.message.as_str());
        error.message = told.message;
    } else if error.message.is_empty() {
        error.message = format!("the vendor answered with status {status}");
    }
    error.vendor_code =
        said.code.clone().or_else(|| said.kind.clone()).map(|c| c.chars().take(100).collect());
    error.with_status(status).with_request_id(request_id(answer))
}

pub(crate) fn request_id(answer: &Answer) -> Option<String> {
    answer.header("x-request-id").map(|id| id.chars().take(200).collect())
}

/// How long to wait, and the vendor's own word on trying again.
fn with_advice(error: ProviderError, answer: &Answer) -> ProviderError {
    let limited = error.class == ErrorClass::RateLimited;
    let reset = || answer.header("x-ratelimit-reset-requests").and_then(reset).filter(|_| limited);
    let error = error.with_wait(asked_wait(&answer.headers).or_else(reset));
    match answer.header("x-should-retry") {
        Some("true") => error.with_retry(Retry::Later),
        Some("false") if error.retry == Retry::Later => error.with_retry(Retry::Elsewhere),
        _ => error,
    }
}

/// `120ms`, `1s`, `6m0s`, `1h2m3.5s`.
fn reset(text: &str) -> Option<Duration> {
    let (mut rest, mut total) = (text.trim(), 0.0);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        let tail = &rest[end..];
        let unit_end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        total += number
            * match &tail[..unit_end] {
                "ms" => 0.001,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3_600.0,
                "d" => 86_400.0,
                _ => return None,
            };
        rest = &tail[unit_end..];
    }
    Duration::try_from_secs_f64(total).ok().filter(|_| !text.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(status: u16, headers: &[(&str, &str)], body: &str) -> ProviderError {
        parse(&testkit::answer(status, headers, body.to_owned()))
    }

    #[test]
    fn resets_are_read_in_every_unit() {
        for (text, ms) in
            [("120ms", 120), ("1s", 1_000), ("1.5s", 1_500), ("6m0s", 360_000), ("1h0m1s", 3_601_000)]
        {
            assert_eq!(reset(text), Some(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "s", "1", "1y", "-1s", "1s2"] {
            assert_eq!(reset(text), None, "{text}");
        }
    }

    #[test]
    fn the_reset_of_a_limit_is_a_wait_and_a_long_one_sends_elsewhere() {
        let body = r#"{"error":{"message":"Rate limit reached, see billing","code":"rate_limit_exceeded"}}"#;
        let soon = told(429, &[("x-ratelimit-reset-requests", "1.5s")], body);
        assert_eq!(
            (soon.class, soon.retry_after),
            (ErrorClass::RateLimited, Some(Duration::from_millis(1500)))
        );
        let late = told(429, &[("x-ratelimit-reset-requests", "6m0s")], body);
        assert_eq!((late.retry, late.retry_after), (Retry::Elsewhere, None));
        let header = told(429, &[("retry-after", "3"), ("x-ratelimit-reset-requests", "6m0s")], body);
        assert_eq!(header.retry_after, Some(Duration::from_secs(3)), "the header counts more");
    }

    #[test]
    fn the_vendor_has_the_last_word_on_trying_again() {
        let server = r#"{"error":{"message":"The server had an error.","type":"server_error"}}"#;
        assert_eq!(told(500, &[], server).retry, Retry::Later);
        assert_eq!(told(500, &[("x-should-retry", "false")], server).retry, Retry::Elsewhere);
        assert_eq!(told(400, &[("x-should-retry", "true")], server).retry, Retry::Later);
    }

    #[test]
    fn every_form_of_an_error_is_read() {
        for (body, message) in [
            (r#"{"error":{"message":"a","code":"c"}}"#, "a"),
            (r#"{"error":"a"}"#, "a"),
            (r#"{"message":"a"}"#, "a"),
            (r#"{"detail":"a"}"#, "a"),
            (r#"{"detail":[{"loc":["body","n",0],"msg":"bad"},{"msg":"worse"}]}"#, "body.n.0: bad; worse"),
            ("<html>", "the vendor answered with status 400"),
            (r#"{"error":{}}"#, "the vendor answered with status 400"),
        ] {
            let error = told(400, &[], body);
            assert_eq!(
                (error.class, error.message.as_str()),
                (ErrorClass::InvalidRequest, message),
                "{body}"
            );
        }
    }

    #[test]
    fn a_wrong_value_is_no_refusal_of_the_content() {
        let said = |code: &str| {
            format!(
                r#"{{"error":{{"message":"bad 'moderation': over quota","param":"moderation","code":"{code}"}}}}"#
            )
        };
        assert_eq!(told(400, &[], &said("invalid_value")).class, ErrorClass::InvalidRequest);
        assert_eq!(told(400, &[], &said("unknown_parameter")).class, ErrorClass::UnsupportedParameter);
        let model = r#"{"error":{"message":"no model omni-moderation","code":"model_not_found"}}"#;
        assert_eq!(told(404, &[], model).class, ErrorClass::NotFound);
        let listed = r#"{"detail":[{"loc":["body","safety"],"msg":"not a number"}]}"#;
        assert_eq!(told(422, &[], listed).class, ErrorClass::InvalidRequest);
    }

    #[test]
    fn an_unknown_moderation_stage_may_have_cost_money() {
        let body = |stage: &str| {
            format!(
                r#"{{"error":{{"message":"no","code":"moderation_blocked","moderation_details":{{"moderation_stage":"{stage}"}}}}}}"#
            )
        };
        assert_eq!(told(400, &[], &body("input")).spend, Spend::None);
        for stage in ["output", "unknown"] {
            let error = told(400, &[], &body(stage));
            assert_eq!((error.spend, error.stage.as_deref()), (Spend::Possible, Some(stage)));
        }
    }

    #[test]
    fn an_error_under_a_success_status_is_still_an_error() {
        let answer =
            testkit::answer(200, &[], r#"{"error":{"message":"over quota","code":"insufficient_quota"}}"#);
        let error = in_success(&answer, &answer.json().unwrap()).unwrap();
        assert_eq!((error.class, error.spend), (ErrorClass::QuotaExhausted, Spend::Possible));
        assert!(in_success(&answer, &serde_json::json!({"error": null, "data": []})).is_none());
    }
}
