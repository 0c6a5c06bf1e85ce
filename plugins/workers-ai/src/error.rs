//! Errors by their number; text only where one number means two things. Cloudflare answers some with status 200.

use plugin_api::{Answer, ErrorClass, ProviderError, Retry, Spend, asked_wait};
use serde_json::Value;

/// The vendor's error in an answer, if it is one.
pub fn error(answer: &Answer, json: Option<&Value>) -> Option<ProviderError> {
    let status = answer.status.as_u16();
    let list = json.and_then(|j| j.get("errors")?.as_array()).map_or(&[][..], Vec::as_slice);
    let refused = json.and_then(|j| j.get("success")?.as_bool()) == Some(false);
    if answer.status.is_success() && list.is_empty() && !refused {
        return None;
    }
    // Of several, the first whose number is known says most.
    let items = || list.iter().map(|item| (code(item), text(item)));
    let (code, text) = items()
        .find(|(code, text)| code.is_some_and(|c| known(c, text).is_some()))
        .or_else(|| items().next())
        .unwrap_or((None, ""));
    let (class, own_words) = code.and_then(|c| known(c, text)).unwrap_or_else(|| (by_status(status), None));
    let message = match own_words {
        Some(words) => words.to_owned(),
        None if text.trim().is_empty() => format!("Cloudflare answered with status {status}"),
        None => clean(text),
    };
    let id = answer.header("cf-ray").map(str::to_owned);
    let mut error = ProviderError::new(class, message)
        .with_status(status)
        .with_request_id(id)
        .with_wait(asked_wait(&answer.headers));
    if let Some(code) = code {
        error = error.with_code(code.to_string());
    }
    if class == ErrorClass::ContentBlocked {
        let output = text.to_ascii_lowercase().contains("output");
        error = error.with_stage(if output { "output" } else { "input" });
        if output || answer.status.is_success() {
            error = error.with_spend(Spend::Possible);
        }
    }
    if answer.status.is_server_error() {
        error = error.with_spend(Spend::Possible);
    } else if class == ErrorClass::BadResponse && !answer.status.is_success() {
        // A redirect or the like: nothing was made, and this address will not make anything.
        error = error.with_spend(Spend::None).with_retry(Retry::Elsewhere);
    }
    Some(error)
}

fn code(item: &Value) -> Option<i64> {
    let code = item.get("code")?;
    code.as_i64().or_else(|| code.as_str()?.trim().parse().ok())
}

fn text(item: &Value) -> &str {
    item.get("message").unwrap_or(item).as_str().unwrap_or_default()
}

/// The class of a number, and our words where the vendor's would not help.
fn known(code: i64, text: &str) -> Option<(ErrorClass, Option<&'static str>)> {
    use ErrorClass::*;
    let text = text.to_ascii_lowercase();
    let class = match code {
        5006 if text.contains("additional propert") => UnsupportedParameter,
        3030 if text.contains("nsfw") || text.contains("flagged") => ContentBlocked,
        3003 | 3006 | 3030 | 5004 | 5006 => InvalidRequest,
        3042 | 5007 => NotFound,
        7003 => return Some((NotFound, Some("Cloudflare does not know this account: check account_id"))),
        1000 | 10000 => return Some((Authentication, Some("Cloudflare refused the API token"))),
        3023 | 3041 | 5016 | 5018 => Permission,
        5005 | 5019 => UnsupportedParameter,
        3007 | 3008 => Timeout,
        3036 => {
            let words = "the account's neurons for today are used up; there are new ones at 00:00 UTC";
            return Some((QuotaExhausted, Some(words)));
        }
        3040 => Overloaded,
        3043 => Unavailable,
        971 => RateLimited,
        _ => return None,
    };
    Some((class, None))
}

fn by_status(status: u16) -> ErrorClass {
    match status {
        405 => ErrorClass::UnsupportedParameter,
        status => ErrorClass::of_status(status),
    }
}

/// The vendor's text without its doubled prefixes.
fn clean(text: &str) -> String {
    let mut text = text.trim();
    while let Some(rest) = text.strip_prefix("AiError:") {
        text = rest.trim_start();
    }
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use testkit::answer;

    fn told(status: u16, code: i64, message: &str) -> ProviderError {
        let body = serde_json::json!({ "success": false, "errors": [{ "code": code, "message": message }] });
        let answer = answer(status, &[("cf-ray", "ray-1")], body.to_string());
        error(&answer, answer.json().ok().as_ref()).expect("it is an error")
    }

    #[test]
    fn every_number_has_its_class_and_its_spend() {
        use ErrorClass::*;
        use Spend::{None, Possible};
        for (status, code, text, class, spend) in [
            (400, 5006, "AiError: Bad input", InvalidRequest, None),
            (400, 5006, "additional property 'x' is not allowed", UnsupportedParameter, None),
            (400, 5004, "bad base64", InvalidRequest, None),
            (400, 3003, "missing body", InvalidRequest, None),
            (400, 5007, "no such model", NotFound, None),
            (404, 3042, "no such model", NotFound, None),
            (404, 7003, "Could not route", NotFound, None),
            (400, 7003, "Could not route", NotFound, None),
            (400, 3030, "Input prompt contains NSFW content", ContentBlocked, None),
            (400, 3030, "Your output has been flagged", ContentBlocked, Possible),
            (400, 3030, "Model input is not valid", InvalidRequest, None),
            (401, 10000, "Authentication error", Authentication, None),
            (403, 10000, "Authentication error", Authentication, None),
            (403, 5018, "not allowed", Permission, None),
            (403, 3041, "not allowed", Permission, None),
            (403, 5016, "terms", Permission, None),
            (403, 3023, "blocked", Permission, None),
            (405, 5019, "no", UnsupportedParameter, None),
            (405, 5005, "no", UnsupportedParameter, None),
            (408, 3007, "timeout", Timeout, Possible),
            (408, 3008, "aborted", Timeout, Possible),
            (413, 3006, "large", InvalidRequest, None),
            (429, 3036, "neurons", QuotaExhausted, None),
            (429, 3040, "capacity", Overloaded, None),
            (429, 971, "slow", RateLimited, None),
            (429, 1, "slow", RateLimited, None),
            (500, 3043, "internal", Unavailable, Possible),
            (503, 3040, "capacity", Overloaded, Possible),
            (502, 1, "?", Unavailable, Possible),
        ] {
            let error = told(status, code, text);
            assert_eq!((error.class, error.spend), (class, spend), "{status} {code} {text}");
            assert_eq!(error.vendor_code, Some(code.to_string()));
            assert_eq!(error.vendor_request_id.as_deref(), Some("ray-1"));
        }
    }

    #[test]
    fn an_error_in_a_success_counts_and_may_have_cost() {
        let flagged = told(200, 3030, "AiError: AiError: Your output has been flagged.");
        assert_eq!((flagged.class, flagged.spend), (ErrorClass::ContentBlocked, Spend::Possible));
        assert_eq!(
            (flagged.stage.as_deref(), flagged.message.as_str()),
            (Some("output"), "Your output has been flagged.")
        );
        let unknown = told(200, 1, "?");
        assert_eq!((unknown.class, unknown.spend), (ErrorClass::BadResponse, Spend::Certain));
        let silent = answer(200, &[], r#"{"success":false}"#);
        assert!(error(&silent, silent.json().ok().as_ref()).is_some());
        let fine = answer(200, &[], r#"{"success":true,"errors":[],"result":{}}"#);
        assert!(error(&fine, fine.json().ok().as_ref()).is_none());
        let null = answer(200, &[], r#"{"errors":null,"image":""}"#);
        assert!(error(&null, null.json().ok().as_ref()).is_none());
    }

    #[test]
    fn of_several_errors_the_known_one_is_told() {
        let body = r#"{"errors":["odd",{"code":"x"},{"code":5018,"message":"the account may not"}]}"#;
        let answer = answer(403, &[], body);
        let error = error(&answer, answer.json().ok().as_ref()).unwrap();
        assert_eq!((error.class, error.message.as_str()), (ErrorClass::Permission, "the account may not"));
    }
}
