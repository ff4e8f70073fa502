use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use vread_addr::{ByteLen, PAGE_SIZE, PhysAddr, PhysRange};
use vread_physmem::{AccessMode, PhysMem, ReadError};

use super::parse::MAX_TEXT;
use crate::fields::{u32_at, u64_at, until_nul};
use crate::virt_mem::from_read_error;
use crate::{LinuxError, VmCoreInfo};

/// How many candidates are kept: a hostile guest can have one in every page (G73).
pub(crate) const MAX_CANDIDATES: usize = 64;
/// The bytes of the note before its text (N3).
const NOTE_HEADER_LEN: u64 = 24;
/// What stands at the start of the text page, as a word.
const TEXT_START: u64 = u64::from_le_bytes(*b"OSRELEAS");
/// The length of the note's name with its NUL.
const NOTE_NAME_LEN: u32 = 11;

/// How often a scan tells how far it is.
const TELL_EVERY: ByteLen = ByteLen::new(64 << 20);

/// Who wants to know how far a scan of RAM is, which takes a while on a large machine.
pub trait ScanProgress: Sync {
    /// `done` bytes of `total` were looked at, or passed over because nothing is there. Called from
    /// several threads.
    fn scanned(&self, done: ByteLen, total: ByteLen);
}

/// How far a scan is.
pub(crate) struct Meter<'p> {
    progress: Option<&'p dyn ScanProgress>,
    done: AtomicU64,
    total: ByteLen,
}

impl<'p> Meter<'p> {
    pub(crate) fn new(progress: Option<&'p dyn ScanProgress>, ranges: &[PhysRange]) -> Self {
        let total = ranges
            .iter()
            .fold(ByteLen::ZERO, |sum, range| sum.saturating_add(range.len()));
        Self {
            progress,
            done: AtomicU64::new(0),
            total,
        }
    }

    fn add(&self, step: ByteLen) {
        let before = self.done.fetch_add(step.get(), Ordering::Relaxed);
        if let Some(progress) = self.progress {
            let done = ByteLen::new(before).saturating_add(step);
            progress.scanned(done.min(self.total), self.total);
        }
    }
}

/// A text that reads like VMCOREINFO, not yet believed.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) info: VmCoreInfo,
    /// The page it was found in.
    pub(crate) page: PhysAddr,
}

/// A search of a range of RAM for pages that begin with the note or the text itself (N8), lowest
/// first.
pub(crate) struct Scan<'m> {
    mem: &'m PhysMem,
    meter: &'m Meter<'m>,
    /// Up to where the meter was told.
    told: PhysAddr,
    /// The next page to look at.
    at: PhysAddr,
    end: PhysAddr,
    /// Where the stretch that `at` lies in ends; beyond it pages may never have been populated.
    populated_end: PhysAddr,
    /// Where a single read costs a system call: the bytes from `block_start` on, to share it.
    block: Option<Block>,
}

struct Block {
    start: PhysAddr,
    bytes: Vec<u8>,
}

impl<'m> Scan<'m> {
    pub(crate) fn new(mem: &'m PhysMem, range: PhysRange, meter: &'m Meter<'m>) -> Self {
        let start = range.start().checked_page_align_up().unwrap_or(range.end());
        let cheap = mem.access_mode() == AccessMode::Mapped;
        Self {
            mem,
            meter,
            told: range.start(),
            at: start,
            end: range.end(),
            populated_end: start,
            block: (!cheap).then(|| Block {
                start,
                bytes: Vec::new(),
            }),
        }
    }

    /// The next candidate, or `None` at the end of the range.
    pub(crate) fn next(&mut self) -> Result<Option<Candidate>, LinuxError> {
        while self.at < self.end {
            if self.at >= self.populated_end {
                self.tell(self.at);
                let Some(stretch) = self.mem.next_populated(self.at).map_err(from_read_error)?
                else {
                    break;
                };
                let start = stretch.start().checked_page_align_up().unwrap_or(self.end);
                self.at = self.at.max(start);
                self.populated_end = stretch.end();
                continue;
            }
            if self.at.get() & TELL_EVERY.low_mask() == 0 {
                self.tell(self.at);
            }
            let page = self.at;
            self.at = page.checked_add(PAGE_SIZE).unwrap_or(self.end);
            // One word decides for nearly every page.
            if may_start(self.word(page)?)
                && let Some(candidate) = candidate_at(self.mem, page)
            {
                return Ok(Some(candidate));
            }
        }
        self.tell(self.end);
        Ok(None)
    }

    fn tell(&mut self, at: PhysAddr) {
        let at = at.min(self.end);
        if let Some(step) = at.checked_offset_from(self.told) {
            self.meter.add(step);
            self.told = at;
        }
    }

    /// The first word of `page`; 0 where it is not RAM.
    fn word(&mut self, page: PhysAddr) -> Result<u64, LinuxError> {
        let found = match &mut self.block {
            None => self.mem.read_u64(page),
            Some(block) => block.word(self.mem, page, self.populated_end.min(self.end)),
        };
        match found {
            Err(ReadError::Failed { failure, .. }) => Err(failure.into()),
            found => Ok(found.unwrap_or_default()),
        }
    }
}

impl Block {
    const LEN: ByteLen = ByteLen::new(256 << 10);

    fn word(&mut self, mem: &PhysMem, page: PhysAddr, end: PhysAddr) -> Result<u64, ReadError> {
        let of = |block: &Self| {
            let into = page.checked_offset_from(block.start)?.to_usize()?;
            u64_at(&block.bytes, into)
        };
        if let Some(word) = of(self) {
            return Ok(word);
        }
        let len = end
            .checked_offset_from(page)
            .unwrap_or(PAGE_SIZE)
            .min(Self::LEN);
        self.start = page;
        self.bytes.resize(len.to_usize_clamped(), 0);
        if let Err(error) = mem.read(page, &mut self.bytes) {
            self.bytes.clear();
            return Err(error);
        }
        Ok(of(self).unwrap_or_default())
    }
}

/// All candidates of `ranges` in order of address, sought by several threads.
pub(crate) fn scan_in_parallel(
    mem: &PhysMem,
    ranges: &[PhysRange],
    meter: &Meter<'_>,
) -> Result<Vec<Candidate>, LinuxError> {
    let workers = thread::available_parallelism()
        .map_or(1, |n| n.get())
        .min(16);
    let share = |worker: usize| {
        move || {
            let mut found = Vec::new();
            let parts = ranges
                .iter()
                .filter_map(|range| nth_part(*range, worker, workers));
            for part in parts {
                let mut scan = Scan::new(mem, part, meter);
                while let Some(candidate) = scan.next()? {
                    found.push(candidate);
                    if found.len() >= MAX_CANDIDATES {
                        return Ok(found);
                    }
                }
            }
            Ok(found)
        }
    };
    let shares: Vec<Result<Vec<Candidate>, LinuxError>> = thread::scope(|scope| {
        let running: Vec<_> = (0..workers)
            .map(|worker| scope.spawn(share(worker)))
            .collect();
        let panicked = || {
            Err(LinuxError::Needs {
                what: "a thread that scans memory",
            })
        };
        running
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| panicked()))
            .collect()
    });
    let mut found = Vec::new();
    for share in shares {
        found.extend(share?);
    }
    found.sort_by_key(|candidate| candidate.page);
    found.truncate(MAX_CANDIDATES);
    Ok(found)
}

/// Part `index` of `parts` nearly equal ones, in whole pages.
fn nth_part(range: PhysRange, index: usize, parts: usize) -> Option<PhysRange> {
    let parts = u64::try_from(parts).ok()?;
    let index = u64::try_from(index).ok()?;
    let each = range
        .len()
        .get()
        .div_ceil(parts)
        .next_multiple_of(PAGE_SIZE.get());
    let start = range
        .start()
        .checked_add(ByteLen::new(each.checked_mul(index)?))?;
    PhysRange::from_len(start, ByteLen::new(each))?.intersection(&range)
}

pub(super) fn may_start(word: u64) -> bool {
    // The note's name length and the length of its text, 1 to a page.
    let [name_len, text_len] = [word & 0xffff_ffff, word >> 32];
    let note = name_len == u64::from(NOTE_NAME_LEN) && (1..=MAX_TEXT.get()).contains(&text_len);
    note || word == TEXT_START
}

pub(super) fn candidate_at(mem: &PhysMem, page: PhysAddr) -> Option<Candidate> {
    // The note is longer than a page by its header (N3).
    let mut bytes = vec![
        0;
        NOTE_HEADER_LEN
            .saturating_add(MAX_TEXT.get())
            .try_into()
            .ok()?
    ];
    if mem.read(page, &mut bytes).is_err() {
        bytes.truncate(PAGE_SIZE.to_usize()?);
        mem.read(page, &mut bytes).ok()?;
    }
    let text = match bytes.starts_with(b"OSRELEASE=") {
        true => until_nul(bytes.get(..MAX_TEXT.to_usize()?)?),
        false => text_of_note(&bytes)?,
    };
    let info = VmCoreInfo::parse(text).ok()?;
    Some(Candidate { info, page })
}

pub(crate) fn text_of_note(bytes: &[u8]) -> Option<&[u8]> {
    let name = bytes.get(12..24)?;
    let well_formed =
        u32_at(bytes, 0)? == NOTE_NAME_LEN && u32_at(bytes, 8)? == 0 && name == b"VMCOREINFO\0\0";
    let len = usize::try_from(u32_at(bytes, 4)?).ok()?;
    let text = bytes.get(24..24_usize.checked_add(len)?)?;
    (well_formed && text.starts_with(b"OSRELEASE=")).then_some(text)
}
