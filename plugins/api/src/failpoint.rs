//! Places where the fault harness kills, stalls or fails the process. They do something only in a build with the
//! feature `failpoints`; in every other build [`failpoint`] is an empty function.

/// Passes the place with this name.
///
/// With the feature, the variable `FAILPOINT` arms places: `finish.settle=kill@3` kills the process at its third
/// passage, `stall:1000` (milliseconds) instead of `kill` holds the thread up, `error` fails. Several are divided
/// by `;`, and without `@n` it is the first passage.
///
/// # Errors
/// The place is armed with `error`. Without the feature never.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn failpoint(_name: &str) -> std::io::Result<()> {
    Ok(())
}

#[cfg(feature = "failpoints")]
pub use armed::failpoint;

#[cfg(feature = "failpoints")]
mod armed {
    use std::{
        io,
        sync::{
            LazyLock,
            atomic::{AtomicU32, Ordering},
        },
        time::Duration,
    };

    enum Action {
        Kill,
        Stall(Duration),
        Error,
    }

    struct Place {
        name: String,
        action: Action,
        /// The passage it acts at.
        at: u32,
        passed: AtomicU32,
    }

    static PLACES: LazyLock<Vec<Place>> = LazyLock::new(|| {
        let armed = std::env::var("FAILPOINT").unwrap_or_default();
        armed.split(';').filter(|one| !one.is_empty()).map(place).collect()
    });

    /// # Panics
    /// On a text that is not understood: a trial that injects nothing would prove nothing.
    fn place(text: &str) -> Place {
        read(text).unwrap_or_else(|| panic!("FAILPOINT: `{text}` is not name=kill|stall:MS|error[@n]"))
    }

    fn read(text: &str) -> Option<Place> {
        let (name, rest) = text.split_once('=')?;
        let (action, at) = rest.split_once('@').unwrap_or((rest, "1"));
        let action = match action.split_once(':') {
            Some(("stall", ms)) => Action::Stall(Duration::from_millis(ms.parse().ok()?)),
            None if action == "kill" => Action::Kill,
            None if action == "error" => Action::Error,
            _ => return None,
        };
        Some(Place { name: name.into(), action, at: at.parse().ok()?, passed: AtomicU32::new(0) })
    }

    pub fn failpoint(name: &str) -> io::Result<()> {
        for place in PLACES.iter().filter(|place| place.name == name) {
            if place.passed.fetch_add(1, Ordering::Relaxed) + 1 != place.at {
                continue;
            }
            match place.action {
                Action::Kill => std::process::abort(),
                Action::Stall(time) => std::thread::sleep(time),
                Action::Error => return Err(io::Error::other(format!("the failpoint {name}"))),
            }
        }
        Ok(())
    }
}
