//! A reader whose buffer's pages are taken away, and the kcore that it reads.

use std::sync::atomic::{AtomicU64, Ordering};

use rustix::mm::Advice;
use vread_addr::{ByteLen, FileOffset, PageCount, VirtAddr, VirtRange};
use vread_iov_iter::{Destination, IovIter};
use vread_kcore::{
    ElfMachine, KcoreImage, OffsetRule, ReadOptions, arena_segments, read_kcore_iter,
};
use vread_nofault::UserBuf;
use vread_vmalloc::{Arena, HeapFrames};

use crate::memory::{Memory, PAGE};

/// What the buffer holds before a read.
const UNTOUCHED: u8 = 0xee;

/// An arena of one area whose bytes all differ from their neighbours, and its file.
pub(crate) struct Kcore {
    arena: Arena<HeapFrames>,
    image: KcoreImage,
    area: FileOffset,
    content: Vec<u8>,
}

impl Kcore {
    pub(crate) fn new(pages: usize) -> Self {
        let len = pages * PAGE;
        let start = VirtAddr::new(0xffff_c900_0000_0000);
        let window = VirtRange::from_len(start, ByteLen::new(1 << 30)).unwrap();
        let frames = HeapFrames::new(PageCount::to_hold(ByteLen::from_usize(len)));
        let arena: Arena<HeapFrames> = Arena::new(window, frames).unwrap();
        let content: Vec<u8> = (1..=251).cycle().take(len).collect();
        let area = arena.vmalloc(ByteLen::from_usize(len)).unwrap();
        arena.write(area, &content).unwrap();
        let rule = OffsetRule::X86_64_4_LEVEL;
        let image =
            KcoreImage::kcore(ElfMachine::X86_64, rule, &arena_segments(&arena), &[]).unwrap();
        let area = image.offset_of(area).unwrap();
        Self {
            arena,
            image,
            area,
            content,
        }
    }
}

/// What was seen of the buffer, over many reads.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Copies that stopped at a page that was not there.
    pub(crate) refused: AtomicU64,
    /// Those of them that came right after a fault-in which said that all is there: K40's race.
    pub(crate) lost: AtomicU64,
    pub(crate) fault_ins: AtomicU64,
}

impl Seen {
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

/// A segment on a page of its own. Faulting it in brings its page back; then, as a rule, somebody takes pages
/// away again.
struct Segment<'s> {
    buffer: UserBuf<'s>,
    memory: &'s Memory,
    page: usize,
    seen: &'s Seen,
    /// Whether anything of this reader was faulted in since its last copy.
    faulted_in: &'s AtomicU64,
    after_fault_in: &'s dyn Fn(&Memory),
}

impl Segment<'_> {
    fn note(&self, asked: usize, done: usize) -> usize {
        let faulted_in = self.faulted_in.swap(0, Ordering::Relaxed);
        if done < asked {
            self.seen.refused.fetch_add(1, Ordering::Relaxed);
            self.seen.lost.fetch_add(faulted_in, Ordering::Relaxed);
        }
        done
    }
}

impl Destination for Segment<'_> {
    fn len(&self) -> usize {
        self.buffer.len()
    }

    fn copy_nofault(&mut self, at: usize, src: &[u8]) -> usize {
        let done = self.buffer.copy_nofault(at, src);
        self.note(src.len(), done)
    }

    fn zero_nofault(&mut self, at: usize, len: usize) -> usize {
        let done = self.buffer.zero_nofault(at, len);
        self.note(len, done)
    }

    fn fault_in_writeable(&mut self, at: usize, len: usize) -> usize {
        self.memory.bring_back(self.page * PAGE + at, len);
        self.seen.fault_ins.fetch_add(1, Ordering::Relaxed);
        self.faulted_in.store(1, Ordering::Relaxed);
        (self.after_fault_in)(self.memory);
        0
    }
}

/// One `preadv` of the area's first bytes into `segments` segments of `len` bytes, each on a page of its
/// own, and a look at every byte of them.
///
/// # Panics
///
/// If the read fails, or a byte is not where it belongs.
pub(crate) fn read(
    kcore: &Kcore,
    memory: &Memory,
    (segments, len): (usize, usize),
    seen: &Seen,
    after_fault_in: &dyn Fn(&Memory),
) {
    for page in 0..segments {
        memory.fill(page * PAGE, &vec![UNTOUCHED; len + 1]);
    }
    let faulted_in = AtomicU64::new(0);
    let mut parts: Vec<_> = (0..segments)
        .map(|page| Segment {
            buffer: memory.buffer(page * PAGE, len),
            memory,
            page,
            seen,
            faulted_in: &faulted_in,
            after_fault_in,
        })
        .collect();
    let mut iter = IovIter::iovec(&mut parts);
    let options = ReadOptions::default();
    let progress =
        read_kcore_iter(&kcore.image, &kcore.arena, &mut iter, kcore.area, options).unwrap();
    assert_eq!(progress.stopped, None, "the read failed");
    assert_eq!(progress.copied, ByteLen::from_usize(segments * len));
    assert_eq!(iter.count(), 0);
    let mut got = vec![0; len + 1];
    for (page, want) in kcore.content.chunks(len).take(segments).enumerate() {
        memory.content(page * PAGE, &mut got);
        let (last, got) = got.split_last().unwrap();
        assert!(got == want, "segment {page} holds what is not its own");
        assert_eq!(*last, UNTOUCHED, "behind segment {page}");
    }
}

/// Takes a page away: most often out of our table at once, sometimes by way of swap, which leaves it there if
/// there is none.
pub(crate) fn evict(memory: &Memory, page: usize, turn: u64) {
    if turn.is_multiple_of(4) {
        memory.evict(page..page + 1, Advice::LinuxPageOut);
    }
    memory.evict(page..page + 1, Advice::LinuxDontNeed);
}
