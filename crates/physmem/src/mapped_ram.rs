use std::sync::Arc;

use vread_addr::{ByteLen, FileOffset, PAGE_SHIFT};
use vread_iov_iter::{IovIter, Progress, SourceFailure, Stop};
use vread_nofault::{Fault, UserBuf};

use crate::backing_file::{self, BackingFile, Extent, Residency};
use crate::mapping::Mapping;
use crate::pagemap::{Mapped, Pagemap};
use crate::pages::{self, Answer, PAGE, Pages, Run};
use crate::presence::Presence;
use crate::segments::Step;
use crate::system_read;
use crate::zeros;

/// RAM that lies in a file, mapped into this process.
///
/// Positions are bytes from the start of the mapping.
#[derive(Debug)]
pub(crate) struct MappedRam {
    mapping: Mapping,
    file: Arc<BackingFile>,
    owner: Option<Pagemap>,
    /// The position in the file of the mapping's first byte.
    first: FileOffset,
    pages: Pages,
}

/// A read of this length asks anew which pages hold something. That takes about a microsecond for a window
/// of 2 MiB, and then no more for neighbouring reads; shorter reads go by what is known.
const FRESH_FROM: usize = 64 << 10;

/// How many pages a shorter read asks about, if nothing is known: 64 KiB, which the kernel maps at once.
const AROUND: usize = 16;

impl MappedRam {
    /// Maps `len` bytes of the file from `first` on, which is a multiple of `unit`, the size of the file's
    /// pages. `owner` is who else has them mapped, if that is needed to tell what is populated.
    pub(crate) fn new(
        file: &Arc<BackingFile>,
        first: FileOffset,
        len: usize,
        unit: usize,
        owner: Option<Pagemap>,
    ) -> rustix::io::Result<Self> {
        Ok(Self {
            mapping: Mapping::shared(file, first, len, unit)?,
            file: file.clone(),
            owner,
            first,
            pages: Pages::new(len),
        })
    }

    /// The 8 bytes at `position` as a little-endian number, if that takes no more than a load.
    #[inline]
    pub(crate) fn load_u64(&self, position: usize) -> Option<u64> {
        let known = self.pages.is_known(position)
            // WRAP: a position beyond the mapping is refused below.
            && (position % PAGE <= PAGE - 8 || self.pages.is_known(position.wrapping_add(7)));
        if !known {
            return None;
        }
        self.mapping.load_u64(position).map(u64::from_le)
    }

    #[inline]
    pub(crate) fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    #[inline]
    pub(crate) fn presence(&self) -> &Presence {
        self.pages.presence()
    }

    /// Fills `dst` from `position` on, if that takes no more than a copy inside a page. Tells whether it
    /// did.
    #[inline]
    pub(crate) fn read_in_page(&self, position: usize, dst: &mut [u8]) -> bool {
        dst.len() <= PAGE.wrapping_sub(position % PAGE)
            && self.pages.is_known(position)
            && self.mapping.read(position, dst)
    }

    /// What lies at `position`, for at most `limit` bytes.
    pub(crate) fn run(&self, position: usize, limit: usize) -> Result<Run, SourceFailure> {
        let mut limit = limit;
        if limit >= FRESH_FROM && self.file.residency() == Residency::Told {
            let window = Pages::left_in_window(position);
            // The file knows how far a hole reaches, be it a terabyte of windows.
            if limit > window
                && let Answer::Hole(pages) =
                    ask_file(&self.file, self.first, position >> PAGE_SHIFT)?
            {
                let hole = pages.saturating_mul(PAGE).saturating_sub(position % PAGE);
                return Ok(Run::Hole(hole.min(limit)));
            }
            self.pages
                .refresh(position, |page, out| self.exists(page, out));
            // What is known of the next window may be old.
            limit = limit.min(window);
        }
        self.pages
            .run(position, limit, |page, limit| self.ask(page, limit))
    }

    /// Which pages from `page` on exist, one byte each, its lowest bit set if so; as many as are told.
    fn exists<'o>(&self, page: usize, out: &'o mut [u8]) -> &'o [u8] {
        // Nothing known means that we have never mapped them; most often they are all of one kind.
        if !self.pages.is_known(page << PAGE_SHIFT) {
            // WRAP: it could be mapped, so it lies in the file's range.
            let at = self.first.wrapping_add(ByteLen::new(pages::in_bytes(page)));
            let len = ByteLen::new(pages::in_bytes(out.len()));
            let count = system_read::count_pages(self.file.file(), at, len);
            if let Some(all) = count.and_then(|count| match count {
                0 => Some(0),
                count if pages::in_bytes(1).saturating_mul(count) == len.get() => Some(1),
                _ => None,
            }) {
                out.fill(all);
                return out;
            }
        }
        self.mapping.residency(page << PAGE_SHIFT, out)
    }

    /// Copies `len` bytes of content at `position` into `iter`.
    #[inline]
    pub(crate) fn copy_to_iter(
        &self,
        position: usize,
        len: usize,
        iter: &mut IovIter<'_, UserBuf<'_>>,
    ) -> Progress {
        let (copied, fault) = self.mapping.copy_to_iter(position, len, iter);
        let progress = Progress::copied(ByteLen::from_usize(copied));
        let stop = match fault {
            None => return progress,
            Some(Fault::Destination(_)) => Stop::DestFault,
            Some(Fault::System(errno)) => Stop::Failed(SourceFailure::Os(errno)),
            Some(_) => {
                let at = position.saturating_add(copied);
                match self.has_byte(at) {
                    Ok(true) => {
                        let left = len.saturating_sub(copied);
                        return progress.then(zeros::rest_of_page(at, left, iter));
                    }
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

    /// Reads `len` bytes at `position` into `iter` without populating what is a hole.
    pub(crate) fn read_to_iter(
        &self,
        position: usize,
        len: usize,
        iter: &mut IovIter<'_, UserBuf<'_>>,
    ) -> Progress {
        // WRAP: it could be mapped, so it lies in the file's range.
        let at = self.first.wrapping_add(ByteLen::from_usize(position));
        match system_read::read_file_to_iter(self.file.file(), at, len, iter) {
            Step::Arrived(copied) => {
                iter.advance(copied);
                Progress::copied(ByteLen::from_usize(copied))
            }
            Step::Refused(libc::EFAULT) => match self.has_byte(position) {
                Ok(true) => Progress {
                    stopped: Some(Stop::DestFault),
                    ..Progress::default()
                },
                Ok(false) => Progress::failed(SourceFailure::Truncated),
                Err(failure) => Progress::failed(failure),
            },
            Step::Refused(errno) => Progress::failed(SourceFailure::Os(errno)),
        }
    }

    /// Whether a byte that could not be read still belongs to the file: then its page is lost (a memory
    /// error, a failed disk), otherwise the file was cut.
    fn has_byte(&self, position: usize) -> Result<bool, SourceFailure> {
        let at = self
            .first
            .get()
            .saturating_add(ByteLen::from_usize(position).get());
        self.file
            .size()
            .map(|size| at < size)
            .map_err(|error| backing_file::os_failure(&error))
    }

    fn ask(&self, page: usize, limit: usize) -> Result<Answer, SourceFailure> {
        if self.file.is_huge() {
            // Another process may have populated what the owner has not touched.
            return Ok(match &self.owner {
                None => Answer::Untold(limit.max(1)),
                Some(owner) => match owner.ask(page, limit)? {
                    Mapped::Present(pages) => Answer::Content(pages),
                    Mapped::Absent(pages) => Answer::Untold(pages),
                },
            });
        }
        if self.file.residency() == Residency::Told {
            let mut around = [0; AROUND];
            let told = self.mapping.residency(page << PAGE_SHIFT, &mut around);
            let resident = told.iter().take_while(|page| **page & 1 != 0).count();
            if resident > 0 {
                return Ok(Answer::Content(resident));
            }
        }
        ask_file(&self.file, self.first, page)
    }
}

/// What the file says about `page` of a stretch that starts at `first`, and the pages after it.
pub(crate) fn ask_file(
    file: &BackingFile,
    first: FileOffset,
    page: usize,
) -> Result<Answer, SourceFailure> {
    let up_to = |end: u64| {
        usize::try_from(end)
            .unwrap_or(usize::MAX)
            .saturating_sub(page)
    };
    let into = |position: u64| position.saturating_sub(first.get());
    let at = first.get().saturating_add(pages::in_bytes(page));
    Ok(match file.extent(at)? {
        Extent::Data { until } => {
            Answer::Content(up_to(into(until).div_ceil(pages::in_bytes(1))).max(1))
        }
        Extent::Hole { until } => match up_to(into(until) >> PAGE_SHIFT) {
            // Blocks smaller than a page: a part of it holds something. Or the file ends here.
            0 => Answer::Content(1),
            pages => Answer::Hole(pages),
        },
    })
}
