//! What a vendor's error means: by its code or text where the settings name it, else by the HTTP status.

use crate::{pointer, template::plain};
use plugin_api::{Answer, ErrorClass, ProviderError, Retry, Spend, asked_wait, value::OneOrMany};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// What errors mean. Without any of it the HTTP status decides.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "DeclaredErrors")]
pub struct Errors {
    /// JSON pointers to the vendor's text. Default: the usual places, such as `/error/message` and `/detail`.
    pub message: OneOrMany<String>,
    /// JSON pointers to the vendor's code. Default: the usual places, such as `/error/code`.
    pub code: OneOrMany<String>,
    /// By a code, by an HTTP status, or by a part of code or text (`*out of memory*`, in any letter case).
    pub classes: BTreeMap<String, ErrorClass>,
}

/// Which call failed: what may have been spent follows from it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Call {
    Submit,
    /// The job is bought already.
    Poll {
        /// The vendor charges for jobs that failed.
        failed_costs: bool,
    },
    /// Nothing can be bought by it.
    Check,
}

const MESSAGES: [&str; 8] = [
    "/error/message",
    "/error",
    "/message",
    "/detail/*/msg",
    "/detail",
    "/errors/*/message",
    "/errors",
    "/title",
];
const CODES: [&str; 8] = [
    "/error/code",
    "/error/type",
    "/code",
    "/error_type",
    "/detail/*/type",
    "/errors/*/code",
    "/type",
    "/error",
];

/// Characters of a vendor's text that are looked at.
pub const LONGEST: usize = 1_000;

/// What the body says.
pub struct Said {
    pub codes: Vec<String>,
    pub message: Option<String>,
}

impl Said {
    pub fn read(errors: &Errors, body: &Value) -> Said {
        let own = |list: &[String], usual: &[&str]| -> Vec<String> {
            if list.is_empty() { usual.iter().map(|p| (*p).to_owned()).collect() } else { list.to_vec() }
        };
        let texts = |pointers: Vec<String>| -> Vec<String> {
            let found = pointers.iter().flat_map(|pointer| pointer::all(body, pointer));
            found
                .filter(|v| v.is_string() || v.is_number())
                .map(|v| plain(&v).chars().take(LONGEST).collect::<String>())
                .filter(|t| !t.trim().is_empty())
                .collect()
        };
        let codes = texts(own(errors.code.as_slice(), &CODES));
        let message = texts(own(errors.message.as_slice(), &MESSAGES)).into_iter().next();
        Said { codes, message }
    }

    /// The class that the settings give to a code, or to a part of a code or text, and that code.
    pub fn named(&self, errors: &Errors) -> Option<(ErrorClass, String)> {
        let classes = &errors.classes;
        let exact = self.codes.iter().find_map(|code| Some((*classes.get(code)?, code.clone())));
        exact.or_else(|| {
            let patterns = classes.iter().filter(|(pattern, _)| pattern.contains('*'));
            patterns
                .flat_map(|(pattern, class)| {
                    self.codes.iter().chain(&self.message).map(move |t| (pattern, class, t))
                })
                .find(|(pattern, _, text)| fits(&pattern.to_lowercase(), &text.to_lowercase()))
                .map(|(_, class, text)| (*class, text.chars().take(100).collect()))
        })
    }
}

/// `*` stands for any text.
fn fits(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|tail| {
            tail.char_indices().map(|(at, _)| at).chain([tail.len()]).any(|at| fits(rest, &tail[at..]))
        }),
    }
}

/// The error of an answer without success.
pub fn of_answer(errors: &Errors, answer: &Answer, call: Call) -> ProviderError {
    let status = answer.status.as_u16();
    let body: Value = answer.json().unwrap_or_default();
    let said = Said::read(errors, &body);
    if let Some((class, code)) = said.named(errors) {
        let error = dressed(ProviderError::new(class, ""), &said, answer).with_code(code);
        return match call {
            Call::Submit => error,
            Call::Check => error.with_spend(Spend::None),
            Call::Poll { .. } if may_pass(class) => error.with_spend(Spend::None),
            Call::Poll { failed_costs } => of_job(failed_costs, error),
        };
    }
    let named = errors.classes.get(&status.to_string()).copied();
    let class = named.unwrap_or_else(|| by_status(status));
    let error = dressed(ProviderError::new(class, ""), &said, answer);
    match call {
        Call::Check => error.with_spend(Spend::None),
        Call::Submit if class == ErrorClass::BadResponse => {
            // A redirect or the like: nothing was made, and this address will not make anything.
            error.with_spend(Spend::None).with_retry(Retry::Elsewhere)
        }
        Call::Submit if named.is_none() && status >= 500 => error.with_spend(Spend::Possible),
        Call::Submit => error,
        Call::Poll { .. } if class == ErrorClass::NotFound => {
            ProviderError { class: ErrorClass::JobExpired, retry: Retry::Never, ..error }
                .with_spend(Spend::Certain)
        }
        Call::Poll { .. } if may_pass(class) => error.with_spend(Spend::None),
        Call::Poll { .. } => error.with_spend(Spend::Certain),
    }
}

/// The asking was turned away: it is repeated.
pub fn may_pass(class: ErrorClass) -> bool {
    use ErrorClass::*;
    matches!(class, Unavailable | RateLimited | ConcurrencyLimited | Overloaded)
}

/// The vendor says that the job failed.
pub fn of_failed_job(
    errors: &Errors,
    answer: &Answer,
    body: &Value,
    (word, class): (&str, ErrorClass),
    failed_costs: bool,
) -> ProviderError {
    let mut said = Said::read(errors, body);
    let (class, code) = said.named(errors).unwrap_or((class, word.to_owned()));
    said.message.get_or_insert_with(|| format!("the vendor says of the job: {word}"));
    of_job(failed_costs, dressed(ProviderError::new(class, ""), &said, answer).with_code(code))
}

/// Nothing is charged for a failed job, unless the settings say so.
pub fn of_job(costs: bool, error: ProviderError) -> ProviderError {
    match error.class {
        ErrorClass::JobExpired | ErrorClass::BadResponse => error,
        _ if costs => error.with_spend(Spend::Certain),
        _ => error.with_spend(Spend::None),
    }
}

/// An answer with success whose body holds a code that the settings know as an error.
pub fn in_success(errors: &Errors, answer: &Answer, body: &Value, call: Call) -> Option<ProviderError> {
    let mut said = Said::read(errors, body);
    let message = said.message.take();
    let (class, code) = said.named(errors)?;
    let error = dressed(ProviderError::new(class, ""), &Said { message, ..said }, answer).with_code(code);
    Some(match call {
        Call::Poll { failed_costs } => of_job(failed_costs, error),
        _ => error,
    })
}

/// A success that cannot be used.
pub fn bad(errors: &Errors, answer: &Answer, body: Option<&Value>, what: &str) -> ProviderError {
    let message = body.and_then(|body| Said::read(errors, body).message);
    let what = message.map_or_else(|| what.to_owned(), |said| format!("{what}; it says: {said}"));
    ProviderError::new(ErrorClass::BadResponse, what)
        .with_status(answer.status.as_u16())
        .with_request_id(request_id(answer))
}

pub fn request_id(answer: &Answer) -> Option<String> {
    ["x-request-id", "x-fal-request-id", "request-id", "cf-ray"]
        .iter()
        .find_map(|name| answer.header(name))
        .map(str::to_owned)
}

/// With the message and the codes, and what the answer's head says.
pub fn dressed(error: ProviderError, said: &Said, answer: &Answer) -> ProviderError {
    let status = answer.status.as_u16();
    let message = said.message.clone().unwrap_or_else(|| match said.codes.first() {
        Some(code) => format!("the vendor says {code}"),
        None if (300..400).contains(&status) => {
            format!("the vendor answered with a redirect ({status}), which is never followed")
        }
        None => format!("the vendor answered with status {status}"),
    });
    let advice = error.retry;
    let mut error = ProviderError { spend: error.spend, ..ProviderError::new(error.class, message) }
        .with_retry(advice)
        .with_status(status)
        .with_request_id(request_id(answer))
        .with_wait(asked_wait(&answer.headers));
    error.vendor_code = said.codes.first().map(|code| code.chars().take(100).collect());
    error
}

fn by_status(status: u16) -> ErrorClass {
    match status {
        405 => ErrorClass::UnsupportedParameter,
        410 => ErrorClass::NotFound,
        status => ErrorClass::of_status(status),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_anywhere_a_star_stands() {
        for (pattern, text) in
            [("*", ""), ("a*c", "abc"), ("*memory*", "out of memory!"), ("é*", "éa"), ("a", "a")]
        {
            assert!(fits(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("a*c", "ab"), ("a", "ab"), ("*x", "y"), ("", "a")] {
            assert!(!fits(pattern, text), "{pattern} {text}");
        }
    }
}
