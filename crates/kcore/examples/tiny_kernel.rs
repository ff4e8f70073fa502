//! A kernel of one's own gets a `kcore`: all that has to be supplied, without std.
//!
//! Three things are the kernel's: its user copy ([`Destination`]), its page tables and areas
//! ([`VmapSpace`]), and its memory ([`PageSource`], [`KernelMemory`]). The rest is
//! [`read_kcore_iter`]'s.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use spin::lock_api::{MappedRwLockReadGuard, RwLock, RwLockReadGuard};
use vread_addr::{ByteLen, FileOffset, PAGE_SIZE, Pfn, PhysAddr, VirtAddr};
use vread_iov_iter::{Destination, IovIter, PageSource, Progress, SourceFailure};
use vread_kcore::{
    ElfMachine, KcoreError, KcoreImage, KcoreSegment, KernelMemory, OffsetRule, ReadOptions,
    SegmentKind, read_kcore_iter,
};
use vread_vmalloc::{PageRun, VmapArea, VmapSpace, vread_iter};

/// A range of a process's memory: the pages that are there can be written, the others fault.
#[derive(Debug)]
pub struct UserRange<'u> {
    /// The bytes, page aligned in the process.
    pub bytes: &'u mut [u8],
    /// Which of its pages are there.
    pub present: &'u mut [bool],
}

impl UserRange<'_> {
    /// The part of `[at, at + len)` before the first page that is not there.
    fn reachable(&mut self, at: usize, len: usize) -> &mut [u8] {
        let page = PAGE_SIZE.to_usize_clamped();
        let there = self.present.iter().take_while(|present| **present).count();
        let end = at.saturating_add(len).min(there.saturating_mul(page));
        self.bytes.get_mut(at..end).unwrap_or_default()
    }
}

impl Destination for UserRange<'_> {
    fn len(&self) -> usize {
        self.bytes.len()
    }

    fn copy_nofault(&mut self, at: usize, src: &[u8]) -> usize {
        let target = self.reachable(at, src.len());
        target
            .iter_mut()
            .zip(src)
            .for_each(|(to, from)| *to = *from);
        target.len()
    }

    fn zero_nofault(&mut self, at: usize, len: usize) -> usize {
        let target = self.reachable(at, len);
        target.fill(0);
        target.len()
    }

    fn fault_in_writeable(&mut self, at: usize, len: usize) -> usize {
        // A real kernel asks the process's memory map here, page by page.
        self.present.fill(true);
        len.saturating_sub(self.bytes.len().saturating_sub(at))
    }
}

/// A kernel with one page table and a list of areas.
#[derive(Debug, Default)]
pub struct TinyKernel {
    /// RAM from physical address 0 on.
    pub ram: Vec<u8>,
    /// Which frame is behind which page.
    pub page_table: RwLock<BTreeMap<VirtAddr, Pfn>>,
    /// The busy areas, lowest first. Whoever holds a guard keeps them from being freed.
    pub areas: RwLock<Vec<VmapArea>>,
}

impl VmapSpace for TinyKernel {
    // The area, and the lock that keeps it.
    type Locked<'k> = MappedRwLockReadGuard<'k, VmapArea>;

    fn find_vmap_area_exceed_addr_lock(
        &self,
        addr: VirtAddr,
        _within: ByteLen,
    ) -> Result<Option<Self::Locked<'_>>, SourceFailure> {
        Ok(RwLockReadGuard::try_map(self.areas.read(), |areas| {
            areas.iter().find(|area| area.range.end() > addr)
        })
        .ok())
    }

    fn vmalloc_to_run(&self, addr: VirtAddr, max: ByteLen) -> Result<PageRun, SourceFailure> {
        let len = PAGE_SIZE.saturating_sub(addr.page_offset()).min(max);
        let frame = self.page_table.read().get(&addr.page_start()).copied();
        let start = frame.and_then(Pfn::checked_start);
        Ok(
            match start.and_then(|start| start.checked_add(addr.page_offset())) {
                Some(phys) => PageRun::Mapped { phys, len },
                None => PageRun::Hole { len },
            },
        )
    }
}

/// Zeros in place of memory that is not there.
fn zeros<D: Destination>(iter: &mut IovIter<'_, D>, len: ByteLen) -> Progress {
    let zeroed = iter.zero_nofault(len.to_usize_clamped());
    Progress::zeroed(ByteLen::from_usize(zeroed)).or_dest_fault(len)
}

impl<D: Destination> PageSource<D> for TinyKernel {
    fn copy_run_to_iter_nofault(
        &self,
        start: PhysAddr,
        len: ByteLen,
        iter: &mut IovIter<'_, D>,
    ) -> Progress {
        let start = usize::try_from(start.get()).unwrap_or(usize::MAX);
        let end = start.saturating_add(len.to_usize_clamped());
        let progress = match self.ram.get(start..end) {
            Some(bytes) => Progress::copied(ByteLen::from_usize(iter.copy_to_iter_nofault(bytes))),
            None => return zeros(iter, len),
        };
        progress.or_dest_fault(len)
    }
}

impl<D: Destination> KernelMemory<D> for TinyKernel {
    fn vread_iter(&self, iter: &mut IovIter<'_, D>, addr: VirtAddr, len: ByteLen) -> Progress {
        vread_iter(self, iter, addr, len)
    }

    fn copy_segment_to_iter_nofault(
        &self,
        segment: &KcoreSegment,
        iter: &mut IovIter<'_, D>,
        addr: VirtAddr,
        len: ByteLen,
    ) -> Progress {
        let offset = addr.checked_offset_from(segment.start).unwrap_or_default();
        match segment.phys.and_then(|phys| phys.checked_add(offset)) {
            Some(phys) => self.copy_run_to_iter_nofault(phys, len, iter),
            None => zeros(iter, len),
        }
    }
}

impl TinyKernel {
    /// The file's header and its layout: the direct map of RAM, and vmalloc space.
    ///
    /// # Errors
    ///
    /// [`KcoreError`], were there too many segments.
    pub fn kcore(&self) -> Result<KcoreImage, KcoreError> {
        const VMALLOC_LEN: ByteLen = ByteLen::new(1 << 45);
        let ram = ByteLen::from_usize(self.ram.len());
        let from_zero = Some(PhysAddr::new(0));
        let segments = [
            (
                SegmentKind::Vmalloc,
                0xffff_c900_0000_0000,
                VMALLOC_LEN,
                None,
            ),
            (SegmentKind::Ram, 0xffff_8880_0000_0000, ram, from_zero),
        ];
        let segments = segments.map(|(kind, start, len, phys)| KcoreSegment {
            kind,
            start: VirtAddr::new(start),
            len,
            phys,
        });
        let rule = OffsetRule::X86_64_4_LEVEL;
        KcoreImage::kcore(ElfMachine::X86_64, rule, &segments, &[])
    }

    /// What `read(2)` on the file does. The count is short only if a page of `buffer` cannot be had.
    ///
    /// # Errors
    ///
    /// [`KcoreError`] for a position that no file has.
    pub fn read(
        &self,
        image: &KcoreImage,
        buffer: &mut [UserRange<'_>],
        at: FileOffset,
    ) -> Result<Progress, KcoreError> {
        let mut iter = IovIter::iovec(buffer);
        read_kcore_iter(image, self, &mut iter, at, ReadOptions::default())
    }
}

#[cfg(test)]
mod tests {
    use vread_addr::{PageCount, VirtRange};
    use vread_vmalloc::{VmFlags, VmStruct, VmapAreaFlags};

    use super::*;

    #[test]
    fn reads_its_areas_into_a_process_that_has_to_fault() {
        let start = VirtAddr::new(0xffff_c900_0000_2000);
        let kernel = TinyKernel {
            ram: (0..4_u8).flat_map(|page| [page + 1; 4096]).collect(),
            ..TinyKernel::default()
        };
        for (page, frame) in [(0, 3), (1, 1)] {
            let at = start.checked_add(ByteLen::new(page * 4096)).unwrap();
            kernel.page_table.write().insert(at, Pfn::new(frame));
        }
        kernel.areas.write().push(VmapArea {
            range: VirtRange::from_len(start, ByteLen::new(3 * 4096)).unwrap(),
            flags: VmapAreaFlags::empty(),
            vm: Some(VmStruct {
                size: ByteLen::new(3 * 4096),
                flags: VmFlags::ALLOC,
                nr_pages: PageCount::new(2),
                phys_addr: PhysAddr::default(),
                caller: VirtAddr::default(),
            }),
        });
        let image = kernel.kcore().unwrap();
        let at = image.offset_of(start).unwrap();
        let (mut bytes, mut present) = ([0xa5; 3 * 4096], [true, false, false]);
        let mut buffer = [UserRange {
            bytes: &mut bytes,
            present: &mut present,
        }];
        let progress = kernel.read(&image, &mut buffer, at).unwrap();
        assert_eq!((progress.copied.get(), progress.zeroed.get()), (8192, 4096));
        assert_eq!(progress.stopped, None);
        let pages: Vec<u8> = bytes.chunks(4096).map(|page| page[0]).collect();
        assert_eq!(pages, [4, 2, 0]);
    }
}
