use vread_addr::PhysRange;
use vread_iov_iter::{IovIter, Progress, SourceFailure};
use vread_nofault::{Handlers, UserBuf};

use crate::liveness::Liveness;
use crate::loads::Loads;
use crate::mapped_ram::MappedRam;
use crate::pages::Run;
use crate::process_ram::ProcessRam;
use crate::zeros;

/// A range of RAM whose bytes lie one after another in one place.
///
/// Positions `at` are bytes from the start of `range`.
#[derive(Debug)]
pub(crate) struct Region {
    pub(crate) range: PhysRange,
    /// How far into the place the range starts.
    head: usize,
    place: Place,
}

#[derive(Debug)]
pub(crate) enum Place {
    Mapped(MappedRam),
    Process(ProcessRam),
}

impl Region {
    pub(crate) fn new(range: PhysRange, head: usize, place: Place) -> Self {
        Self { range, head, place }
    }

    pub(crate) fn is_mapped(&self) -> bool {
        matches!(self.place, Place::Mapped(_))
    }

    /// The 8 bytes at `at` as a little-endian number, if that takes no more than a load.
    #[inline]
    pub(crate) fn load_u64(&self, at: usize) -> Option<u64> {
        match &self.place {
            Place::Mapped(ram) => ram.load_u64(self.position(at)),
            Place::Process(_) => None,
        }
    }

    /// For many small reads in a row, if the region is mapped and faults are caught.
    #[inline]
    pub(crate) fn loads<'m>(&'m self, liveness: Option<&'m Liveness>) -> Option<Loads<'m>> {
        let Place::Mapped(ram) = &self.place else {
            return None;
        };
        let handlers = Handlers::installed()?;
        Some(Loads::new(ram, self.range, self.head, liveness, handlers))
    }

    /// Fills `dst` from `at` on, if that takes no more than a copy inside a page. Tells whether it did.
    #[inline]
    pub(crate) fn read_in_page(&self, at: usize, dst: &mut [u8]) -> bool {
        match &self.place {
            Place::Mapped(ram) => ram.read_in_page(self.position(at), dst),
            Place::Process(_) => false,
        }
    }

    /// What lies at `at`, for at most `limit` bytes.
    pub(crate) fn run(&self, at: usize, limit: usize) -> Result<Run, SourceFailure> {
        match &self.place {
            Place::Mapped(ram) => ram.run(self.position(at), limit),
            Place::Process(ram) => ram.run(self.position(at), limit),
        }
    }

    /// Copies what lies at `at` into `iter`: up to `len` bytes, and at least one unless it says why not.
    pub(crate) fn copy_to_iter(
        &self,
        at: usize,
        len: usize,
        iter: &mut IovIter<'_, UserBuf<'_>>,
    ) -> Progress {
        let position = self.position(at);
        match (self.run(at, len), &self.place) {
            (Err(failure), _) => Progress::failed(failure),
            (Ok(Run::Hole(len)), _) => zeros::put(len, iter),
            (Ok(Run::Untold(len)), Place::Mapped(ram)) => ram.read_to_iter(position, len, iter),
            (Ok(Run::Content(len)), Place::Mapped(ram)) => ram.copy_to_iter(position, len, iter),
            (Ok(Run::Content(len) | Run::Untold(len)), Place::Process(ram)) => {
                ram.copy_to_iter(position, len, iter)
            }
        }
    }

    /// WRAP: no range is longer than our address space less a page, see `open`.
    #[inline]
    fn position(&self, at: usize) -> usize {
        self.head.wrapping_add(at)
    }
}
