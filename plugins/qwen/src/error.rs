//! One place that says what DashScope's errors mean: `{"code","message","request_id"}`, with any status, or the
//! OpenAI-like `{"error":{...}}`.

use plugin_api::{Answer, ErrorClass, ProviderError, Retry, Spend, asked_wait};
use serde_json::Value;
use std::time::Duration;

/// An allocation is given anew by the minute.
const ALLOCATION_WAIT: Duration = Duration::from_secs(60);

/// What an answer's body says about a failure.
#[derive(Debug, Default)]
pub(crate) struct Said {
    pub code: String,
    pub message: String,
}

impl Said {
    /// `None`: no error member, or an empty one.
    pub(crate) fn read(body: &Value) -> Option<Said> {
        let text = |of: &Value, key: &str| match of.get(key) {
            Some(Value::String(text)) => text.trim().to_owned(),
            Some(Value::Number(number)) => number.to_string(),
            _ => String::new(),
        };
        let said = |of: &Value| Said { code: text(of, "code"), message: text(of, "message") };
        let top = said(body);
        if !top.code.is_empty() {
            return Some(top);
        }
        let inner = body.get("error").map(said).filter(|s| !s.code.is_empty() || !s.message.is_empty());
        inner.or_else(|| Some(top).filter(|s| !s.message.is_empty()))
    }
}

/// The class of a code; `None`: the code says nothing.
fn by_code(said: &Said) -> Option<ErrorClass> {
    use ErrorClass::*;
    let (code, text) = (said.code.as_str(), said.message.to_ascii_lowercase());
    let begins = |heads: &[&str]| heads.iter().any(|head| code.starts_with(head));
    let holds = |parts: &[&str]| parts.iter().any(|part| code.contains(part));
    Some(match () {
        () if holds(&["DataInspection", "ContentFilter", "IPInfringement"]) => ContentBlocked,
        () if begins(&["InvalidApiKey"]) => Authentication,
        () if begins(&["Arrearage", "AllocationQuota.FreeTierOnly"]) || holds(&["BillOverdue"]) => {
            QuotaExhausted
        }
        // We chose the wrong way of calling: no other key would help.
        () if holds(&["AccessDenied"]) && text.contains("synchronous") => InvalidRequest,
        () if holds(&["AccessDenied"]) => Permission,
        () if holds(&["Model.NotExist", "ModelNotFound"]) => NotFound,
        () if begins(&["Throttling"]) => RateLimited,
        () if begins(&["InternalError"]) => Unavailable,
        () if begins(&["ServiceUnavailable", "ModelUnavailable"]) => Overloaded,
        () if begins(&["GatewayTimeout", "RequestTimeOut"]) => Timeout,
        () if begins(&["InvalidParameter", "InvalidURL", "BadRequest"]) => InvalidRequest,
        () => return None,
    })
}

fn by_status(status: u16) -> ErrorClass {
    match status {
        504 => ErrorClass::Timeout,
        status => ErrorClass::of_status(status),
    }
}

/// What an answer without a result means for the call that was paid for.
pub(crate) fn of_call(answer: &Answer, said: Option<&Said>) -> ProviderError {
    let status = answer.status.as_u16();
    let empty = Said::default();
    let said = said.unwrap_or(&empty);
    let known = by_code(said);
    let class = known.unwrap_or_else(|| by_status(status));
    let mut error = worded(class, said, status).with_status(status).with_wait(asked_wait(&answer.headers));
    if answer.status.is_server_error() {
        error = error.with_spend(Spend::Possible);
    } else if class == ErrorClass::BadResponse {
        // A redirect made nothing; an error of an unknown kind under a success may have.
        let spend = if answer.status.is_success() { Spend::Possible } else { Spend::None };
        error = error.with_spend(spend).with_retry(Retry::Elsewhere);
    }
    if said.code.starts_with("Throttling.AllocationQuota") && error.retry_after.is_none() {
        error.retry_after = Some(ALLOCATION_WAIT);
    }
    error
}

/// What the code inside a task, or of one of its images, means. An image that failed is not charged.
pub(crate) fn of_work(said: &Said) -> ProviderError {
    worded(by_code(said).unwrap_or(ErrorClass::Unavailable), said, 200).with_spend(Spend::None)
}

fn worded(class: ErrorClass, said: &Said, status: u16) -> ProviderError {
    let message = match (class, said.message.as_str()) {
        (ErrorClass::Authentication, "") => "DashScope refused the API key".to_owned(),
        (ErrorClass::Authentication, text) => format!("{text} (a key belongs to one region: check base_url)"),
        (_, "") if (300..400).contains(&status) => {
            format!("DashScope answered with a redirect ({status}), which is never followed: check base_url")
        }
        (_, "") => format!("DashScope answered with status {status}"),
        (_, text) => text.to_owned(),
    };
    let mut error = ProviderError::new(class, message);
    if !said.code.is_empty() {
        error = error.with_code(said.code.chars().take(100).collect::<String>());
    }
    if class == ErrorClass::ContentBlocked {
        let output = said.message.to_ascii_lowercase().contains("output");
        error = error.with_stage(if output { "output" } else { "input" });
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use testkit::answer;

    fn told(status: u16, headers: &[(&str, &str)], body: Value) -> ProviderError {
        of_call(&answer(status, headers, body.to_string()), Said::read(&body).as_ref())
    }

    #[test]
    fn every_code_has_its_class_its_advice_and_its_spend() {
        use ErrorClass::*;
        use Spend::{None as Free, Possible};
        for (status, code, message, class, retry, spend) in [
            (400, "InvalidParameter", "bad size", InvalidRequest, Retry::Never, Free),
            (400, "InvalidParameter.Size", "bad size", InvalidRequest, Retry::Never, Free),
            (400, "InvalidURL", "no image", InvalidRequest, Retry::Never, Free),
            (400, "BadRequest.TooLarge", "large", InvalidRequest, Retry::Never, Free),
            (400, "DataInspectionFailed", "Input data", ContentBlocked, Retry::Never, Free),
            (400, "InvalidParameter.ContentFilter", "no", ContentBlocked, Retry::Never, Free),
            (400, "IPInfringementSuspect", "no", ContentBlocked, Retry::Never, Free),
            (400, "Arrearage", "pay", QuotaExhausted, Retry::Elsewhere, Free),
            (403, "Arrearage", "pay", QuotaExhausted, Retry::Elsewhere, Free),
            (401, "InvalidApiKey", "bad", Authentication, Retry::Elsewhere, Free),
            (403, "AccessDenied", "no", Permission, Retry::Elsewhere, Free),
            (403, "Model.AccessDenied", "no", Permission, Retry::Elsewhere, Free),
            (403, "AccessDenied", "does not support asynchronous calls", InvalidRequest, Retry::Never, Free),
            (403, "AllocationQuota.FreeTierOnly", "used up", QuotaExhausted, Retry::Elsewhere, Free),
            (404, "Model.NotExist", "no", NotFound, Retry::Elsewhere, Free),
            (400, "ModelNotFound", "no", NotFound, Retry::Elsewhere, Free),
            (429, "Throttling", "slow", RateLimited, Retry::Later, Free),
            (429, "Throttling.RateQuota", "slow", RateLimited, Retry::Later, Free),
            (429, "Throttling.AllocationQuota", "slow", RateLimited, Retry::Later, Free),
            (500, "InternalError.Algo", "oops", Unavailable, Retry::Later, Possible),
            (503, "ServiceUnavailable", "busy", Overloaded, Retry::Later, Possible),
            (503, "ModelUnavailable", "busy", Overloaded, Retry::Later, Possible),
            (504, "GatewayTimeout", "late", Timeout, Retry::Later, Possible),
            (500, "RequestTimeOut", "late", Timeout, Retry::Later, Possible),
            (409, "Unheard", "of", InvalidRequest, Retry::Never, Free),
            (200, "Unheard", "of", BadResponse, Retry::Elsewhere, Possible),
        ] {
            let error = told(status, &[], json!({"code": code, "message": message, "request_id": "r"}));
            assert_eq!((error.class, error.retry, error.spend), (class, retry, spend), "{status} {code}");
            assert_eq!(error.vendor_code.as_deref(), Some(code));
        }
    }

    #[test]
    fn errors_in_the_form_of_openai_are_read_too() {
        let error = told(401, &[], json!({"error": {"code": "InvalidApiKey", "message": "bad key"}}));
        assert_eq!(error.class, ErrorClass::Authentication);
        assert!(error.message.contains("region"), "{}", error.message);
        assert!(Said::read(&json!({"code": "", "message": "", "output": {}})).is_none(), "empty is no error");
        assert!(Said::read(&json!({"code": null})).is_none());
    }

    #[test]
    fn an_allocation_is_waited_for_longer_and_a_rate_as_long_as_the_vendor_says() {
        let wait =
            |code: &str, headers: &[(&str, &str)]| told(429, headers, json!({"code": code})).retry_after;
        assert_eq!(wait("Throttling.AllocationQuota", &[]), Some(ALLOCATION_WAIT));
        assert_eq!(wait("Throttling.AllocationQuota", &[("retry-after", "5")]), Some(Duration::from_secs(5)));
        assert_eq!(wait("Throttling.RateQuota", &[]), None);
    }

    #[test]
    fn what_fails_inside_a_task_costs_nothing() {
        let said = |code: &str, message: &str| Said { code: code.into(), message: message.into() };
        let blocked =
            of_work(&said("DataInspectionFailed", "Output data may contain inappropriate content."));
        assert_eq!((blocked.class, blocked.spend), (ErrorClass::ContentBlocked, Spend::None));
        assert_eq!(blocked.stage.as_deref(), Some("output"));
        assert_eq!(of_work(&said("Novel", "")).class, ErrorClass::Unavailable);
    }
}
