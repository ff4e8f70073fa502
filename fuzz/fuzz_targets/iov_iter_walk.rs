//! Any buffer in segments of any kind, any operations, any faults: the iterator against a flat array of
//! bytes (I3 to I20, I22, I26, I27, I33 to I36).
#![no_main]
#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::vec::IntoIter;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use vread_iov_iter::{
    BioVec, Destination, FOLIOS_PER_BATCH, FolioBatch, IndexedFolio, IovIter, MAX_RW_COUNT,
    RevertError,
};

/// Enough for every way in which segments can meet; more than a batch of folios holds.
const MAX_SEGMENTS: usize = 40;
const MAX_STEPS: usize = 64;
const PAGE: usize = 4096;
const UNTOUCHED: u8 = 0xee;

#[derive(Arbitrary, Debug)]
struct Input {
    backing: Backing,
    /// How many bytes each write may do, one after another; a write beyond the list does all it should.
    writes: Vec<u8>,
    /// How many bytes each fault-in fails to get, likewise; one beyond the list gets all.
    fault_ins: Vec<u8>,
    steps: Vec<Step>,
}

#[derive(Arbitrary, Debug)]
enum Backing {
    Ubuf(u8),
    Iovec(Vec<u8>),
    Kvec(Vec<u8>),
    /// Each around the border of its two pages: how far before it a run begins, and its length.
    Bvec(Vec<(u8, u8)>),
    /// Folios of these lengths, the first so many of which are there.
    Folioq(Vec<u8>, u8, u16),
    /// Folios of one or two pages, likewise; the read begins in the first, so far before its end.
    Xarray(Vec<bool>, u8, u8, u16),
    Discard(u16),
}

#[derive(Arbitrary, Debug)]
enum Step {
    Copy(u16),
    CopyNofault(u16),
    Zero(u16),
    ZeroNofault(u16),
    FaultIn(u16),
    Advance(u16),
    Revert(u32),
    Save,
    Restore,
    Truncate(u16),
    Reexpand(u16),
    SingleSegCount,
    Npages(u8),
}

/// What the memory will refuse, and what it saw.
struct Script {
    writes: RefCell<IntoIter<u8>>,
    fault_ins: RefCell<IntoIter<u8>>,
    last_shortfall: Cell<usize>,
}

struct Segment<'m> {
    script: &'m Script,
    bytes: &'m [Cell<u8>],
}

impl Segment<'_> {
    fn write(&self, at: usize, len: usize, byte: impl Fn(usize) -> u8) -> usize {
        let target = &self.bytes[at..at + len];
        if len == 0 {
            return 0;
        }
        let allowed = self.script.writes.borrow_mut().next();
        let done = allowed.map_or(len, |allowed| len.min(usize::from(allowed)));
        for (index, slot) in target[..done].iter().enumerate() {
            slot.set(byte(index));
        }
        done
    }
}

impl Destination for Segment<'_> {
    fn len(&self) -> usize {
        self.bytes.len()
    }

    fn copy_nofault(&mut self, at: usize, src: &[u8]) -> usize {
        self.write(at, src.len(), |index| src[index])
    }

    fn zero_nofault(&mut self, at: usize, len: usize) -> usize {
        self.write(at, len, |_| 0)
    }

    fn fault_in_writeable(&mut self, at: usize, len: usize) -> usize {
        assert!(len > 0 && at + len <= self.bytes.len());
        let refused = self.script.fault_ins.borrow_mut().next();
        let short = refused.map_or(0, |refused| len.min(usize::from(refused)));
        self.script.last_shortfall.set(short);
        short
    }
}

/// What the iterator is to be: positions count from the first byte that it can reach, whatever the
/// segments.
struct Model {
    bytes: Vec<u8>,
    /// Start and length of each piece that a walk meets.
    pieces: Vec<(usize, usize)>,
    /// What `reexpand` may go up to, counted from the start.
    total: usize,
    /// Whether segments may be faulted in.
    user: bool,
    discards: bool,
    at: usize,
    count: usize,
    saved: Option<(usize, usize)>,
    next_byte: u8,
}

impl Model {
    fn source(&mut self, len: usize) -> Vec<u8> {
        let source = (0..len)
            .map(|index| self.next_byte.wrapping_add(index as u8))
            .collect();
        self.next_byte = self.next_byte.wrapping_mul(31).wrapping_add(7);
        source
    }

    /// What a walk without fault-in does, with the writes that the memory will refuse.
    fn walk(&self, len: usize, script: &Script) -> usize {
        let want = len.min(self.count);
        if self.discards {
            return want;
        }
        let mut allowed = script.writes.borrow().clone();
        let mut done = 0;
        for (start, len) in &self.pieces {
            let room = (start + len).saturating_sub(*start.max(&(self.at + done)));
            let room = room.min(want - done);
            if room == 0 {
                continue;
            }
            let did = allowed
                .next()
                .map_or(room, |allowed| room.min(usize::from(allowed)));
            done += did;
            if did < room {
                break;
            }
        }
        done
    }

    /// A copy that may fault is short only where the buffer ends or could not be faulted in as a whole.
    fn check_faulting(&self, script: &Script, len: usize, done: usize, unaided: usize) {
        let want = len.min(self.count);
        assert!(done >= unaided && done <= want);
        match self.user {
            true => assert!(done == want || script.last_shortfall.get() > 0),
            false => assert_eq!(done, unaided),
        }
    }

    fn moved(&mut self, done: usize, written: Option<&[u8]>) {
        if let Some(written) = written.filter(|_| !self.discards && done > 0) {
            self.bytes[self.at..self.at + done].copy_from_slice(&written[..done]);
        }
        self.at += done;
        self.count -= done;
    }
}

/// Where each segment's memory lies in one array, and which bytes of it are the segment's.
struct Layout {
    memory: Vec<usize>,
    used: Vec<(usize, usize)>,
}

fn layout(backing: &Backing) -> Layout {
    let plain = |lens: &[u8]| {
        let lens: Vec<usize> = lens
            .iter()
            .take(MAX_SEGMENTS)
            .map(|len| usize::from(*len))
            .collect();
        Layout {
            used: lens.iter().map(|len| (0, *len)).collect(),
            memory: lens,
        }
    };
    match backing {
        Backing::Ubuf(len) => plain(&[*len]),
        Backing::Iovec(lens) | Backing::Kvec(lens) | Backing::Folioq(lens, ..) => plain(lens),
        Backing::Bvec(runs) => {
            let runs = runs.iter().take(MAX_SEGMENTS);
            let used: Vec<_> = runs
                .map(|(before, len)| (PAGE - usize::from(*before), usize::from(*len)))
                .collect();
            Layout {
                memory: vec![2 * PAGE; used.len()],
                used,
            }
        }
        Backing::Xarray(two_pages, _, before, _) => {
            let two_pages = two_pages.iter().take(4);
            let memory: Vec<_> = two_pages.map(|two| PAGE << u8::from(*two)).collect();
            let mut used: Vec<_> = memory.iter().map(|len| (0, *len)).collect();
            if let Some(first) = used.first_mut() {
                let skipped = first.1 - usize::from(*before).max(1);
                *first = (skipped, first.1 - skipped);
            }
            Layout { memory, used }
        }
        Backing::Discard(_) => plain(&[]),
    }
}

fuzz_target!(|input: Input| run(input));

fn run(input: Input) {
    let layout = layout(&input.backing);
    let memory = vec![Cell::new(UNTOUCHED); layout.memory.iter().sum()];
    let script = Script {
        writes: RefCell::new(input.writes.into_iter()),
        fault_ins: RefCell::new(input.fault_ins.into_iter()),
        last_shortfall: Cell::new(0),
    };
    // Each segment's memory, and where every byte that the iterator can reach lies.
    let (mut segments, mut reached, mut pieces) = (Vec::new(), Vec::new(), Vec::new());
    let mut base = 0;
    let there = match &input.backing {
        Backing::Folioq(_, there, _) | Backing::Xarray(_, there, ..) => usize::from(*there),
        _ => usize::MAX,
    };
    let cut = !matches!(
        input.backing,
        Backing::Ubuf(_) | Backing::Iovec(_) | Backing::Kvec(_)
    );
    for (index, (len, (offset, used))) in layout.memory.iter().zip(&layout.used).enumerate() {
        segments.push(Segment {
            script: &script,
            bytes: &memory[base..base + len],
        });
        if index < there {
            for at in *offset..offset + used {
                if at == *offset || (cut && at % PAGE == 0) {
                    pieces.push((reached.len(), 0));
                }
                pieces.last_mut().expect("pushed at the first byte").1 += 1;
                reached.push(base + at);
            }
        }
        base += len;
    }

    let holds = reached.len();
    let (mut runs, mut batches, mut folios) = (Vec::new(), Vec::new(), Vec::new());
    let (mut iter, total, count) = match &input.backing {
        Backing::Ubuf(_) => (IovIter::ubuf(&mut segments[0]), holds, holds),
        Backing::Iovec(_) => (IovIter::iovec(&mut segments), holds, holds),
        Backing::Kvec(_) => (IovIter::kvec(&mut segments), holds, holds),
        Backing::Bvec(_) => {
            let used = segments.into_iter().zip(&layout.used);
            runs.extend(used.map(|(pages, (at, len))| BioVec::new(pages, *at, *len)));
            (IovIter::bvec(&mut runs), holds, holds)
        }
        Backing::Folioq(_, there, count) => {
            let mut segments = segments.into_iter().take(usize::from(*there));
            for _ in 0..MAX_SEGMENTS.div_ceil(FOLIOS_PER_BATCH) {
                batches.push(FolioBatch::new(std::array::from_fn(|_| segments.next())));
            }
            let count = usize::from(*count);
            (IovIter::folioq(&mut batches, count), usize::MAX, count)
        }
        Backing::Xarray(_, there, _, count) => {
            let start = layout.used.first().map_or(0, |(offset, _)| *offset as u64);
            let mut page = 0;
            for segment in segments.into_iter().take(usize::from(*there)) {
                let pages = (segment.bytes.len() / PAGE) as u64;
                folios.push(IndexedFolio::new(page, segment));
                page += pages;
            }
            let count = usize::from(*count);
            (
                IovIter::xarray(&mut folios, start, count),
                usize::MAX,
                count,
            )
        }
        Backing::Discard(count) => {
            let count = usize::from(*count);
            (IovIter::discard(count), usize::MAX, count)
        }
    };
    assert_eq!(iter.count(), count);
    let mut model = Model {
        bytes: vec![UNTOUCHED; holds],
        pieces,
        total,
        user: iter.is_user_backed(),
        discards: matches!(input.backing, Backing::Discard(_)),
        at: 0,
        count,
        saved: None,
        next_byte: 1,
    };
    let mut state = iter.save();
    for step in input.steps.into_iter().take(MAX_STEPS) {
        match step {
            Step::CopyNofault(len) => {
                let source = model.source(usize::from(len));
                let expected = model.walk(source.len(), &script);
                assert_eq!(iter.copy_to_iter_nofault(&source), expected);
                model.moved(expected, Some(&source));
            }
            Step::ZeroNofault(len) => {
                let zeros = vec![0; usize::from(len)];
                let expected = model.walk(zeros.len(), &script);
                assert_eq!(iter.zero_nofault(zeros.len()), expected);
                model.moved(expected, Some(&zeros));
            }
            Step::Copy(len) => {
                let source = model.source(usize::from(len));
                let unaided = model.walk(source.len(), &script);
                let done = iter.copy_to_iter(&source);
                model.check_faulting(&script, source.len(), done, unaided);
                model.moved(done, Some(&source));
            }
            Step::Zero(len) => {
                let zeros = vec![0; usize::from(len)];
                let unaided = model.walk(zeros.len(), &script);
                let done = iter.zero(zeros.len());
                model.check_faulting(&script, zeros.len(), done, unaided);
                model.moved(done, Some(&zeros));
            }
            Step::FaultIn(len) => {
                let len = usize::from(len);
                script.last_shortfall.set(0);
                let short = iter.fault_in_writeable(len);
                let excess = if model.user {
                    len.saturating_sub(model.count)
                } else {
                    0
                };
                assert!(short >= excess && short <= len);
                assert_eq!(short == excess, script.last_shortfall.get() == 0);
            }
            Step::Advance(len) => {
                let done = usize::from(len).min(model.count);
                iter.advance(usize::from(len));
                model.moved(done, None);
            }
            Step::Revert(len) => {
                let len = len as usize;
                let expected = match len {
                    len if len > MAX_RW_COUNT => Err(RevertError::TooLong),
                    len if len > model.at => Err(RevertError::BeforeStart),
                    _ => Ok(()),
                };
                assert_eq!(iter.revert(len), expected);
                if expected.is_ok() {
                    model.at -= len;
                    model.count += len;
                }
            }
            Step::Save => {
                state = iter.save();
                model.saved = Some((model.at, model.count));
            }
            Step::Restore => {
                iter.restore(state);
                (model.at, model.count) = model.saved.unwrap_or((0, count));
            }
            Step::Truncate(count) => {
                iter.truncate(usize::from(count));
                model.count = model.count.min(usize::from(count));
            }
            Step::Reexpand(count) => {
                iter.reexpand(usize::from(count));
                model.count = usize::from(count).min(model.total - model.at);
            }
            Step::SingleSegCount => assert!(iter.single_seg_count() <= model.count),
            Step::Npages(max) => {
                let pages = iter.npages(usize::from(max));
                assert!(pages <= usize::from(max));
                assert_eq!(pages == 0, max == 0 || model.count == 0 || model.discards);
            }
        }
        assert_eq!(iter.count(), model.count);
        assert!(
            reached
                .iter()
                .zip(&model.bytes)
                .all(|(at, byte)| memory[*at].get() == *byte)
        );
    }
    // What the iterator could not reach was not touched.
    for at in reached {
        memory[at].set(UNTOUCHED);
    }
    assert!(memory.iter().all(|byte| byte.get() == UNTOUCHED));
}
