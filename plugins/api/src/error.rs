//! What a vendor's failure means: one class, what may be tried, and whether money may be gone.

use crate::{http::LONGEST_WAIT, value::Secret};
use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

/// The classes of failure every vendor's errors map to (one decision of the gateway each).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// Malformed or out of range for the vendor.
    InvalidRequest,
    /// This model has no such option.
    UnsupportedParameter,
    /// Prompt, input or output refused by a filter.
    ContentBlocked,
    /// Bad or missing key, bad signature, clock skew.
    Authentication,
    /// The key is good; the model or the action is not allowed.
    Permission,
    /// Balance, package or daily allowance is used up.
    QuotaExhausted,
    /// Too many requests or images in an interval.
    RateLimited,
    /// Too many jobs at once.
    ConcurrencyLimited,
    /// The vendor has no capacity.
    Overloaded,
    /// A gateway page, a 5xx, or no connection at all.
    Unavailable,
    /// The vendor's own timeout.
    Timeout,
    /// Unknown model, account or endpoint.
    NotFound,
    /// The ticket is no longer known.
    JobExpired,
    /// A success that cannot be read, is no image, or is empty.
    BadResponse,
    /// The request left us whole and no definite answer came back.
    OutcomeUnknown,
}

impl fmt::Display for ErrorClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

impl ErrorClass {
    /// What an HTTP status means where the vendor says no more, or nothing that is known. A status that is neither a
    /// client's nor a server's error is `bad_response`: a redirect, or an error under a success.
    pub const fn of_status(status: u16) -> ErrorClass {
        use ErrorClass::*;
        match status {
            401 => Authentication,
            402 => QuotaExhausted,
            403 => Permission,
            404 => NotFound,
            408 => Timeout,
            429 => RateLimited,
            400..=499 => InvalidRequest,
            500..=599 => Unavailable,
            _ => BadResponse,
        }
    }
}

/// Whether the failed call may have cost money.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, PartialOrd, Ord)]
#[serde(rename_all = "snake_case")]
pub enum Spend {
    None,
    Possible,
    Certain,
}

/// What the gateway may do by itself after the failure. Only a failure with [`Spend::None`] is ever tried again
/// automatically, whatever stands here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Retry {
    /// No target would answer differently.
    Never,
    /// The same instance later, or another one.
    Later,
    /// Another instance only.
    Elsewhere,
}

/// A failed call to a vendor.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{class}: {message}")]
pub struct ProviderError {
    pub class: ErrorClass,
    pub retry: Retry,
    pub spend: Spend,
    /// What happened, fit for the caller: no key, no prompt, no address; at most 500 characters.
    pub message: String,
    /// How long the vendor asked to wait.
    pub retry_after: Option<Duration>,
    /// HTTP status of the vendor's answer, if there was one.
    pub status: Option<u16>,
    /// The vendor's own code, as it spelled it.
    pub vendor_code: Option<String>,
    /// The vendor's id of the request, for its support.
    pub vendor_request_id: Option<String>,
    /// Where a filter struck: `input` or `output`.
    pub stage: Option<String>,
}

impl ProviderError {
    /// An error with the retry advice and the spend that are usual for its class; adjust with the `with_` methods.
    pub fn new(class: ErrorClass, message: impl Into<String>) -> ProviderError {
        use ErrorClass::*;
        let (retry, spend) = match class {
            InvalidRequest | ContentBlocked => (Retry::Never, Spend::None),
            UnsupportedParameter | Authentication | Permission | QuotaExhausted | NotFound => {
                (Retry::Elsewhere, Spend::None)
            }
            RateLimited | ConcurrencyLimited | Overloaded => (Retry::Later, Spend::None),
            Unavailable | Timeout => (Retry::Later, Spend::Possible),
            JobExpired | BadResponse => (Retry::Never, Spend::Certain),
            OutcomeUnknown => (Retry::Never, Spend::Possible),
        };
        ProviderError {
            class,
            retry,
            spend,
            message: shorten(message.into()),
            retry_after: None,
            status: None,
            vendor_code: None,
            vendor_request_id: None,
            stage: None,
        }
    }
    /// Of the failures of one call the one that cost most, the first of equals: what may be paid is never told as
    /// free.
    pub fn costliest(errors: impl IntoIterator<Item = ProviderError>) -> Option<ProviderError> {
        errors.into_iter().reduce(|worst, next| if next.spend > worst.spend { next } else { worst })
    }
    pub fn with_spend(mut self, spend: Spend) -> Self {
        self.spend = spend;
        self
    }
    pub fn with_retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }
    pub fn with_retry_after(mut self, after: Option<Duration>) -> Self {
        self.retry_after = after;
        self
    }
    /// What the vendor asked to wait. Over 120 s this instance is as good as down: another one, and no wait.
    pub fn with_wait(mut self, asked: Option<Duration>) -> Self {
        self.retry_after = asked.filter(|wait| *wait <= LONGEST_WAIT);
        if asked.is_some() && self.retry_after.is_none() && self.retry == Retry::Later {
            self.retry = Retry::Elsewhere;
        }
        self
    }
    /// Takes a credential out of everything the vendor said: some repeat the key they refuse.
    pub fn redacted(mut self, secret: &Secret) -> Self {
        self.message = secret.redact(&self.message);
        for text in
            [&mut self.vendor_code, &mut self.vendor_request_id, &mut self.stage].into_iter().flatten()
        {
            *text = secret.redact(text);
        }
        self
    }
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }
    pub fn with_code(mut self, code: impl Into<String>) -> Self {
        self.vendor_code = Some(code.into());
        self
    }
    pub fn with_request_id(mut self, id: Option<String>) -> Self {
        self.vendor_request_id = id;
        self
    }
    pub fn with_stage(mut self, stage: impl Into<String>) -> Self {
        self.stage = Some(stage.into());
        self
    }
}

/// A vendor's text is data: cut to 500 characters, control characters dropped.
fn shorten(text: String) -> String {
    text.chars().filter(|c| !c.is_control() || *c == '\n').take(500).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_failures_the_paid_one_is_told() {
        let blocked = |words: &str| ProviderError::new(ErrorClass::ContentBlocked, words);
        let unread = ProviderError::new(ErrorClass::BadResponse, "no image");
        let worst = ProviderError::costliest([blocked("first"), unread, blocked("last")]).unwrap();
        assert_eq!((worst.class, worst.spend), (ErrorClass::BadResponse, Spend::Certain));
        let first = ProviderError::costliest([blocked("first"), blocked("last")]).unwrap();
        assert_eq!(first.message, "first", "of equals the first");
        assert!(ProviderError::costliest([]).is_none());
    }

    #[test]
    fn a_wait_of_more_than_two_minutes_means_another_instance() {
        let limited = || ProviderError::new(ErrorClass::RateLimited, "slow down");
        let short = limited().with_wait(Some(Duration::from_secs(120)));
        assert_eq!((short.retry, short.retry_after), (Retry::Later, Some(Duration::from_secs(120))));
        let long = limited().with_wait(Some(Duration::from_secs(121)));
        assert_eq!((long.retry, long.retry_after), (Retry::Elsewhere, None));
        assert_eq!(limited().with_wait(None).retry, Retry::Later);
        let never =
            ProviderError::new(ErrorClass::InvalidRequest, "no").with_wait(Some(Duration::from_secs(999)));
        assert_eq!(never.retry, Retry::Never, "a wait never makes a refusal better");
    }

    #[test]
    fn a_credential_is_taken_out_of_every_text() {
        let error = ProviderError::new(ErrorClass::Authentication, "bad key sk-canary!")
            .with_code("sk-canary")
            .with_request_id(Some("id-sk-canary".into()))
            .redacted(&Secret::new("sk-canary"));
        assert!(!format!("{error:?}").contains("sk-canary"), "{error:?}");
        assert_eq!(error.message, "bad key ***!");
        let kept = ProviderError::new(ErrorClass::Authentication, "no key").redacted(&Secret::default());
        assert_eq!(kept.message, "no key", "without a credential there is nothing to take out");
    }
}
