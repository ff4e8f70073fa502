//! The image of a kernel as its page table maps it, looked through piece by piece: tables and structures
//! that no symbol leads to have a shape, or a place beside something that is known.

use vread_addr::{ByteLen, VirtAddr, VirtRange};
use vread_vmalloc::PageRun;

use crate::LinuxError;
use crate::fields::{u16_at, u32_at};
use crate::virt_mem::{VirtMem, read_phys};

/// The most bytes of an image that are searched: twice what the largest known one has.
pub(crate) const MAX_IMAGE_LEN: ByteLen = ByteLen::new(128 << 20);
/// Holes in an image are small (the parts that are freed after boot); a larger one is its end.
const MAX_HOLE: ByteLen = ByteLen::new(16 << 20);
/// How much of it is copied at a time.
const WINDOW_LEN: usize = 1 << 20;

/// A range of addresses from the image's start to the end of what is mapped there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Image<'m> {
    virt: VirtMem<'m>,
    range: VirtRange,
}

/// A copy of a part of an image. Positions count from the start of the image, not of the part.
pub(crate) struct Part {
    start: usize,
    bytes: Vec<u8>,
}

impl<'m> Image<'m> {
    /// What is mapped from `start` on, up to `max_len` bytes.
    pub(crate) fn new(
        virt: VirtMem<'m>,
        start: VirtAddr,
        max_len: ByteLen,
    ) -> Result<Self, LinuxError> {
        let max_len = max_len.min(start.bytes_to_top());
        let (mut len, mut seen) = (ByteLen::ZERO, ByteLen::ZERO);
        while seen < max_len {
            // WRAP: `max_len` ends at the top of the address space at the latest.
            let at = start.wrapping_add(seen);
            let left = max_len.saturating_sub(seen);
            match virt.table.translate_run(virt.mem, at, left)? {
                PageRun::Mapped { len: run, .. } => {
                    seen = seen.saturating_add(run);
                    len = seen;
                }
                PageRun::Hole { len: hole } => seen = seen.saturating_add(hole),
            }
            if seen.saturating_sub(len) > MAX_HOLE {
                break;
            }
        }
        let len = len.min(max_len);
        let range = VirtRange::from_len(start, len).ok_or(LinuxError::NotMapped { addr: start })?;
        Ok(Self { virt, range })
    }

    /// Where it lies: from the start that was given to the last byte that is mapped.
    pub(crate) fn range(&self) -> VirtRange {
        self.range
    }

    /// The address of a position.
    pub(crate) fn addr(&self, position: usize) -> Option<VirtAddr> {
        self.range
            .start()
            .checked_add(ByteLen::from_usize(position))
    }

    /// Hands the image to `look`, part after part, until it has found what it looks for. A part shares its
    /// last `overlap` bytes with the next one, so that nothing that is one byte longer is cut; it begins at
    /// a multiple of 8.
    pub(crate) fn find<T>(
        &self,
        overlap: usize,
        mut look: impl FnMut(&Part) -> Result<Option<T>, LinuxError>,
    ) -> Result<Option<T>, LinuxError> {
        let len = self.range.len().to_usize_clamped();
        let mut part = Part {
            start: 0,
            bytes: Vec::new(),
        };
        for start in (0..len).step_by(WINDOW_LEN) {
            let end = start.saturating_add(WINDOW_LEN).saturating_add(overlap);
            part.start = start;
            part.bytes.clear();
            part.bytes.resize(end.min(len).saturating_sub(start), 0);
            self.fill(&mut part)?;
            if let Some(found) = look(&part)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// A copy of the bytes from position `start` to `end`, as far as the image reaches. Its length is
    /// bounded by the caller.
    pub(crate) fn part(&self, start: usize, end: usize) -> Result<Part, LinuxError> {
        let end = end.min(self.range.len().to_usize_clamped());
        let mut part = Part {
            start,
            bytes: vec![0; end.saturating_sub(start)],
        };
        self.fill(&mut part)?;
        Ok(part)
    }

    /// Copies what is mapped; the rest of `part`, which is zeros, stays that.
    fn fill(&self, part: &mut Part) -> Result<(), LinuxError> {
        let mut position = part.start;
        let mut rest = part.bytes.as_mut_slice();
        while !rest.is_empty()
            && let Some(at) = self.addr(position)
        {
            let left = ByteLen::from_usize(rest.len());
            let run = self.virt.table.translate_run(self.virt.mem, at, left)?;
            let (phys, len) = match run {
                PageRun::Mapped { phys, len } => (Some(phys), len),
                PageRun::Hole { len } => (None, len),
            };
            let (here, behind) = rest.split_at_mut(len.to_usize_clamped().min(rest.len()));
            if let Some(phys) = phys
                && let Err(LinuxError::Source(failure)) = read_phys(self.virt.mem, phys, here)
            {
                return Err(failure.into());
            }
            position = position.saturating_add(here.len());
            rest = behind;
        }
        Ok(())
    }
}

impl Part {
    /// All bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The position of the byte at `index` of [`bytes`](Self::bytes).
    pub(crate) fn position(&self, index: usize) -> usize {
        self.start.saturating_add(index)
    }

    /// The bytes from position `start` to `end`, if all of them are here.
    pub(crate) fn get(&self, start: usize, end: usize) -> Option<&[u8]> {
        let start = start.checked_sub(self.start)?;
        self.bytes.get(start..end.checked_sub(self.start)?)
    }

    /// The byte at a position.
    pub(crate) fn u8_at(&self, position: usize) -> Option<u8> {
        self.bytes.get(position.checked_sub(self.start)?).copied()
    }

    /// The number at a position.
    pub(crate) fn u16_at(&self, position: usize) -> Option<u16> {
        u16_at(&self.bytes, position.checked_sub(self.start)?)
    }

    /// The number at a position.
    pub(crate) fn u32_at(&self, position: usize) -> Option<u32> {
        u32_at(&self.bytes, position.checked_sub(self.start)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forged::{ForgedRam, virt};

    const START: u64 = 0xffff_ffff_8100_0000;

    /// Pages at 1 and 3, and one far behind them.
    fn image(ram: &mut ForgedRam) {
        ram.map(START, 0x1_0000);
        ram.map(START + 0x2000, 0x1_1000);
        ram.map(START + 0x200_0000, 0x1_2000);
        ram.put(0x1_0ff8, b"before--");
        ram.put(0x1_1000, b"behind--");
    }

    #[test]
    fn ends_with_the_last_page_before_a_large_hole() {
        let mut ram = ForgedRam::new(64);
        image(&mut ram);
        let mem = ram.open();
        let image = Image::new(virt(&mem), VirtAddr::new(START), MAX_IMAGE_LEN).unwrap();
        assert_eq!(image.range().len(), ByteLen::new(0x3000));
        let short = Image::new(virt(&mem), VirtAddr::new(START), ByteLen::new(0x1800)).unwrap();
        assert_eq!(short.range().len(), ByteLen::new(0x1000));
    }

    #[test]
    fn shows_small_holes_as_zeros() {
        let mut ram = ForgedRam::new(64);
        image(&mut ram);
        let mem = ram.open();
        let image = Image::new(virt(&mem), VirtAddr::new(START), MAX_IMAGE_LEN).unwrap();
        let part = image.part(0xff8, 0x2008).unwrap();
        assert_eq!(part.get(0xff8, 0x1000), Some(b"before--".as_slice()));
        assert_eq!(part.u32_at(0x1000), Some(0));
        assert_eq!(part.u8_at(0x2000), Some(b'b'));
        assert_eq!(part.u8_at(0x2008), None);
        assert_eq!(part.u16_at(0), None, "it begins before the part");
    }

    #[test]
    fn cuts_nothing_that_is_as_long_as_the_overlap_and_one_byte() {
        let mut ram = ForgedRam::new(1024);
        for page in 0..512 {
            ram.map(START + page * 4096, 0x10_0000 + page * 4096);
        }
        // Across the border of two windows.
        ram.put(0x20_0000 - 3, b"needle");
        let mem = ram.open();
        let image = Image::new(virt(&mem), VirtAddr::new(START), MAX_IMAGE_LEN).unwrap();
        let mut hits = Vec::new();
        let found = image.find(5, |part| {
            let here = memchr::memmem::find_iter(part.bytes(), b"needle");
            hits.extend(here.map(|index| part.position(index)));
            Ok(None::<()>)
        });
        assert_eq!((found, hits), (Ok(None), vec![0x10_0000 - 3]));
    }
}
