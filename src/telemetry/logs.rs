//! Where log lines go: stderr, as text for people or as JSON for machines.

use super::{Log, LogFormat};
use std::io::IsTerminal as _;
use tracing_subscriber::{
    EnvFilter, fmt::format::FmtSpan, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

/// Libraries that log what the gateway says itself, or SQL with what callers wrote.
const QUIET: &str = "sqlx=warn,sea_orm=warn,sea_orm_migration=warn,pingora=warn,pingora_core=warn,h2=warn,hyper=warn,reqwest=warn,opendal=warn";

/// Logs cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error(
        "telemetry.log.level: `{0}` is neither a level (error, warn, info, debug, trace) nor a filter such as info,sqlx=warn"
    )]
    Level(String),
    #[error("logs were set up before")]
    Twice,
}

/// Sends the log lines of the whole process to stderr from now on.
///
/// # Errors
/// The filter cannot be read, or somebody else takes the log lines already.
pub fn start(settings: &Log) -> Result<(), LogError> {
    let terminal = std::io::stderr().is_terminal();
    let registry = tracing_subscriber::registry().with(filter(&settings.level)?);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_span_events(FmtSpan::NONE);
    let started = if is_json(settings.format, terminal) {
        registry.with(lines.json().flatten_event(true)).try_init()
    } else {
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        registry.with(lines.with_ansi(colour).with_target(false)).try_init()
    };
    started.map_err(|_| LogError::Twice)
}

/// Whether [`start`] would take these settings.
///
/// # Errors
/// The filter cannot be read.
pub fn check(settings: &Log) -> Result<(), LogError> {
    filter(&settings.level).map(drop)
}

fn is_json(format: LogFormat, terminal: bool) -> bool {
    match format {
        LogFormat::Auto => !terminal,
        LogFormat::Pretty => false,
        LogFormat::Json => true,
    }
}

/// The settings' filter over the quiet libraries; what it says of one of them counts.
fn filter(level: &str) -> Result<EnvFilter, LogError> {
    let bad = || LogError::Level(level.into());
    let own = if level.trim().is_empty() { "info" } else { level.trim() };
    // A word that is no level would be taken for the name of a library, and everything else would fall silent.
    let is_level = |word: &str| word.parse::<tracing::level_filters::LevelFilter>().is_ok();
    if !own.split(',').any(|part| part.contains('=') || is_level(part.trim())) {
        return Err(bad());
    }
    EnvFilter::try_new(format!("{QUIET},{own}")).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(level: &str, log: impl FnOnce()) -> String {
        use std::sync::{Arc, Mutex};
        #[derive(Clone, Default)]
        struct Sink(Arc<Mutex<Vec<u8>>>);
        impl std::io::Write for Sink {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0.lock().unwrap().extend_from_slice(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let sink = Sink::default();
        let writer = sink.clone();
        let layer = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(move || writer.clone());
        let subscriber = tracing_subscriber::registry().with(filter(level).unwrap()).with(layer);
        tracing::subscriber::with_default(subscriber, log);
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_level_is_for_the_gateway_and_libraries_stay_quiet() {
        let log = || {
            tracing::debug!("ours");
            tracing::debug!(target: "sqlx::query", "theirs");
            tracing::warn!(target: "sqlx::pool", "their warning");
        };
        let told = lines("debug", log);
        assert!(
            told.contains("ours") && told.contains("their warning") && !told.contains("theirs"),
            "{told}"
        );
        let told = lines("info,sqlx=debug", log);
        assert!(!told.contains("ours") && told.contains("theirs"), "asked for by name: {told}");
    }

    #[test]
    fn a_filter_that_says_nothing_is_refused_with_the_levels() {
        for bad in ["loud", "sqlx=loud", "image_gateway"] {
            let error = filter(bad).unwrap_err().to_string();
            assert!(error.contains(bad) && error.contains("debug"), "{error}");
        }
        for good in ["", "info", " warn ", "WARN", "off", "image_gateway=trace", "info,sqlx=warn"] {
            assert!(filter(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn auto_is_for_the_reader() {
        assert!(is_json(LogFormat::Auto, false) && !is_json(LogFormat::Auto, true));
        assert!(is_json(LogFormat::Json, true) && !is_json(LogFormat::Pretty, false));
    }
}
