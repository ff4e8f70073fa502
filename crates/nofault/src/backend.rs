use std::io;
use std::sync::atomic::{AtomicU8, Ordering};

#[cfg(target_arch = "x86_64")]
use crate::handler;

/// How a fault under a copy is survived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// Handlers for `SIGSEGV` and `SIGBUS`; a copy costs what `memcpy` costs.
    SignalHandler,
    /// `process_vm_readv` and `process_vm_writev` on ourselves; a copy costs a system call.
    ProcessVm,
}

/// Why the signal handlers could not be installed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InstallError {
    /// `sigaction` refused.
    #[error(
        "cannot install the handler of signal {signal}: {source}; copies go through \
         process_vm_readv instead"
    )]
    Sigaction {
        /// The signal's number.
        signal: i32,
        /// What the system said.
        source: io::Error,
    },
}

const PROCESS_VM: u8 = 0;
const SIGNAL_HANDLER: u8 = 1;

/// What every copy asks first. The handlers are in place before `SIGNAL_HANDLER` can be seen, and are
/// never taken away.
static CURRENT: AtomicU8 = AtomicU8::new(PROCESS_VM);

/// Installs the signal handlers, once for the process, and makes every copy rely on them.
///
/// Returns the backend now in use: [`Backend::ProcessVm`] where there is no handler for the
/// architecture. Calling it again costs little and changes nothing (but undoes a [`select`] of
/// [`Backend::ProcessVm`]). Any thread may call it at any time.
///
/// A copy that faults takes one signal frame of its thread's alternate stack, if it has one. A handler that
/// runs on that stack and itself copies what is not there needs room for a second: Rust's threads have 8 KiB,
/// a frame may take 3.4 KB and more.
///
/// # Errors
///
/// [`InstallError`] if the system refuses; copies stay safe through [`Backend::ProcessVm`].
pub fn install() -> Result<Backend, InstallError> {
    #[cfg(target_arch = "x86_64")]
    {
        handler::install_once()?;
        CURRENT.store(SIGNAL_HANDLER, Ordering::Release);
    }
    Ok(backend())
}

/// Chooses a backend for all copies that start from now on; [`Backend::SignalHandler`] means
/// [`install`].
///
/// # Errors
///
/// Those of [`install`].
pub fn select(backend: Backend) -> Result<Backend, InstallError> {
    match backend {
        Backend::SignalHandler => install(),
        Backend::ProcessVm => {
            CURRENT.store(PROCESS_VM, Ordering::Release);
            Ok(Backend::ProcessVm)
        }
    }
}

/// The backend that copies use now: [`Backend::ProcessVm`] until [`install`] was called.
#[must_use]
#[inline]
pub fn backend() -> Backend {
    if has_handler() {
        Backend::SignalHandler
    } else {
        Backend::ProcessVm
    }
}

/// Whether faults of this process come to our handlers first. `false` before [`install`], and when
/// somebody replaced them since; if the new ones do not chain to ours, [`select`]
/// [`Backend::ProcessVm`]. Two system calls.
#[must_use]
pub fn handler_is_current() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        handler::is_current()
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Proof that the fault handlers were in place, for many loads in a row that shall not ask each for itself.
///
/// They are never taken away; but keep it for no longer than a read takes, so that a [`select`] of
/// [`Backend::ProcessVm`] is heard.
#[derive(Debug, Clone, Copy)]
pub struct Handlers(());

impl Handlers {
    /// The proof, if [`backend`] is [`Backend::SignalHandler`].
    #[inline]
    #[must_use]
    pub fn installed() -> Option<Self> {
        has_handler().then_some(Self(()))
    }
}

/// Whether the fast copies are safe.
#[inline]
pub(crate) fn has_handler() -> bool {
    CURRENT.load(Ordering::Acquire) == SIGNAL_HANDLER
}
