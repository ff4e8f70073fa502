//! Faults on purpose in every copy to or from a user's buffer: Linux's `fail_usercopy` (I28). Feature
//! `fail-usercopy`; without it no copy asks.

use std::cell::Cell;
use std::env;
use std::sync::OnceLock;

use vread_iov_iter::{FaultAttr, FaultAttrError, FaultInjector};

/// The environment variable that [`from_env`] reads: `interval,probability,space,times`, as Linux's boot
/// option of that name has them. `1,10,0,-1` lets a tenth of all pieces fail.
pub const VARIABLE: &str = "VREAD_FAIL_USERCOPY";

/// Random decisions repeat from run to run.
const SEED: u64 = 0x5eed_fa17;

static INJECTOR: OnceLock<FaultInjector> = OnceLock::new();

thread_local! {
    /// How many checks of this thread are left until one fails; 0 for none.
    static NTH: Cell<u32> = const { Cell::new(0) };
}

/// Why no faults could be injected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FailUsercopyError {
    /// The variable does not hold what it has to.
    #[error("{VARIABLE}={word}: {source}; 1,10,0,-1 lets a tenth of all pieces fail")]
    Malformed {
        /// What it holds.
        word: String,
        /// What is wrong with it.
        source: FaultAttrError,
    },
    /// They are chosen once in the life of a process.
    #[error("faults are injected already; they are chosen once, before the first copy")]
    Chosen,
}

/// Injects faults as [`VARIABLE`] says, from now on, in all threads; none if it is not set.
///
/// # Errors
///
/// [`FailUsercopyError`].
pub fn from_env() -> Result<(), FailUsercopyError> {
    let Some(word) = env::var_os(VARIABLE) else {
        return Ok(());
    };
    let word = word.to_string_lossy().into_owned();
    match word.parse() {
        Ok(attr) => inject(attr),
        Err(source) => Err(FailUsercopyError::Malformed { word, source }),
    }
}

/// Injects faults from now on, in all threads.
///
/// # Errors
///
/// [`FailUsercopyError::Chosen`] from the second call on.
pub fn inject(attr: FaultAttr) -> Result<(), FailUsercopyError> {
    let chosen = INJECTOR.set(FaultInjector::new(attr, SEED));
    chosen.map_err(|_second| FailUsercopyError::Chosen)
}

/// Lets the `nth` piece that this thread copies from now on fail, and none other of this thread until then,
/// whatever was injected: Linux's `/proc/self/fail-nth`. 0 takes it back. Returns what was left of the one
/// before; 0 if it has failed.
pub fn fail_nth(nth: u32) -> u32 {
    NTH.replace(nth)
}

/// Whether the next piece is to fail.
pub(crate) fn should_fail() -> bool {
    match NTH.get() {
        0 => INJECTOR.get().is_some_and(FaultInjector::should_fail),
        left => {
            NTH.set(left.saturating_sub(1));
            left == 1
        }
    }
}
