//! Errors by their code, never by words of their text: <https://www.volcengine.com/docs/82379/1299023>. A refusal
//! of one image inside a success has the same codes.

use plugin_api::{Answer, ErrorClass, ProviderError, Retry, Spend, asked_wait};
use serde_json::Value;
use std::time::Duration;

/// What an `error` member says.
#[derive(Debug, Default)]
struct Said<'a> {
    code: &'a str,
    message: &'a str,
    /// The vendor repeats its request id at the end of every message.
    request_id: Option<&'a str>,
}

impl<'a> Said<'a> {
    fn read(error: &'a Value) -> Said<'a> {
        let text = |key: &str| error.get(key).and_then(Value::as_str).unwrap_or_default();
        let (message, request_id) = match text("message").rsplit_once("Request id:") {
            Some((message, id)) => (message, Some(id.trim()).filter(|id| !id.is_empty())),
            None => (error.as_str().unwrap_or(text("message")), None),
        };
        Said { code: text("code"), message: message.trim(), request_id }
    }
}

/// The class of a code, and where a filter struck.
fn class(said: &Said<'_>) -> Option<(ErrorClass, Option<&'static str>)> {
    use ErrorClass::*;
    let code = said.code;
    let filter = ["SensitiveContent", "RiskDetection", "PolicyViolation"].iter().any(|w| code.contains(w));
    if filter {
        let stage = if code.starts_with("Output") { "output" } else { "input" };
        return Some((ContentBlocked, Some(stage)));
    }
    let class = match code {
        "InvalidEndpoint.ClosedEndpoint" => Unavailable,
        "AuthenticationError" => Authentication,
        "ModelNotOpen" | "InvalidEndpointOrModel.ModelIDAccessDisabled" => Permission,
        "SetLimitExceeded" | "QuotaExceeded" => QuotaExhausted,
        "InflightBatchsizeExceeded" => ConcurrencyLimited,
        "RequestBurstTooFast" => RateLimited,
        "ServerOverloaded" => Overloaded,
        _ if is_missing_model(code) => NotFound,
        _ if code.contains("Overdue") => QuotaExhausted,
        _ if code.contains("RateLimitExceeded") => RateLimited,
        _ if code.starts_with("AccessDenied") || code.starts_with("OperationDenied") => Permission,
        // The one text that the vendor has no code for.
        _ if is_parameter(code) && said.message.contains("not supported by the current model") => {
            UnsupportedParameter
        }
        _ if is_parameter(code) => InvalidRequest,
        _ => return None,
    };
    Some((class, None))
}

/// The vendor says that there is no such model: what a fallback model is for.
pub(crate) fn is_missing_model(code: &str) -> bool {
    matches!(code, "InvalidEndpointOrModel.NotFound" | "InvalidEndpoint.NotFound")
}

/// The vendor found the key and the model good, and a parameter wrong.
pub(crate) fn is_parameter(code: &str) -> bool {
    code.starts_with("MissingParameter") || code.starts_with("InvalidParameter")
}

/// What an answer without success means.
pub(crate) fn parse(answer: &Answer) -> ProviderError {
    let status = answer.status.as_u16();
    let body: Value = answer.json().unwrap_or_default();
    let said = body.get("error").map(Said::read).unwrap_or_default();
    let (class, stage) = match class(&said) {
        // Whatever it says, it did not get to an end.
        _ if status >= 500 => (ErrorClass::Unavailable, None),
        Some(known) => known,
        None => (ErrorClass::of_status(status), None),
    };
    let message = match (said.code, said.message) {
        ("ModelNotOpen", _) => "the account has not activated this model: activate it in the Ark console",
        ("", "") if answer.status.is_redirection() => "the vendor redirects elsewhere: check base_url",
        (_, text) => text,
    };
    let message =
        if message.is_empty() { format!("the vendor answered with status {status}") } else { message.into() };
    let mut error = ProviderError::new(class, message);
    error = match class {
        ErrorClass::BadResponse => error.with_spend(Spend::None).with_retry(Retry::Elsewhere),
        ErrorClass::Unavailable | ErrorClass::Timeout if status < 500 => error.with_spend(Spend::None),
        _ => error,
    };
    let asked = asked_wait(&answer.headers);
    let per_minute = || ["Ipm", "Rpm", "Tpm"].iter().any(|unit| said.code.contains(unit));
    error = match asked {
        None if class == ErrorClass::RateLimited && per_minute() => {
            error.with_wait(Some(next_minute(answer.header("date"))))
        }
        asked => error.with_wait(asked),
    };
    dress(error, stage, &said, answer)
}

/// An error inside a success: of the whole call, or of one image. `spend`: what the call's count of images says.
pub(crate) fn in_success(answer: &Answer, error: &Value, spend: Spend) -> ProviderError {
    let said = Said::read(error);
    let (class, stage) = class(&said).unwrap_or((ErrorClass::BadResponse, None));
    let message = if said.message.is_empty() { "the vendor failed to make it" } else { said.message };
    dress(ProviderError::new(class, message).with_spend(spend), stage, &said, answer)
}

fn dress(
    error: ProviderError,
    stage: Option<&'static str>,
    said: &Said<'_>,
    answer: &Answer,
) -> ProviderError {
    let id = request_id(answer).or_else(|| said.request_id.map(str::to_owned));
    let mut error = error.with_status(answer.status.as_u16()).with_request_id(id);
    if !said.code.is_empty() {
        error = error.with_code(said.code);
    }
    match stage {
        Some(stage) => error.with_stage(stage),
        None => error,
    }
}

pub(crate) fn request_id(answer: &Answer) -> Option<String> {
    answer.header("x-request-id").map(str::to_owned)
}

/// Limits are counted per minute, and no header says how long to wait: to the end of the minute on the vendor's
/// own clock, a whole one where it does not tell.
fn next_minute(date: Option<&str>) -> Duration {
    let second = date.and_then(|date| {
        let clock = date.split(' ').find(|word| word.matches(':').count() == 2)?;
        clock.rsplit(':').next()?.parse::<u64>().ok().filter(|second| *second < 60)
    });
    Duration::from_secs(60 - second.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(status: u16, code: &str, message: &str) -> ProviderError {
        let body =
            json!({"error": {"code": code, "message": format!("{message} Request id: 0217"), "type": "x"}});
        parse(&testkit::answer(status, &[], body.to_string()))
    }

    #[test]
    fn every_code_has_its_class_and_its_spend() {
        use ErrorClass::*;
        for (status, code, class, retry) in [
            (400, "MissingParameter", InvalidRequest, Retry::Never),
            (400, "InvalidParameter", InvalidRequest, Retry::Never),
            (400, "InvalidParameter.UnsupportedImageFormat", InvalidRequest, Retry::Never),
            (400, "InvalidEndpoint.ClosedEndpoint", Unavailable, Retry::Later),
            (400, "InputTextSensitiveContentDetected", ContentBlocked, Retry::Never),
            (400, "InputImageSensitiveContentDetected.PolicyViolation", ContentBlocked, Retry::Never),
            (400, "InputTextRiskDetection", ContentBlocked, Retry::Never),
            (400, "InputImageRiskDetection", ContentBlocked, Retry::Never),
            (400, "SensitiveContentDetected.Violence", ContentBlocked, Retry::Never),
            (400, "OutputImageSensitiveContentDetected", ContentBlocked, Retry::Never),
            (400, "OutputTextRiskDetection", ContentBlocked, Retry::Never),
            (401, "AuthenticationError", Authentication, Retry::Elsewhere),
            (403, "AccountOverdueError", QuotaExhausted, Retry::Elsewhere),
            (403, "AccessDenied", Permission, Retry::Elsewhere),
            (403, "OperationDenied.PermissionDenied", Permission, Retry::Elsewhere),
            (403, "OperationDenied.ServiceOverdue", QuotaExhausted, Retry::Elsewhere),
            (404, "InvalidEndpointOrModel.NotFound", NotFound, Retry::Elsewhere),
            (404, "InvalidEndpoint.NotFound", NotFound, Retry::Elsewhere),
            (404, "ModelNotOpen", Permission, Retry::Elsewhere),
            (429, "ModelAccountIpmRateLimitExceeded", RateLimited, Retry::Later),
            (429, "ModelAccountRpmRateLimitExceeded", RateLimited, Retry::Later),
            (429, "RateLimitExceeded.EndpointRPMExceeded", RateLimited, Retry::Later),
            (429, "RequestBurstTooFast", RateLimited, Retry::Later),
            (429, "SetLimitExceeded", QuotaExhausted, Retry::Elsewhere),
            (429, "QuotaExceeded", QuotaExhausted, Retry::Elsewhere),
            (429, "InflightBatchsizeExceeded", ConcurrencyLimited, Retry::Later),
            (429, "ServerOverloaded", Overloaded, Retry::Later),
            (418, "NobodyKnows", InvalidRequest, Retry::Never),
        ] {
            let error = told(status, code, "It is so.");
            assert_eq!((error.class, error.retry, error.spend), (class, retry, Spend::None), "{code}");
            assert_eq!(error.vendor_code.as_deref(), Some(code));
            assert_eq!(error.vendor_request_id.as_deref(), Some("0217"), "from the end of the text");
            assert!(!error.message.contains("0217"), "{}", error.message);
        }
        for status in [500, 502, 503, 504] {
            let error = told(status, "InternalServiceError", "It broke.");
            assert_eq!((error.class, error.spend), (Unavailable, Spend::Possible), "{status}");
        }
    }

    #[test]
    fn a_word_in_the_text_decides_nothing_but_the_one_case_without_a_code() {
        let text = "The parameter `model` is not valid: the model does not exist, sensitive, rate limit.";
        assert_eq!(told(400, "InvalidParameter", text).class, ErrorClass::InvalidRequest);
        let text = "The parameter `seed` is not supported by the current model.";
        assert_eq!(told(400, "InvalidParameter", text).class, ErrorClass::UnsupportedParameter);
        assert!(
            told(404, "ModelNotOpen", "x").message.contains("activate"),
            "the operator learns the remedy"
        );
    }

    #[test]
    fn a_limit_per_minute_waits_for_the_next_one() {
        let limited = |code: &str, headers: &[(&str, &str)]| {
            let body = json!({"error": {"code": code, "message": "Too many."}});
            parse(&testkit::answer(429, headers, body.to_string())).retry_after
        };
        let ipm = "ModelAccountIpmRateLimitExceeded";
        let date = ("date", "Sat, 21 Nov 2026 13:45:48 GMT");
        assert_eq!(limited(ipm, &[date]), Some(Duration::from_secs(12)));
        assert_eq!(limited(ipm, &[]), Some(Duration::from_secs(60)));
        assert_eq!(limited(ipm, &[date, ("retry-after", "3")]), Some(Duration::from_secs(3)));
        assert_eq!(limited("RequestBurstTooFast", &[date]), None, "that is a matter of seconds");
        for nonsense in ["", "soon", "Sat, 21 Nov 2026 13:45:99 GMT"] {
            assert_eq!(next_minute(Some(nonsense)), Duration::from_secs(60), "{nonsense}");
        }
    }
}
