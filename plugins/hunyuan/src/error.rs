//! What the vendor's errors mean: those of TC3 by their words, those of TokenHub by number, else by HTTP status.
//! Both come with status 200 too.

use plugin_api::{Answer, ErrorClass, ProviderError, Retry, Spend, asked_wait};
use serde_json::Value;
use std::time::Duration;

/// The vendor model that replaces what is taken offline.
pub const CURRENT: &str = "hy-image-v3.0";
/// Until a job of ours, or an orphan of a lost call, is through.
const AFTER_A_JOB: Duration = Duration::from_secs(5);
const AFTER_A_BURST: Duration = Duration::from_secs(1);

/// What an answer was to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// To make an image.
    Submit,
    /// How a job is doing.
    Query,
}

/// What is known of a failure.
#[derive(Debug, Default)]
struct Said<'a> {
    code: Option<String>,
    message: &'a str,
    id: Option<&'a str>,
}

/// The error in an answer, if it is one. `json`: its body.
pub fn of(answer: &Answer, json: Option<&Value>, asked: Asked) -> Option<ProviderError> {
    let status = answer.status.as_u16();
    let said = json.and_then(said);
    if said.is_none() && answer.status.is_success() {
        return None;
    }
    let said = said.unwrap_or_default();
    let named = match &said.code {
        Some(code) => known(code, said.message, asked),
        None => None,
    };
    let class = named.unwrap_or_else(|| by_status(status, said.message));
    let by_status_alone = said.message.trim().is_empty() && said.code.is_none();
    let mut error = dressed(class, &said, asked)
        .with_status(status)
        .with_request_id(said.id.map(|id| id.chars().take(200).collect()));
    if by_status_alone {
        error.message = format!("Tencent answered with status {status}");
    }
    if let Some(wait) = asked_wait(&answer.headers) {
        error = error.with_wait(Some(wait));
    }
    if answer.status.is_server_error() {
        error = error.with_spend(Spend::Possible);
    } else if class == ErrorClass::BadResponse {
        // A redirect or the like: nothing was made, and this address will not make anything.
        error = error.with_spend(Spend::None).with_retry(Retry::Elsewhere);
    }
    Some(error)
}

/// The failure of a job, or of one of its images: it is over, and what failed is not charged (by other clients'
/// accounts; the vendor's pages do not say).
pub fn of_job(code: &str, message: &str) -> ProviderError {
    let said = Said { code: Some(short(code)), message, id: None };
    let class = match known(code, message, Asked::Submit) {
        // As the code of one image it comes without words; the review of what was made is its usual cause.
        Some(_) if code.ends_with("GenerateImageFailed") && message.is_empty() => ErrorClass::ContentBlocked,
        Some(class) => class,
        None => ErrorClass::Unavailable,
    };
    let error = dressed(class, &said, Asked::Query).with_spend(Spend::None);
    if class == ErrorClass::ContentBlocked { error.with_stage("output") } else { error }
}

/// A poll or a check buys nothing: what it meets says nothing about money, but for a job that is gone.
pub fn free(error: ProviderError) -> ProviderError {
    if error.class == ErrorClass::JobExpired { error } else { error.with_spend(Spend::None) }
}

/// `{"Response":{"Error":{"Code","Message"},"RequestId"}}` or `{"error":{"code","message"},"request_id"}`. The answer
/// to a query about a failed job has an `error` too, beside the job.
fn said(json: &Value) -> Option<Said<'_>> {
    let text = |value: &Value, key: &str| match value.get(key)? {
        Value::String(text) => Some(short(text)),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let tc3 = json.pointer("/Response/Error").filter(|e| e.is_object());
    if let Some(error) = tc3 {
        return Some(Said {
            code: text(error, "Code"),
            message: error.get("Message").and_then(Value::as_str).unwrap_or_default(),
            id: json.pointer("/Response/RequestId").and_then(Value::as_str),
        });
    }
    let error = json.get("error").filter(|e| e.is_object() && json.get("status").is_none())?;
    let id = error.get("request_id").or(json.get("request_id"));
    Some(Said {
        code: text(error, "code"),
        message: error.get("message").and_then(Value::as_str).unwrap_or_default(),
        id: id.and_then(Value::as_str),
    })
}

fn short(text: &str) -> String {
    text.chars().take(100).collect()
}

/// The class of a code: TokenHub's numbers, and the longest known beginning of TC3's words.
fn known(code: &str, message: &str, asked: Asked) -> Option<ErrorClass> {
    use ErrorClass::*;
    if code.starts_with(|c: char| c.is_ascii_digit()) {
        return by_number(code, message, asked);
    }
    let (start, class) = WORDS.iter().filter(|(start, _)| begins(code, start)).max_by_key(|w| w.0.len())?;
    Some(match *class {
        JobExpired if asked == Asked::Submit => NotFound,
        Unavailable if *start == "FailedOperation.GenerateImageFailed" && message.contains("审核") => {
            ContentBlocked
        }
        class => class,
    })
}

/// `Foo*` is any beginning, `Foo` that code or one below it (`Foo.Bar`).
fn begins(code: &str, start: &str) -> bool {
    match start.strip_suffix('*') {
        Some(start) => code.starts_with(start),
        None => code.strip_prefix(start).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')),
    }
}

const WORDS: &[(&str, ErrorClass)] = {
    use ErrorClass::*;
    &[
        ("AuthFailure", Authentication),
        ("AuthFailure.UnauthorizedOperation", Permission),
        ("UnauthorizedOperation*", Permission),
        ("FailedOperation.UserUnAuthError", Permission),
        ("FailedOperation.ServiceNotActivated", Permission),
        ("FailedOperation.ServiceStop", Permission),
        ("ResourceUnavailable.NotExist", Permission),
        ("ResourceUnavailable.StopUsing", Permission),
        ("ResourceUnavailable.InArrears", QuotaExhausted),
        ("ResourceUnavailable.LowBalance", QuotaExhausted),
        ("FailedOperation.ServiceStopArrears", QuotaExhausted),
        ("FailedOperation.ResourcePackExhausted", QuotaExhausted),
        ("FailedOperation.FreeResourcePackExhausted", QuotaExhausted),
        ("FailedOperation.SetPayModeExceed", QuotaExhausted),
        ("ResourceUnavailable.ResourcePackExhausted", QuotaExhausted),
        ("ResourceUnavailable.FreeResourcePackExhausted", QuotaExhausted),
        ("ResourceUnavailable.SetPayModeExceed", QuotaExhausted),
        ("ResourceInsufficient.ChargeResourceExhaust", QuotaExhausted),
        ("ResourcesSoldOut.ChargeStatusException", QuotaExhausted),
        ("RequestLimitExceeded.JobNumExceed", ConcurrencyLimited),
        ("RequestLimitExceeded", RateLimited),
        ("LimitExceeded", RateLimited),
        ("FailedOperation.EngineServerLimitExceeded", Overloaded),
        ("OperationDenied.TextIllegalDetected", ContentBlocked),
        ("OperationDenied.ImageIllegalDetected", ContentBlocked),
        ("FailedOperation.ModerationFailed", ContentBlocked),
        ("FailedOperation.GenerateImageFailed", Unavailable),
        ("InvalidParameter*", InvalidRequest),
        ("MissingParameter", InvalidRequest),
        ("FailedOperation.Image*", InvalidRequest),
        ("FailedOperation.RequestEntityTooLarge", InvalidRequest),
        ("UnknownParameter", UnsupportedParameter),
        ("InvalidParameterValue.StyleConflict", UnsupportedParameter),
        ("UnsupportedRegion", NotFound),
        ("NoSuchVersion", NotFound),
        ("InvalidAction", NotFound),
        ("ActionOffline", NotFound),
        ("UnsupportedOperation", NotFound),
        ("ResourceUnavailable.InterfaceNotExist", NotFound),
        ("FailedOperation.JobNotExist", JobExpired),
        ("ResourceNotFound", JobExpired),
        ("FailedOperation.EngineRequestTimeout", Timeout),
        ("FailedOperation.RequestTimeout", Timeout),
        ("FailedOperation", Unavailable),
        ("InternalError", Unavailable),
    ]
};

/// TokenHub's numbers come from one source; what is not among them goes by the status.
fn by_number(code: &str, message: &str, asked: Asked) -> Option<ErrorClass> {
    use ErrorClass::*;
    let lower = message.to_ascii_lowercase();
    Some(match code {
        // The job's id is the only thing of a query that can be wrong.
        "400002" if asked == Asked::Query && lower.contains("'id'") => JobExpired,
        "400001" | "400002" => InvalidRequest,
        "400004" => NotFound,
        "401002" => Authentication,
        "401007" => QuotaExhausted,
        "403001" => Permission,
        "429001" if lower.contains("concurrency") => ConcurrencyLimited,
        "429001" => RateLimited,
        "451001" => ContentBlocked,
        "502001" => Unavailable,
        _ => return None,
    })
}

fn by_status(status: u16, message: &str) -> ErrorClass {
    use ErrorClass::*;
    let lower = message.to_ascii_lowercase();
    match status {
        // An error in a success whose code nobody knows.
        200..=299 => Unavailable,
        403 if lower.contains("quota_exhausted") || lower.contains("arrear") => QuotaExhausted,
        429 if lower.contains("concurrency") => ConcurrencyLimited,
        451 => ContentBlocked,
        status => ErrorClass::of_status(status),
    }
}

/// The error with our words where the vendor's would not help, its stage, and the waits that the vendor never names.
fn dressed(class: ErrorClass, said: &Said<'_>, asked: Asked) -> ProviderError {
    let code = said.code.as_deref().unwrap_or_default();
    let vendors = match (said.message.trim(), code) {
        ("", "") => "Tencent gave no reason".to_owned(),
        ("", code) => code.to_owned(),
        (message, _) => message.to_owned(),
    };
    let message = match code {
        "AuthFailure.SignatureExpire" => {
            "Tencent refused the time of the signature: the clock of this machine is more than five minutes off".into()
        }
        "ActionOffline" | "InvalidAction" | "NoSuchVersion" | "UnsupportedOperation" => format!(
            "Tencent has taken this call offline ({vendors}). Use its successor: set TOKENHUB_API_KEY (api_key) and the \
             model {CURRENT}"
        ),
        "UnsupportedRegion" => format!("{vendors} Set the region to ap-guangzhou"),
        _ => vendors,
    };
    let mut error = ProviderError::new(class, message);
    if !code.is_empty() {
        error = error.with_code(code);
    }
    match class {
        ErrorClass::ContentBlocked if asked == Asked::Submit => error.with_stage("input"),
        ErrorClass::ConcurrencyLimited => error.with_retry_after(Some(AFTER_A_JOB)),
        ErrorClass::RateLimited if !code.is_empty() => error.with_retry_after(Some(AFTER_A_BURST)),
        // An image that could not be made is not charged.
        ErrorClass::Unavailable if code == "FailedOperation.GenerateImageFailed" => {
            error.with_spend(Spend::None)
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use testkit::answer;

    fn tc3(asked: Asked, code: &str, message: &str) -> ProviderError {
        let body = json!({"Response": {"Error": {"Code": code, "Message": message}, "RequestId": "r-1"}});
        let answer = answer(200, &[], body.to_string());
        of(&answer, answer.json().ok().as_ref(), asked).expect("it is an error")
    }

    fn hub(asked: Asked, status: u16, code: Value, message: &str) -> ProviderError {
        let body = json!({"error": {"code": code, "message": message, "type": "t", "request_id": "r-1"}});
        let answer = answer(status, &[], body.to_string());
        of(&answer, answer.json().ok().as_ref(), asked).expect("it is an error")
    }

    #[test]
    fn every_code_of_tc3_has_its_class_and_its_spend() {
        use ErrorClass::*;
        use Spend::{Certain, None, Possible};
        for (code, class, spend) in [
            ("AuthFailure.SignatureFailure", Authentication, None),
            ("AuthFailure.TokenFailure", Authentication, None),
            ("AuthFailure.SignatureExpire", Authentication, None),
            ("AuthFailure.UnauthorizedOperation", Permission, None),
            ("UnauthorizedOperation", Permission, None),
            ("UnauthorizedOperation.CamNoAuth", Permission, None),
            ("FailedOperation.ServiceStop", Permission, None),
            ("FailedOperation.ServiceStopArrears", QuotaExhausted, None),
            ("ResourceUnavailable.LowBalance", QuotaExhausted, None),
            ("ResourceInsufficient.ChargeResourceExhaust", QuotaExhausted, None),
            ("RequestLimitExceeded.JobNumExceed", ConcurrencyLimited, None),
            ("RequestLimitExceeded.UinLimitExceeded", RateLimited, None),
            ("LimitExceeded", RateLimited, None),
            ("FailedOperation.EngineServerLimitExceeded", Overloaded, None),
            ("OperationDenied.ImageIllegalDetected", ContentBlocked, None),
            ("FailedOperation.GenerateImageFailed", Unavailable, None),
            ("InvalidParameter", InvalidRequest, None),
            ("InvalidParameterValue.TextLengthExceed", InvalidRequest, None),
            ("InvalidParameterValue.StyleConflict", UnsupportedParameter, None),
            ("FailedOperation.ImageDecodeFailed", InvalidRequest, None),
            ("FailedOperation.RequestTimeout", Timeout, Possible),
            ("FailedOperation.Other", Unavailable, Possible),
            ("InternalError.Deep", Unavailable, Possible),
            ("Unheard.Of", Unavailable, Possible),
        ] {
            let error = tc3(Asked::Submit, code, "x");
            assert_eq!((error.class, error.spend), (class, spend), "{code}");
            assert_eq!(error.vendor_code.as_deref(), Some(code));
            assert_eq!(error.vendor_request_id.as_deref(), Some("r-1"));
        }
        for code in ["FailedOperation.JobNotExist", "ResourceNotFound.Job"] {
            let gone = tc3(Asked::Query, code, "x");
            assert_eq!((gone.class, free(gone.clone()).spend), (JobExpired, Certain), "{code}");
            assert_eq!(tc3(Asked::Submit, code, "x").class, NotFound, "no job was asked about");
        }
        let review = tc3(Asked::Submit, "FailedOperation.GenerateImageFailed", "生成图片审核不通过");
        assert_eq!(review.class, ContentBlocked);
    }

    #[test]
    fn what_is_taken_offline_is_answered_with_the_remedy() {
        for code in ["ActionOffline", "InvalidAction", "UnsupportedOperation", "NoSuchVersion"] {
            let error = tc3(Asked::Submit, code, "gone.");
            assert_eq!((error.class, error.spend), (ErrorClass::NotFound, Spend::None));
            assert!(error.message.contains("TOKENHUB_API_KEY") && error.message.contains(CURRENT), "{error}");
        }
        assert!(tc3(Asked::Submit, "UnsupportedRegion", "no.").message.contains("ap-guangzhou"));
    }

    #[test]
    fn a_limit_without_a_header_has_a_wait_of_ours() {
        let jobs = tc3(Asked::Submit, "RequestLimitExceeded.JobNumExceed", "x");
        assert_eq!((jobs.retry, jobs.retry_after), (Retry::Later, Some(AFTER_A_JOB)));
        let burst = tc3(Asked::Submit, "RequestLimitExceeded", "x");
        assert_eq!(burst.retry_after, Some(AFTER_A_BURST));
    }

    #[test]
    fn every_number_of_tokenhub_has_its_class_and_unknown_ones_go_by_the_status() {
        use ErrorClass::*;
        use Spend::{None, Possible};
        for (status, code, message, class, spend) in [
            (400, json!("400001"), "missing", InvalidRequest, None),
            (400, json!(400_004), "model", NotFound, None),
            (401, json!("401002"), "key", Authentication, None),
            (402, json!("401007"), "FREE_QUOTA_EXHAUSTED", QuotaExhausted, None),
            (403, json!("499999"), "endpoint: FREE_QUOTA_EXHAUSTED", QuotaExhausted, None),
            (403, json!("403001"), "no", Permission, None),
            (429, json!("429001"), "dimension: tpm", RateLimited, None),
            (429, json!("429001"), "dimension: concurrency", ConcurrencyLimited, None),
            (429, json!("429999"), "dimension: concurrency", ConcurrencyLimited, None),
            (451, json!("451001"), "filter", ContentBlocked, None),
            (451, json!(null), "filter", ContentBlocked, None),
            (413, json!("413000"), "large", InvalidRequest, None),
            (502, json!("502001"), "up", Unavailable, Possible),
            (500, json!("999999"), "up", Unavailable, Possible),
            (200, json!("ResourceUnavailable.InterfaceNotExist"), "no", NotFound, None),
            (200, json!("RequestLimitExceeded.JobNumExceed"), "no", ConcurrencyLimited, None),
            (200, json!("what"), "?", Unavailable, Possible),
        ] {
            let error = hub(Asked::Submit, status, code.clone(), message);
            assert_eq!((error.class, error.spend), (class, spend), "{status} {code} {message}");
            assert_eq!(error.vendor_request_id.as_deref(), Some("r-1"));
        }
        let gone = hub(Asked::Query, 400, json!("400002"), "invalid parameter 'id': job not found");
        assert_eq!(gone.class, JobExpired);
        let other = hub(Asked::Query, 400, json!("400002"), "invalid parameter 'model'");
        assert_eq!(other.class, InvalidRequest, "not the job");
    }

    #[test]
    fn a_failed_job_is_free_and_a_failed_review_strikes_the_output() {
        let blocked = of_job("FailedOperation.GenerateImageFailed", "");
        assert_eq!((blocked.class, blocked.stage.as_deref()), (ErrorClass::ContentBlocked, Some("output")));
        for (code, class) in [
            ("FailedOperation.ServerError", ErrorClass::Unavailable),
            ("FailedOperation.EngineRequestTimeout", ErrorClass::Timeout),
            ("", ErrorClass::Unavailable),
        ] {
            let error = of_job(code, "处理失败");
            assert_eq!((error.class, error.spend), (class, Spend::None), "{code}");
        }
    }
}
