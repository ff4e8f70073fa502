//! Which memory was read, by whom in this process ever: only with the feature `trace-reads`.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use vread_addr::PhysAddr;

static ON: AtomicBool = AtomicBool::new(false);
static READS: Mutex<BTreeSet<(PhysAddr, usize)>> = Mutex::new(BTreeSet::new());

/// Begins to remember, with nothing.
pub fn begin() {
    reads().clear();
    ON.store(true, Ordering::Relaxed);
}

/// Ends it: where structures were read and how many bytes, each place once. What a reader asked for goes
/// another way and is not among them.
#[must_use]
pub fn end() -> Vec<(PhysAddr, usize)> {
    ON.store(false, Ordering::Relaxed);
    std::mem::take(&mut *reads()).into_iter().collect()
}

#[inline]
pub(crate) fn note(addr: PhysAddr, len: usize) {
    if ON.load(Ordering::Relaxed) {
        reads().insert((addr, len));
    }
}

fn reads() -> std::sync::MutexGuard<'static, BTreeSet<(PhysAddr, usize)>> {
    READS.lock().unwrap_or_else(PoisonError::into_inner)
}
