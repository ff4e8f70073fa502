use std::sync::Arc;

use vread_addr::{ByteLen, PhysRange};
use vread_iov_iter::{IovIter, Progress, SourceFailure, Stop};
use vread_nofault::{Fault, UserBuf};

use crate::backing_file::BackingFile;
use crate::liveness::Liveness;
use crate::mapping::Mapping;
use crate::pages::{PAGE, Pages, Run};
use crate::process_vm::{ProcessVm, Step};

/// A range of RAM whose bytes lie one after another in one place.
///
/// Positions are bytes from the start of `range`.
#[derive(Debug)]
pub(crate) struct Region {
    pub(crate) range: PhysRange,
    /// How far into its first page the place starts. All three are counted from that page.
    head: usize,
    pages: Pages,
    place: Place,
}

#[derive(Debug)]
pub(crate) enum Place {
    /// A file, mapped here from its position `first` on.
    Mapped {
        mapping: Mapping,
        file: Arc<BackingFile>,
        first: u64,
    },
    /// The memory of a process, from its address `first` on.
    Process { process: ProcessVm, first: u64 },
}

impl Region {
    pub(crate) fn new(range: PhysRange, head: usize, pages: Pages, place: Place) -> Self {
        Self {
            range,
            head,
            pages,
            place,
        }
    }

    pub(crate) fn is_mapped(&self) -> bool {
        matches!(self.place, Place::Mapped { .. })
    }

    /// The 8 bytes at `at`, if that takes no more than a load.
    #[inline]
    pub(crate) fn load_u64(&self, at: usize) -> Option<u64> {
        let position = self.head.wrapping_add(at);
        let last = position.wrapping_add(7);
        match &self.place {
            Place::Mapped { mapping, .. }
                if self.pages.is_known(position) && self.pages.is_known(last) =>
            {
                mapping.load_u64(position).map(u64::from_le)
            }
            _ => None,
        }
    }

    /// Fills `dst` from `at` on, if that takes no more than a copy inside a page. Tells whether it did.
    #[inline]
    pub(crate) fn read_in_page(&self, at: usize, dst: &mut [u8]) -> bool {
        let position = self.head.wrapping_add(at);
        match &self.place {
            Place::Mapped { mapping, .. } => {
                dst.len() <= PAGE.wrapping_sub(position % PAGE)
                    && self.pages.is_known(position)
                    && mapping.read(position, dst)
            }
            Place::Process { .. } => false,
        }
    }

    /// What lies at `at`, for at most `limit` bytes.
    pub(crate) fn run(&self, at: usize, limit: usize) -> Result<Run, SourceFailure> {
        self.pages.run(self.head.saturating_add(at), limit)
    }

    /// Copies what lies at `at` into `iter`: up to `len` bytes, and at least one unless it says why not.
    pub(crate) fn copy_to_iter(
        &self,
        at: usize,
        len: usize,
        iter: &mut IovIter<'_, UserBuf<'_>>,
        liveness: Option<&Liveness>,
    ) -> Progress {
        match self.run(at, len) {
            Ok(Run::Hole(len)) => zero(len, iter),
            Ok(Run::Content(len)) => self.copy_content(at, len, iter, liveness),
            Err(failure) => Progress::failed(failure),
        }
    }

    fn copy_content(
        &self,
        at: usize,
        len: usize,
        iter: &mut IovIter<'_, UserBuf<'_>>,
        liveness: Option<&Liveness>,
    ) -> Progress {
        let position = self.head.saturating_add(at);
        match &self.place {
            Place::Mapped {
                mapping,
                file,
                first,
            } => {
                let (copied, fault) = mapping.copy_to_iter(position, len, iter);
                let progress = Progress::copied(ByteLen::from_usize(copied));
                let stop = match fault {
                    None => return progress,
                    Some(Fault::Destination(_)) => Stop::DestFault,
                    Some(Fault::System(errno)) => Stop::Failed(SourceFailure::Os(errno)),
                    Some(_) => {
                        let at = position.saturating_add(copied);
                        match has_byte(file, *first, at) {
                            Ok(true) => return progress.then(zero_page(at, len, copied, iter)),
                            Ok(false) => Stop::Failed(SourceFailure::Truncated),
                            Err(failure) => Stop::Failed(failure),
                        }
                    }
                };
                Progress {
                    stopped: Some(stop),
                    ..progress
                }
            }
            Place::Process { process, first } => {
                let addr = first.saturating_add(ByteLen::from_usize(position).get());
                let step = process.copy_to_iter(addr, len, iter);
                // Only now is it certain that the number was still that process's when it was used.
                if liveness.is_some_and(Liveness::ask) {
                    return Progress::failed(SourceFailure::Gone);
                }
                match step {
                    Step::Arrived(copied) => {
                        iter.advance(copied);
                        Progress::copied(ByteLen::from_usize(copied))
                    }
                    Step::Refused(libc::ESRCH) => Progress::failed(SourceFailure::Gone),
                    Step::Refused(libc::EFAULT) => match process.probe(addr) {
                        Ok(()) => Progress {
                            stopped: Some(Stop::DestFault),
                            ..Progress::default()
                        },
                        Err(libc::EFAULT) => zero_page(position, len, 0, iter),
                        Err(libc::ESRCH) => Progress::failed(SourceFailure::Gone),
                        Err(errno) => Progress::failed(SourceFailure::Os(errno)),
                    },
                    Step::Refused(errno) => Progress::failed(SourceFailure::Os(errno)),
                }
            }
        }
    }
}

/// Whether a byte that could not be read still belongs to the file: then its page is lost (a memory error,
/// a failed disk), otherwise the file was cut.
fn has_byte(file: &BackingFile, first: u64, position: usize) -> Result<bool, SourceFailure> {
    let at = first.saturating_add(ByteLen::from_usize(position).get());
    file.size()
        .map(|size| at < size)
        .map_err(|error| crate::backing_file::os_failure(&error))
}

/// Zeros in place of the rest of the page at `position`, which cannot be read.
fn zero_page(
    position: usize,
    len: usize,
    copied: usize,
    iter: &mut IovIter<'_, UserBuf<'_>>,
) -> Progress {
    let rest = PAGE.saturating_sub(position % PAGE);
    zero(rest.min(len.saturating_sub(copied)), iter)
}

/// Zeros in place of `len` bytes, as many as `iter` takes.
pub(crate) fn zero(len: usize, iter: &mut IovIter<'_, UserBuf<'_>>) -> Progress {
    let want = len.min(iter.count());
    let zeroed = iter.zero_nofault(want);
    Progress::zeroed(ByteLen::from_usize(zeroed)).or_dest_fault(ByteLen::from_usize(want))
}
