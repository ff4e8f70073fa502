//! Waiting for a condition, which is never a matter of time alone.

use std::thread;
use std::time::{Duration, Instant};

use crate::error::GuestError;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// Looks again and again until `ready` gives something, for `patience` at most.
///
/// # Errors
/// [`GuestError::Never`], which says `what` was waited for.
pub fn wait_until<T>(
    what: &str,
    patience: Duration,
    mut ready: impl FnMut() -> Option<T>,
) -> Result<T, GuestError> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(value) = ready() {
            return Ok(value);
        }
        if Instant::now() >= deadline {
            return Err(GuestError::Never {
                what: what.to_owned(),
                patience,
            });
        }
        thread::sleep(PAUSE);
    }
}
