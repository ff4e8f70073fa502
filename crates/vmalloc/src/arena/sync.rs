//! The atomics of what readers walk without a lock: the machine's, or loom's under its model checker.

#[cfg(loom)]
pub(super) use loom::sync::atomic::{AtomicU64, Ordering};

#[cfg(not(loom))]
pub(super) use core::sync::atomic::{AtomicU64, Ordering};
