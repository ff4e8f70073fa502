use vread_addr::{ByteLen, PAGE_SHIFT, PhysAddr, PhysRange};
use vread_iov_iter::{IovIter, Progress};
use vread_nofault::{Handlers, UserBuf};

use crate::liveness::Liveness;
use crate::mapped_ram::MappedRam;
use crate::mapping::Mapping;
use crate::pages::PAGE;

/// The largest range of RAM, where that is mapped: for reads of a few bytes that take a dozen loads to find,
/// and should not cost more than these.
///
/// Nothing here waits, asks the system or populates a page; whatever would take that is `None`, and the
/// methods of [`PhysMem`](crate::PhysMem) do it.
#[derive(Debug, Clone, Copy)]
pub struct Loads<'m> {
    ram: &'m MappedRam,
    /// The physical address of the range's first byte.
    start: u64,
    len: u64,
    /// How far into `ram` the range starts.
    head: usize,
    liveness: Option<&'m Liveness>,
    handlers: Handlers,
}

/// A structure in RAM, all of whose pages are known to be populated.
#[derive(Debug, Clone, Copy)]
pub struct Record<'m> {
    mapping: &'m Mapping,
    handlers: Handlers,
    position: usize,
    /// At how many of its offsets, from 0 on, 8 bytes begin.
    words: usize,
}

impl<'m> Loads<'m> {
    #[inline]
    pub(crate) fn new(
        ram: &'m MappedRam,
        range: PhysRange,
        head: usize,
        liveness: Option<&'m Liveness>,
        handlers: Handlers,
    ) -> Self {
        Self {
            ram,
            start: range.start().get(),
            len: range.len().get(),
            head,
            liveness,
            handlers,
        }
    }

    /// The 8 bytes at `addr`, a multiple of 8, as a little-endian number.
    ///
    /// Whether the memory's owner still lives is not asked for each of them, but by
    /// [`copy_to_iter`](Self::copy_to_iter) or [`has_ended`](Self::has_ended), which come last.
    #[inline]
    #[must_use]
    pub fn u64_at(&self, addr: PhysAddr) -> Option<u64> {
        let position = self.known_position(addr)?;
        if !position.is_multiple_of(8) {
            return None;
        }
        self.ram
            .mapping()
            .load_u64_with(self.handlers, position)
            .map(u64::from_le)
    }

    /// The `len` bytes at `addr`, at most a page of them.
    #[inline]
    #[must_use]
    pub fn record(&self, addr: PhysAddr, len: usize) -> Option<Record<'m>> {
        let position = self.known_position(addr)?;
        let last = position.wrapping_add(len.wrapping_sub(1)); // WRAP: refused below.
        let one_page = position >> PAGE_SHIFT == last >> PAGE_SHIFT;
        // WRAP: it is in the range, so the distance is the same in both.
        let last_addr = addr.wrapping_add(ByteLen::from_usize(last.wrapping_sub(position)));
        if len.wrapping_sub(1) >= PAGE || !(one_page || self.known_position(last_addr).is_some()) {
            return None;
        }
        Some(Record {
            mapping: self.ram.mapping(),
            handlers: self.handlers,
            position,
            words: len.saturating_sub(7),
        })
    }

    /// Whether the memory's owner no longer lives: then what was loaded before may be anything.
    #[inline]
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.liveness.is_some_and(Liveness::has_ended)
    }

    /// Tells the processor that the byte at `addr` will be read soon: no promise of any kind.
    #[inline]
    pub fn prefetch(&self, addr: PhysAddr) {
        if let Some(position) = self.position(addr) {
            self.ram.mapping().prefetch(position);
        }
    }

    /// Copies `len` bytes of one page from `addr` on into `iter`.
    #[inline]
    pub fn copy_to_iter(
        &self,
        addr: PhysAddr,
        len: ByteLen,
        iter: &mut IovIter<'_, UserBuf<'_>>,
    ) -> Option<Progress> {
        let position = self.known_position(addr)?;
        let len = len.to_usize()?;
        if len > PAGE.wrapping_sub(position % PAGE) || self.has_ended() {
            return None;
        }
        Some(self.ram.copy_to_iter(position, len, iter))
    }

    /// The position in the mapping, if its page is known to be populated.
    #[inline]
    fn known_position(&self, addr: PhysAddr) -> Option<usize> {
        let position = self.position(addr)?;
        self.ram
            .presence()
            .is_marked(position >> PAGE_SHIFT)
            .then_some(position)
    }

    #[inline]
    fn position(&self, addr: PhysAddr) -> Option<usize> {
        // WRAP: an address below the range comes out beyond its end.
        let at = addr.get().wrapping_sub(self.start);
        if at >= self.len {
            return None;
        }
        // WRAP: no range is longer than our address space less a page, see `open`.
        usize::try_from(at)
            .ok()
            .map(|at| self.head.wrapping_add(at))
    }
}

impl Record<'_> {
    /// The 8 bytes at `offset`, a multiple of 8, as a little-endian number.
    #[inline(always)]
    #[must_use]
    pub fn u64_at(&self, offset: usize) -> Option<u64> {
        // WRAP: the record is in the mapping.
        let position = self.position.wrapping_add(offset);
        if offset >= self.words || !position.is_multiple_of(8) {
            return None;
        }
        self.mapping
            .load_u64_with(self.handlers, position)
            .map(u64::from_le)
    }
}
