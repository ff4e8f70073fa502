/// How far a copy between two raw sides got, and what stopped it.
#[must_use = "a short copy is not a success"]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyOutcome {
    /// The bytes done: exactly those before this number are written. What follows in the destination
    /// may be dirty (I25).
    pub done: usize,
    /// Why less was done than asked for; `None` if and only if all was done.
    pub fault: Option<Fault>,
}

/// What ended a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The source byte at this address of our own process cannot be read.
    Source(usize),
    /// The destination byte at this address of our own process cannot be written.
    Destination(usize),
    /// The system refused to copy at all, with this error number. Only
    /// [`Backend::ProcessVm`](crate::Backend::ProcessVm) can meet it, where a sandbox forbids
    /// `process_vm_readv`.
    System(i32),
}

impl CopyOutcome {
    pub(crate) const fn complete(done: usize) -> Self {
        Self { done, fault: None }
    }
}
