//! What follows a failed attempt: another try, another target, or the end. Pure, so that every rule is tested.

use super::Code;
use crate::{
    providers::{FallbackOn, OnAmbiguous, Routing},
    store::{Job, State},
};
use plugin_api::{ErrorClass, ProviderError, Retry, Spend};
use std::time::Duration;

/// What to do with the job.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// Try again at `target` of the plan, not before `after`.
    Again {
        target: usize,
        after: Duration,
    },
    Fail {
        code: Code,
        error: String,
        hold: bool,
        spent: bool,
    },
    Cancel,
}

/// Longest wait at a target when another one could serve at once.
const SHORT_WAIT: Duration = Duration::from_secs(2);

/// `left`: until the job's deadline. `jitter`: 0..1, drawn by the caller.
pub fn decide(job: &Job, error: &ProviderError, routing: &Routing, left: Duration, jitter: f64) -> Verdict {
    debug_assert_eq!(job.state, State::Running);
    let ambiguous = error.spend == Spend::Possible
        && matches!(
            error.class,
            ErrorClass::OutcomeUnknown
                | ErrorClass::Unavailable
                | ErrorClass::Timeout
                | ErrorClass::Overloaded
        );
    let may_pay_twice = ambiguous && routing.on_ambiguous == OnAmbiguous::RetryOnce && job.attempts_made < 2;
    if error.spend == Spend::None && job.cancel_requested {
        return Verdict::Cancel;
    }
    // Somebody else's job is in the way, and will end: the tries are for failures.
    let in_the_way = error.class == ErrorClass::ConcurrencyLimited;
    let tries_left =
        in_the_way || job.attempts_made < i32::try_from(routing.retries.attempts).unwrap_or(i32::MAX);
    let free = error.spend == Spend::None && tries_left && !job.cancel_requested;
    if (free || may_pay_twice)
        && let Some((target, after)) = next_target(job, error, routing, jitter, may_pay_twice)
        && after < left
    {
        return Verdict::Again { target, after };
    }
    fail(error, ambiguous)
}

fn next_target(
    job: &Job,
    error: &ProviderError,
    routing: &Routing,
    jitter: f64,
    twice: bool,
) -> Option<(usize, Duration)> {
    use ErrorClass::*;
    let on = match error.class {
        Authentication | Permission | QuotaExhausted | NotFound | UnsupportedParameter => {
            Some(FallbackOn::Refused)
        }
        RateLimited | ConcurrencyLimited => Some(FallbackOn::RateLimited),
        Unavailable | Overloaded | Timeout => Some(FallbackOn::Unavailable),
        _ => None,
    };
    let elsewhere = on.filter(|on| routing.fallback_on.contains(on)).map(|_| job.target + 1);
    let elsewhere = elsewhere.filter(|next| *next < job.plan.targets.len());
    let wait = wait(job, error, routing, jitter);
    if twice {
        return Some((job.target, wait));
    }
    match (error.retry, elsewhere) {
        (Retry::Never, _) => None,
        // A vendor that names a short wait is worth it; any other failure is better served elsewhere.
        (Retry::Later, Some(next)) if error.retry_after.is_none_or(|asked| asked > SHORT_WAIT) => {
            Some((next, Duration::ZERO))
        }
        (Retry::Later, _) => Some((job.target, wait)),
        (Retry::Elsewhere, Some(next)) => Some((next, Duration::ZERO)),
        (Retry::Elsewhere, None) => None,
    }
}

/// The vendor's own wish where it has one (within reason), else full jitter over a doubling wait.
fn wait(job: &Job, error: &ProviderError, routing: &Routing, jitter: f64) -> Duration {
    let retries = &routing.retries;
    if let Some(asked) = error.retry_after.filter(|asked| *asked <= *retries.honour_retry_after) {
        // A little later than asked, so that not all come back in the same instant.
        return asked + Duration::from_millis((jitter * 250.0) as u64);
    }
    let doubled = retries.backoff.saturating_mul(1 << job.attempts_made.clamp(1, 16).saturating_sub(1));
    doubled.min(*retries.max_backoff).mul_f64(jitter.clamp(0.0, 1.0)).max(Duration::from_millis(10))
}

fn fail(error: &ProviderError, ambiguous: bool) -> Verdict {
    use ErrorClass::*;
    if ambiguous {
        let error = format!(
            "The vendor was asked, and no definite answer came back ({}). The image may have been made and charged; \
             it was not asked for again. Look at the job later, or ask the operator to reconcile it.",
            error.message
        );
        return Verdict::Fail { code: Code::OutcomeUnknown, error, hold: true, spent: true };
    }
    let (code, error_text) = match error.class {
        ContentBlocked => (Code::ContentBlocked, format!("The vendor's content filter refused it: {}", error.message)),
        UnsupportedParameter => (Code::UnsupportedParameter, format!("The model cannot do this: {}", error.message)),
        InvalidRequest => (Code::ProviderRejected, format!("The vendor rejected the request: {}", error.message)),
        BadResponse | JobExpired => (Code::ProviderError, format!("The vendor's answer was no use: {}", error.message)),
        // The operator's concern: the details are in the log and in the attempts, not in the caller's text.
        Authentication | Permission | QuotaExhausted | NotFound => (
            Code::ProviderUnavailable,
            "The provider refused the gateway's own account or model settings. The operator can see why with `image-gateway doctor`."
                .to_owned(),
        ),
        RateLimited | ConcurrencyLimited | Overloaded | Unavailable => {
            (Code::ProviderUnavailable, format!("The provider is not available: {}", error.message))
        }
        Timeout => (Code::Timeout, format!("The vendor ran out of time: {}", error.message)),
        OutcomeUnknown => (Code::OutcomeUnknown, error.message.clone()),
    };
    Verdict::Fail { code, error: error_text, hold: false, spent: error.spend != Spend::None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(targets: usize, attempts_made: i32) -> Job {
        Job { state: State::Running, attempts_made, ..Job::sample("t", &vec!["a"; targets]) }
    }

    const LEFT: Duration = Duration::from_secs(600);

    fn verdict(job: &Job, error: &ProviderError) -> Verdict {
        decide(job, error, &Routing::default(), LEFT, 0.5)
    }

    #[test]
    fn an_unpaid_failure_moves_to_the_next_target_and_a_paid_one_never() {
        for class in [
            ErrorClass::Unavailable,
            ErrorClass::Authentication,
            ErrorClass::RateLimited,
            ErrorClass::Overloaded,
        ] {
            let error = ProviderError::new(class, "x").with_spend(Spend::None);
            assert!(matches!(verdict(&job(2, 1), &error), Verdict::Again { target: 1, .. }), "{class}");
        }
        for class in [ErrorClass::Unavailable, ErrorClass::Timeout, ErrorClass::OutcomeUnknown] {
            let error = ProviderError::new(class, "x");
            let verdict = verdict(&job(2, 1), &error);
            assert!(
                matches!(verdict, Verdict::Fail { code: Code::OutcomeUnknown, hold: true, .. }),
                "{class}: {verdict:?}"
            );
        }
        let bad = ProviderError::new(ErrorClass::BadResponse, "x");
        assert!(matches!(
            verdict(&job(2, 1), &bad),
            Verdict::Fail { code: Code::ProviderError, hold: false, spent: true, .. }
        ));
    }

    #[test]
    fn content_policy_and_bad_arguments_are_never_tried_elsewhere() {
        for class in [ErrorClass::ContentBlocked, ErrorClass::InvalidRequest] {
            assert!(
                matches!(verdict(&job(3, 1), &ProviderError::new(class, "x")), Verdict::Fail { .. }),
                "{class}"
            );
        }
    }

    #[test]
    fn a_lone_target_is_tried_again_later_as_often_as_configured() {
        let error =
            ProviderError::new(ErrorClass::RateLimited, "x").with_retry_after(Some(Duration::from_secs(7)));
        let Verdict::Again { target: 0, after } = verdict(&job(1, 1), &error) else { panic!() };
        assert!(after >= Duration::from_secs(7) && after < Duration::from_secs(8));
        assert!(matches!(verdict(&job(1, 3), &error), Verdict::Fail { code: Code::ProviderUnavailable, .. }));
        assert!(
            matches!(
                decide(&job(1, 1), &error, &Routing::default(), Duration::from_secs(3), 0.5),
                Verdict::Fail { .. }
            ),
            "no wait goes past the deadline"
        );
    }

    #[test]
    fn a_vendor_that_is_busy_with_another_job_is_asked_until_the_deadline() {
        let five = Duration::from_secs(5);
        let busy = ProviderError::new(ErrorClass::ConcurrencyLimited, "x").with_retry_after(Some(five));
        assert!(matches!(verdict(&job(1, 50), &busy), Verdict::Again { target: 0, .. }));
        let late = decide(&job(1, 50), &busy, &Routing::default(), five, 0.5);
        assert!(matches!(late, Verdict::Fail { code: Code::ProviderUnavailable, .. }), "{late:?}");
    }

    #[test]
    fn a_refusal_of_the_account_is_told_to_the_operator_not_to_the_caller() {
        let error = ProviderError::new(ErrorClass::Authentication, "Incorrect API key sk-1 for org acme");
        let Verdict::Fail { error, .. } = verdict(&job(1, 1), &error) else { panic!() };
        assert!(!error.contains("acme"), "{error}");
    }

    #[test]
    fn a_cancelled_job_gets_no_further_try() {
        let mut cancelled = job(2, 1);
        cancelled.cancel_requested = true;
        assert_eq!(verdict(&cancelled, &ProviderError::new(ErrorClass::RateLimited, "x")), Verdict::Cancel);
    }

    #[test]
    fn paying_twice_happens_once_and_only_where_configured() {
        let routing = Routing { on_ambiguous: OnAmbiguous::RetryOnce, ..Routing::default() };
        let error = ProviderError::new(ErrorClass::OutcomeUnknown, "x");
        assert!(matches!(decide(&job(1, 1), &error, &routing, LEFT, 0.5), Verdict::Again { target: 0, .. }));
        assert!(matches!(decide(&job(1, 2), &error, &routing, LEFT, 0.5), Verdict::Fail { .. }));
    }
}
