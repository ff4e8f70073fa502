use std::sync::Arc;

use vread_addr::{ByteLen, FileOffset, VirtAddr};
use vread_iov_iter::{IovIter, Progress, SourceFailure};
use vread_nofault::UserBuf;

use crate::backing_file::BackingFile;
use crate::liveness::Liveness;
use crate::mapped_ram;
use crate::pagemap::{Mapped, Pagemap};
use crate::pages::{Answer, Pages, Run};
use crate::segments::Step;
use crate::system_read::ProcessVm;
use crate::zeros;

/// RAM that is read out of the process that has it.
///
/// Positions are bytes from `first`.
#[derive(Debug)]
pub(crate) struct ProcessRam {
    process: ProcessVm,
    liveness: Arc<Liveness>,
    /// The start of the first page, in the process.
    first: VirtAddr,
    teller: Teller,
    pages: Pages,
}

/// Who knows which pages hold something.
#[derive(Debug)]
pub(crate) enum Teller {
    /// The file that they lie in, from this position on.
    File {
        file: Arc<BackingFile>,
        first: FileOffset,
    },
    /// The process's page table: they are anonymous, or huge. (Shared huge pages that only another process
    /// has touched look like holes. To tell them would take to populate those that nobody has.)
    Pagemap(Pagemap),
    /// Nobody: they come from a file that the process maps for itself alone.
    Nobody,
}

impl ProcessRam {
    /// `len` bytes of the process from `first` on, the start of a page.
    pub(crate) fn new(
        process: ProcessVm,
        liveness: Arc<Liveness>,
        first: VirtAddr,
        len: usize,
        teller: Teller,
    ) -> Self {
        Self {
            process,
            liveness,
            first,
            teller,
            pages: Pages::new(len),
        }
    }

    /// What lies at `position`, for at most `limit` bytes.
    pub(crate) fn run(&self, position: usize, limit: usize) -> Result<Run, SourceFailure> {
        self.pages
            .run(position, limit, |page, limit| match &self.teller {
                Teller::File { file, first } => mapped_ram::ask_file(file, *first, page),
                Teller::Pagemap(pagemap) => Ok(match pagemap.ask(page, limit)? {
                    Mapped::Present(pages) => Answer::Content(pages),
                    Mapped::Absent(pages) => Answer::Hole(pages),
                }),
                Teller::Nobody => Ok(Answer::Content(limit.max(1))),
            })
    }

    /// Copies content at `position` into `iter`: up to `len` bytes, and at least one unless it says why not.
    pub(crate) fn copy_to_iter(
        &self,
        position: usize,
        len: usize,
        iter: &mut IovIter<'_, UserBuf<'_>>,
    ) -> Progress {
        // WRAP: refused when it was opened.
        let addr = self.first.wrapping_add(ByteLen::from_usize(position));
        let step = self.process.copy_to_iter(addr, len, iter);
        // Only now is it certain that the number was still that process's when it was used.
        if self.liveness.ask() {
            return Progress::failed(SourceFailure::Gone);
        }
        match step {
            Step::Arrived(copied) => {
                iter.advance(copied);
                Progress::copied(ByteLen::from_usize(copied))
            }
            // One side refused; a byte that goes in two steps tells which.
            Step::Refused(libc::EFAULT) => match self.process.read_byte(addr) {
                Ok(_) if self.liveness.ask() => Progress::failed(SourceFailure::Gone),
                Ok(byte) => {
                    let copied = ByteLen::from_usize(iter.copy_to_iter_nofault(&[byte]));
                    Progress::copied(copied).or_dest_fault(ByteLen::new(1))
                }
                // Taken away since it was opened, or without the right to read.
                Err(libc::EFAULT) => zeros::rest_of_page(position, len, iter),
                Err(errno) => Progress::failed(failure(errno)),
            },
            Step::Refused(errno) => Progress::failed(failure(errno)),
        }
    }
}

fn failure(errno: i32) -> SourceFailure {
    match errno {
        libc::ESRCH => SourceFailure::Gone,
        errno => SourceFailure::Os(errno),
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, id};

    use rustix::process::{Pid, getpid};

    use super::*;

    // A number that another process has got meanwhile: here ours, with a buffer of ours in place of the RAM.
    #[test]
    fn bytes_of_another_process_with_that_number_do_not_count() {
        let mut child = Command::new("true").spawn().unwrap();
        let pid = Pid::from_raw(child.id().try_into().unwrap()).unwrap();
        let liveness = Arc::new(Liveness::of(pid).unwrap());
        child.wait().unwrap();
        assert!(liveness.ask());
        assert_ne!(child.id(), id());

        let secret = [0x5a_u8; 64];
        let first = VirtAddr::new(secret.as_ptr().addr().try_into().unwrap());
        let ram = ProcessRam::new(
            ProcessVm::new(getpid()),
            liveness,
            first,
            secret.len(),
            Teller::Nobody,
        );
        let mut bytes = [0_u8; 64];
        let mut segment = UserBuf::new(&mut bytes);
        let mut iter = IovIter::ubuf(&mut segment);
        let progress = ram.copy_to_iter(0, 64, &mut iter);
        assert_eq!(progress, Progress::failed(SourceFailure::Gone));
        assert_eq!(iter.count(), 64);
    }
}
