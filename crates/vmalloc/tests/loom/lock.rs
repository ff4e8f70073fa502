//! A lock whose every step loom knows.
#![expect(unsafe_code, reason = "implements lock_api's unsafe trait")]

use std::sync::OnceLock;

use lock_api::{GuardSend, RawRwLock};
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

const WRITER: usize = usize::MAX;

/// How many readers, or a writer.
pub(crate) struct LoomLock(
    /// loom's atomics cannot be made in a constant; this one is made by whoever comes first, which is no
    /// step that others could see.
    OnceLock<AtomicUsize>,
);

impl LoomLock {
    fn state(&self) -> &AtomicUsize {
        self.0.get_or_init(|| AtomicUsize::new(0))
    }

    fn take(&self, change: impl Fn(usize) -> Option<usize>) -> bool {
        let taken = self
            .state()
            .fetch_update(Ordering::Acquire, Ordering::Relaxed, change);
        taken.is_ok()
    }
}

// SAFETY: 1. a writer gets in only where the state is 0, and nobody while the state is `WRITER`;
//         2. acquire and release order what is done under the lock.
unsafe impl RawRwLock for LoomLock {
    type GuardMarker = GuardSend;

    #[expect(
        clippy::declare_interior_mutable_const,
        reason = "as lock_api wants it"
    )]
    const INIT: Self = Self(OnceLock::new());

    fn lock_shared(&self) {
        while !self.try_lock_shared() {
            thread::yield_now();
        }
    }

    fn try_lock_shared(&self) -> bool {
        self.take(|state| (state != WRITER).then(|| state + 1))
    }

    unsafe fn unlock_shared(&self) {
        self.state().fetch_sub(1, Ordering::Release);
    }

    fn lock_exclusive(&self) {
        while !self.try_lock_exclusive() {
            thread::yield_now();
        }
    }

    fn try_lock_exclusive(&self) -> bool {
        self.take(|state| (state == 0).then_some(WRITER))
    }

    unsafe fn unlock_exclusive(&self) {
        self.state().store(0, Ordering::Release);
    }
}
