use vread_addr::{ByteLen, PAGE_SIZE, VirtAddr};
use vread_iov_iter::{Destination, IovIter, PageSource, Progress, SourceFailure};

use crate::{AreaContent, PageRun, VmapArea, VmapSpace};

/// Copies `count` bytes of vmalloc space from `addr` into `iter`, with zeros for all that is not there
/// (spec C).
///
/// Holes never make the result short: it is short only where `iter` refused a byte, or where
/// `addr + count` would wrap, which ends the read at the top of the address space (R2, R18). The
/// destination is never faulted in; that is for the caller to do, with no area held, before it asks
/// for the rest.
///
/// Two differences to Linux 7.2, both on purpose. A page of a block area is read for what it is; the
/// kernel reads the first page of its run instead (R24 to R26). And a copy is as long as the pages lie
/// one after another, where the kernel's is a page.
pub fn vread_iter<D, S>(
    space: &S,
    iter: &mut IovIter<'_, D>,
    addr: VirtAddr,
    count: ByteLen,
) -> Progress
where
    D: Destination,
    S: VmapSpace + PageSource<D>,
{
    let mut read = Reading {
        iter,
        addr,
        left: count.min(addr.bytes_to_top()),
        total: Progress::default(),
    };
    let mut search = addr;
    while !read.is_over() {
        let Some(within) = read.len_behind(search) else {
            read.zeros(read.left);
            break;
        };
        let area = match space.find_vmap_area_exceed_addr_lock(search, within) {
            // No progress is no answer: the search must end, whatever the areas say of themselves.
            Ok(Some(area)) if area.range.end() <= search => {
                read.step(Progress::failed(SourceFailure::Torn));
                break;
            }
            Ok(Some(area)) => area,
            Ok(None) => {
                read.zeros(read.left);
                break;
            }
            Err(failure) => {
                read.step(Progress::failed(failure));
                break;
            }
        };
        let before = area
            .range
            .start()
            .checked_offset_from(read.addr)
            .unwrap_or_default();
        if before >= read.left {
            drop(area);
            read.zeros(read.left);
            break;
        }
        // R17: go on behind this area, not at the cursor, so that the search always moves up.
        search = area.range.end();
        read.area(space, &area, before);
    }
    read.total
}

/// A read under way: `total` is done, the next byte is that at `addr`, and `left` are to come.
struct Reading<'r, 'i, D> {
    iter: &'r mut IovIter<'i, D>,
    addr: VirtAddr,
    left: ByteLen,
    total: Progress,
}

impl<D: Destination> Reading<'_, '_, D> {
    fn is_over(&self) -> bool {
        self.left.is_zero() || self.total.stopped.is_some()
    }

    /// How many of the bytes to come lie at or behind `addr`, which is not below the cursor; `None` if
    /// none does. (Linux searches on behind the end of the read, R19.)
    fn len_behind(&self, addr: VirtAddr) -> Option<ByteLen> {
        let gone = addr.checked_offset_from(self.addr).unwrap_or_default();
        self.left.checked_sub(gone).filter(|len| !len.is_zero())
    }

    fn step(&mut self, step: Progress) {
        // WRAP: the address behind a read that reaches the top is 2^64, that is 0.
        self.addr = self.addr.wrapping_add(step.advanced());
        self.left = self.left.saturating_sub(step.advanced());
        self.total = self.total.then(step);
    }

    fn zeros(&mut self, len: ByteLen) {
        let step = zeros(self.iter, len);
        self.step(step);
    }

    /// One area's turn, with the area held: `before` zeros, then what it has (R7 to R16). Nothing of
    /// the guard page behind it: those zeros are part of the next gap.
    fn area<S>(&mut self, space: &S, area: &VmapArea, before: ByteLen)
    where
        S: VmapSpace + PageSource<D>,
    {
        let (len, untouchable) = match area.content() {
            AreaContent::Skip => return,
            AreaContent::Zeros { len } => (len, true),
            AreaContent::Pages { len } => (len, false),
        };
        let start = area.range.start();
        let Some(content_end) = start.checked_add(len).filter(|end| *end > self.addr) else {
            return;
        };
        if !before.is_zero() {
            self.zeros(before);
        }
        while !self.is_over() && self.addr < content_end {
            let rest = content_end.wrapping_offset_from(self.addr).min(self.left);
            if untouchable {
                self.zeros(rest);
                continue;
            }
            let runs = self.runs(space, rest);
            self.step(runs);
            // The read must end, whatever the space says.
            if runs == Progress::default() {
                let page = PAGE_SIZE.saturating_sub(self.addr.page_offset());
                self.zeros(page.min(rest));
            }
        }
    }

    /// What is mapped behind the cursor, `rest` bytes at most. The cursor stays.
    #[inline]
    fn runs<S>(&mut self, space: &S, rest: ByteLen) -> Progress
    where
        S: VmapSpace + PageSource<D>,
    {
        // As little as can be beside the copy of a page: every step shows.
        let mut left = rest;
        for run in space.vmalloc_to_runs(self.addr, rest) {
            let so_far = Progress::copied(rest.saturating_sub(left));
            let run = match run {
                Ok(run) => run,
                Err(failure) => return so_far.then(Progress::failed(failure)),
            };
            let (len, behind) = match left.checked_sub(run.len()) {
                Some(behind) => (run.len(), behind),
                None => (left, ByteLen::ZERO),
            };
            let step = match run {
                PageRun::Mapped { phys, .. } => {
                    space.copy_run_to_iter_nofault(phys, len, self.iter)
                }
                PageRun::Hole { .. } => zeros(self.iter, len),
            };
            if step.copied < len || len.is_zero() {
                return so_far.then(step.or_dest_fault(len));
            }
            left = behind;
            if left.is_zero() {
                break;
            }
        }
        Progress::copied(rest.saturating_sub(left))
    }
}

fn zeros<D: Destination>(iter: &mut IovIter<'_, D>, len: ByteLen) -> Progress {
    let done = iter.zero_nofault(len.to_usize_clamped());
    Progress::zeroed(ByteLen::from_usize(done)).or_dest_fault(len)
}
