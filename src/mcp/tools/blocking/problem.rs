//! What failed, in the second predecessor's codes. Where it had none, the code is ours; where its code is wider than
//! ours, ours is in the details.

use super::chosen;
use crate::{
    jobs::{Code, JobView, ProviderView, Refused},
    mcp::tools::{pictures, results},
};
use serde::Serialize;
use serde_json::{Map, Value};

/// Arguments that only OpenAI's models had.
const OPENAI_ONLY: [&str; 4] = ["background", "moderation", "output_compression", "output_format"];

#[derive(Debug, Serialize)]
pub struct Problem {
    pub code: &'static str,
    pub message: String,
    /// Keyed by code; never absent.
    pub details: Map<String, Value>,
}

impl Problem {
    pub fn new(code: &'static str, message: impl Into<String>) -> Problem {
        Problem { code, message: message.into(), details: Map::new() }
    }
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Problem {
        self.details.insert(key.into(), value.into());
        self
    }
    fn maybe(self, key: &str, value: Option<impl Into<Value>>) -> Problem {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    pub fn unknown_tool(name: &str) -> Problem {
        let short: String = name.chars().take(100).collect();
        let message = format!("Unknown tool: {short}. tools/list names those there are.");
        Problem::new("unknown_tool", message).with("tool_name", short)
    }

    pub fn image_not_found(asked: &str) -> Problem {
        let message = format!("Image id '{asked}' not found or expired");
        Problem::new("image_not_found", message).with("image_id", asked)
    }

    pub fn invalid_arguments(refused: Refused) -> Problem {
        Problem::new("invalid_arguments", refused.message).maybe("argument", refused.field)
    }

    /// Of a job that has ended without an image.
    pub fn of_job(view: &JobView) -> Problem {
        let (message, code) = results::error(view)
            .unwrap_or_else(|| ("The provider made no image.".into(), "generation_failed".into()));
        let of_the_vendor = [
            Code::ContentBlocked,
            Code::ProviderRejected,
            Code::ProviderError,
            Code::ProviderUnavailable,
            Code::UnsupportedParameter,
            Code::Timeout,
            Code::OutcomeUnknown,
        ];
        let known = [Code::StorageError, Code::Cancelled].into_iter().find(|known| known.as_str() == code);
        let problem = match known {
            _ if of_the_vendor.iter().any(|of| of.as_str() == code) => upstream(message),
            Some(known) => Problem::new(known.as_str(), message),
            None if code == "generation_failed" => Problem::new("generation_failed", message),
            None => Problem::new("internal_error", message),
        };
        problem
            .with("provider", pictures::provider(view))
            .with("code", code)
            .with("job_id", view.job.id.to_string())
    }
}

fn upstream(message: String) -> Problem {
    Problem::new("provider_error", format!("Image generation error: {message}"))
}

/// What a call asked for, as far as a refusal has to name it.
#[derive(Default)]
pub struct Asked {
    pub provider: Option<String>,
    pub model: bool,
    pub style: Option<String>,
    pub resolution: Option<String>,
}

/// Where a refusal came from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The arguments could not be read.
    Reading,
    /// Nothing there could serve them.
    Planning,
}

impl Asked {
    /// A refusal in the predecessor's words.
    pub fn problem(&self, refused: Refused, stage: Stage, providers: &[ProviderView]) -> Problem {
        use Stage::{Planning, Reading};
        let available: Vec<&str> = providers.iter().map(|provider| provider.id.as_str()).collect();
        let of = chosen(providers, self.provider.as_deref());
        let provider = self.provider.clone().or_else(|| of.map(|provider| provider.id.clone()));
        let retry = refused.retry_after_ms;
        let problem = match (refused.field.as_deref(), refused.code, stage) {
            (Some("style"), _, Planning) => self.invalid_style(refused.message, of),
            // A prefix that contradicts what else is said.
            (Some("provider"), _, Reading) if prefixed(&self.style) => {
                self.invalid_style(refused.message, of)
            }
            (Some("provider"), _, Reading) => self.invalid_resolution(refused.message, of),
            (Some("size" | "resolution"), Code::UnsupportedParameter, _)
            | (Some("size" | "resolution"), _, Reading) => self.invalid_resolution(refused.message, of),
            (Some(field), _, Reading) if OPENAI_ONLY.contains(&field) => {
                upstream(refused.message).maybe("provider", provider)
            }
            (Some(field), Code::UnsupportedParameter, Planning) if OPENAI_ONLY.contains(&field) => {
                Problem::new("invalid_parameters", refused.message)
                    .maybe("provider", provider)
                    .with("openai_parameters", OPENAI_ONLY.to_vec())
            }
            (Some("provider"), _, Planning) => Problem::new("provider_unavailable", refused.message)
                .maybe("provider", provider)
                .with("available_providers", available),
            (_, Code::ProviderUnavailable, Planning) if self.provider.is_none() && !self.model => {
                let code = if available.is_empty() { "provider_missing" } else { "provider_unavailable" };
                Problem::new(code, refused.message).with("available_providers", available)
            }
            (_, Code::InvalidRequest, _) => Problem::invalid_arguments(refused),
            (_, Code::Internal, _) => Problem::new("internal_error", refused.message),
            (field, code, _) => {
                let field = field.map(str::to_owned);
                Problem::new(code.as_str(), refused.message).maybe("argument", field)
            }
        };
        problem.maybe("retry_after_ms", retry)
    }

    pub fn invalid_style(&self, message: String, of: Option<&ProviderView>) -> Problem {
        Problem::new("invalid_style", message)
            .maybe("provider", of.map(|provider| provider.id.as_str()))
            .maybe("style", self.style.as_deref())
            .with("available_styles", ids(of.map(|provider| &provider.styles[..])))
    }

    fn invalid_resolution(&self, message: String, of: Option<&ProviderView>) -> Problem {
        Problem::new("invalid_resolution", message)
            .maybe("provider", of.map(|provider| provider.id.as_str()))
            .maybe("resolution", self.resolution.as_deref())
            .with("available_resolutions", ids(of.map(|provider| &provider.resolutions[..])))
    }
}

fn prefixed(text: &Option<String>) -> bool {
    text.as_deref().is_some_and(|text| text.contains(':'))
}

fn ids(of: Option<&[(String, String)]>) -> Vec<&str> {
    of.unwrap_or_default().iter().map(|(id, _)| id.as_str()).collect()
}
