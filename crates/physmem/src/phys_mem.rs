use std::path::Path;
use std::sync::Arc;

use vread_addr::{ByteLen, FileOffset, PhysAddr, PhysRange, VirtAddr};
use vread_iov_iter::{IovIter, PageSource, Progress, SourceFailure, Stop};
use vread_nofault::UserBuf;

use crate::liveness::Liveness;
use crate::loads::Loads;
use crate::open;
use crate::pages::Run;
use crate::region::Region;
use crate::zeros;
use crate::{OpenError, ReadError};

/// The physical memory of a machine.
///
/// # Invariants
///
/// `regions` are sorted, not empty, and do not overlap; a region is no longer than our address space.
#[derive(Debug)]
pub struct PhysMem {
    regions: Box<[Region]>,
    /// The index of the largest region, where nearly every address lies.
    largest: usize,
    ranges: Box<[PhysRange]>,
    /// Of the process whose memory it is, if it is one's.
    liveness: Option<Arc<Liveness>>,
}

/// How a running machine's RAM is to be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Access {
    /// Mapped where it lies in a file that can be opened, otherwise through the process.
    #[default]
    Auto,
    /// Mapped; an error where that cannot be.
    Mapped,
    /// Through the process, even where it could be mapped.
    VmReadv,
}

/// How a machine's RAM is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessMode {
    /// All of it is mapped into this process: a small read costs nanoseconds.
    Mapped,
    /// All of it is read with `process_vm_readv`: each read costs system calls.
    VmReadv,
    /// Some of each.
    Mixed,
}

/// From this length on a read asks whether the process still runs, rather than waiting to be told.
const ASK_FROM: u64 = 64 << 10;

impl PhysMem {
    /// The RAM that a file holds: a saved raw image, or the memory file of a machine of which nothing else
    /// is known. Each range comes with the position of its first byte in the file.
    ///
    /// Nothing tells whether a machine still uses the file; where it is a running VMM's, use
    /// [`PhysMem::of_process`].
    ///
    /// # Errors
    ///
    /// [`OpenError`] if the file cannot be opened or mapped, is not a regular file or is too short, or if
    /// the ranges make no sense.
    pub fn from_file(
        path: impl AsRef<Path>,
        ranges: &[(PhysRange, FileOffset)],
    ) -> Result<Self, OpenError> {
        let regions = open::file(path.as_ref(), ranges)?;
        let ranges = ranges.iter().map(|(range, _)| *range);
        Ok(Self::new(regions, ranges, None))
    }

    /// The RAM of a machine that the process `pid` runs. Each range comes with the address of its first
    /// byte in that process.
    ///
    /// # Errors
    ///
    /// [`OpenError`] if the process does not exist, may not be looked into, or has nothing at these
    /// addresses, or if the ranges make no sense.
    pub fn of_process(pid: u32, ranges: &[(PhysRange, VirtAddr)]) -> Result<Self, OpenError> {
        Self::of_process_with(pid, ranges, Access::Auto)
    }

    /// As [`PhysMem::of_process`], with a choice of how the RAM is reached.
    ///
    /// # Errors
    ///
    /// Those of [`PhysMem::of_process`], and [`OpenError::CannotMap`] where [`Access::Mapped`] cannot be.
    pub fn of_process_with(
        pid: u32,
        ranges: &[(PhysRange, VirtAddr)],
        access: Access,
    ) -> Result<Self, OpenError> {
        let (regions, liveness) = open::process(pid, ranges, access)?;
        let ranges = ranges.iter().map(|(range, _)| *range);
        Ok(Self::new(regions, ranges, Some(liveness)))
    }

    fn new(
        mut regions: Vec<Region>,
        ranges: impl Iterator<Item = PhysRange>,
        liveness: Option<Arc<Liveness>>,
    ) -> Self {
        // INVARIANT: sorted here; `open` has refused overlaps and left out empty ones.
        regions.sort_by_key(|region| region.range.start());
        let mut ranges: Vec<_> = ranges.filter(|range| !range.is_empty()).collect();
        ranges.sort_by_key(PhysRange::start);
        let by_len = |(_, region): &(usize, &Region)| region.range.len();
        let largest = regions.iter().enumerate().max_by_key(by_len);
        Self {
            largest: largest.map_or(0, |(index, _)| index),
            regions: regions.into(),
            ranges: ranges.into(),
            liveness,
        }
    }

    /// The ranges of RAM, sorted, as they were named.
    #[must_use]
    pub fn ranges(&self) -> &[PhysRange] {
        &self.ranges
    }

    /// How the RAM is reached.
    #[must_use]
    pub fn access_mode(&self) -> AccessMode {
        let mapped = self.regions.iter().filter(|region| region.is_mapped());
        match mapped.count() {
            0 => AccessMode::VmReadv,
            mapped if mapped == self.regions.len() => AccessMode::Mapped,
            _ => AccessMode::Mixed,
        }
    }

    /// Whether the machine's process still runs; a saved image always does. A system call.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        !self.liveness.as_ref().is_some_and(|live| live.ask())
    }

    /// The 8 bytes at `addr` as a little-endian number. Of mapped RAM this costs little more than a load.
    ///
    /// # Errors
    ///
    /// Those of [`PhysMem::read`].
    #[inline]
    pub fn read_u64(&self, addr: PhysAddr) -> Result<u64, ReadError> {
        #[cfg(feature = "trace-reads")]
        crate::trace::note(addr, 8);
        if let Some((region, at)) = self.find(addr)
            && let Some(value) = region.load_u64(at)
            && !self.has_ended()
        {
            return Ok(value);
        }
        self.read_u64_slowly(addr)
    }

    #[cold]
    fn read_u64_slowly(&self, addr: PhysAddr) -> Result<u64, ReadError> {
        let mut bytes = [0; 8];
        self.read(addr, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// The largest range of RAM, if it is mapped, for many small reads in a row.
    #[inline]
    #[must_use]
    pub fn loads(&self) -> Option<Loads<'_>> {
        let region = self.regions.get(self.largest)?;
        region.loads(self.liveness.as_deref())
    }

    /// Fills `bytes` from `addr` on, all of it or none that counts: on an error its content is undefined.
    /// Pages that were never populated give zeros.
    ///
    /// # Errors
    ///
    /// [`ReadError::NotRam`] if any of the bytes is not RAM; [`ReadError::Failed`] if the memory can no
    /// longer be read.
    #[inline]
    pub fn read(&self, addr: PhysAddr, bytes: &mut [u8]) -> Result<(), ReadError> {
        #[cfg(feature = "trace-reads")]
        crate::trace::note(addr, bytes.len());
        if let Some((region, at)) = self.find(addr)
            && region.read_in_page(at, bytes)
            && !self.has_ended()
        {
            return Ok(());
        }
        self.read_slowly(addr, bytes)
    }

    fn read_slowly(&self, addr: PhysAddr, bytes: &mut [u8]) -> Result<(), ReadError> {
        let len = ByteLen::from_usize(bytes.len());
        self.check_ram(addr, len)?;
        let mut segment = UserBuf::new(bytes);
        let progress = self.copy_run_to_iter_nofault(addr, len, &mut IovIter::ubuf(&mut segment));
        let failure = match progress.stopped {
            None => return Ok(()),
            Some(Stop::Failed(failure)) => failure,
            // An ordinary slice refuses no byte.
            Some(Stop::DestFault) => SourceFailure::Os(libc::EFAULT),
        };
        let addr = addr.wrapping_add(progress.advanced()); // WRAP: checked above to be RAM.
        Err(ReadError::Failed { addr, failure })
    }

    /// The first stretch at or after `from` that may hold something, or `None` if there is none: what is
    /// left out was never populated or is not RAM. A stretch never leaves a range of RAM; the next may
    /// follow on it.
    ///
    /// # Errors
    ///
    /// [`ReadError::Failed`] if the memory can no longer be read.
    pub fn next_populated(&self, from: PhysAddr) -> Result<Option<PhysRange>, ReadError> {
        let first = self
            .regions
            .partition_point(|region| region.range.end() <= from);
        for region in self.regions.iter().skip(first) {
            let mut addr = region.range.start().max(from);
            // Every turn moves by at least a page of the region.
            while region.range.contains(addr) {
                let failed = |failure| ReadError::Failed { addr, failure };
                if self.has_ended() {
                    return Err(failed(SourceFailure::Gone));
                }
                let limit = region.range.len_from(addr).to_usize_clamped();
                let at = region
                    .range
                    .len()
                    .saturating_sub(region.range.len_from(addr));
                match region.run(at.to_usize_clamped(), limit).map_err(failed)? {
                    Run::Content(len) | Run::Untold(len) => {
                        return Ok(PhysRange::from_len(addr, ByteLen::from_usize(len)));
                    }
                    Run::Hole(len) => match addr.checked_add(ByteLen::from_usize(len)) {
                        Some(next) => addr = next,
                        None => return Ok(None),
                    },
                }
            }
        }
        Ok(None)
    }

    #[inline]
    fn has_ended(&self) -> bool {
        self.liveness.as_ref().is_some_and(|live| live.has_ended())
    }

    /// The region that holds `addr`, and the position in it.
    #[inline]
    fn find(&self, addr: PhysAddr) -> Option<(&Region, usize)> {
        let region = self.regions.get(self.index_of(addr))?;
        let at = addr.checked_offset_from(region.range.start())?;
        Some((region, at.to_usize_clamped()))
    }

    /// The first region that ends after `addr`.
    #[inline]
    fn index_of(&self, addr: PhysAddr) -> usize {
        if let Some(region) = self.regions.get(self.largest)
            && region.range.contains(addr)
        {
            return self.largest;
        }
        self.regions
            .partition_point(|region| region.range.end() <= addr)
    }

    fn check_ram(&self, addr: PhysAddr, len: ByteLen) -> Result<(), ReadError> {
        let mut cursor = addr;
        let mut left = len;
        while !left.is_zero() {
            let not_ram = ReadError::NotRam { addr: cursor };
            let (region, _) = self.find(cursor).ok_or(not_ram)?;
            left = left.saturating_sub(region.range.len_from(cursor));
            cursor = region.range.end();
        }
        Ok(())
    }
}

impl<'b> PageSource<UserBuf<'b>> for PhysMem {
    fn copy_run_to_iter_nofault(
        &self,
        start: PhysAddr,
        len: ByteLen,
        iter: &mut IovIter<'_, UserBuf<'b>>,
    ) -> Progress {
        let want = len.min(ByteLen::from_usize(iter.count()));
        let mut total = Progress::default();
        if let Some(liveness) = &self.liveness {
            let ended = if want.get() < ASK_FROM {
                liveness.has_ended()
            } else {
                liveness.ask()
            };
            if ended {
                return Progress::failed(SourceFailure::Gone);
            }
        }
        // Every turn delivers at least a byte, or stops.
        while total.stopped.is_none() && total.advanced() < want {
            let left = want.saturating_sub(total.advanced());
            // WRAP: what lies beyond the top of the address space is zeros like any other gap.
            let cursor = start.wrapping_add(total.advanced());
            let step = match self.regions.get(self.index_of(cursor)) {
                Some(region) if region.range.contains(cursor) => {
                    let inside = region.range.len_from(cursor);
                    let at = region.range.len().saturating_sub(inside).to_usize_clamped();
                    let len = inside.min(left).to_usize_clamped();
                    region.copy_to_iter(at, len, iter)
                }
                next => {
                    let gap = next
                        .and_then(|next| next.range.start().checked_offset_from(cursor))
                        .unwrap_or(cursor.bytes_to_top());
                    zeros::put(gap.min(left).to_usize_clamped(), iter)
                }
            };
            total = total.then(step);
        }
        total
    }
}
