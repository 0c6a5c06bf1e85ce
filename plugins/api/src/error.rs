//! What a vendor's failure means: one class, what may be tried, and whether money may be gone.

use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

/// The classes of failure every vendor's errors map to (one decision of the gateway each).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
