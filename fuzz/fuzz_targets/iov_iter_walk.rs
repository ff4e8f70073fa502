//! Any buffer in segments, any operations, any faults: the iterator against a flat array of bytes
//! (I4 to I20, I22, I27, I33 to I36).
#![no_main]
#![forbid(unsafe_code)]

use std::cell::RefCell;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use vread_iov_iter::{Destination, IovIter, MAX_RW_COUNT, RevertError};

/// Enough for every way in which segments can meet.
const MAX_SEGMENTS: usize = 12;
const MAX_STEPS: usize = 64;

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
}

/// The reader's memory, and what it will refuse.
struct Memory {
    bytes: RefCell<Vec<u8>>,
    writes: RefCell<std::vec::IntoIter<u8>>,
    fault_ins: RefCell<std::vec::IntoIter<u8>>,
    last_shortfall: RefCell<usize>,
}

struct Segment<'m> {
    memory: &'m Memory,
    start: usize,
    len: usize,
}

impl Segment<'_> {
    fn write(&self, at: usize, len: usize, byte: impl Fn(usize) -> u8) -> usize {
        assert!(at + len <= self.len, "a piece leaves its segment");
        let allowed = self.memory.writes.borrow_mut().next();
        let done = allowed.map_or(len, |allowed| len.min(usize::from(allowed)));
        let start = self.start + at;
        let mut bytes = self.memory.bytes.borrow_mut();
        for (index, target) in bytes[start..start + done].iter_mut().enumerate() {
            *target = byte(index);
        }
        done
    }
}

impl Destination for Segment<'_> {
    fn len(&self) -> usize {
        self.len
    }

    fn copy_nofault(&mut self, at: usize, src: &[u8]) -> usize {
        self.write(at, src.len(), |index| src[index])
    }

    fn zero_nofault(&mut self, at: usize, len: usize) -> usize {
        self.write(at, len, |_| 0)
    }

    fn fault_in_writeable(&mut self, at: usize, len: usize) -> usize {
        assert!(
            at + len <= self.len && len > 0,
            "a fault-in leaves its segment, or asks for nothing"
        );
        let refused = self.memory.fault_ins.borrow_mut().next();
        let short = refused.map_or(0, |refused| len.min(usize::from(refused)));
        *self.memory.last_shortfall.borrow_mut() = short;
        short
    }
}

/// What the iterator is to be: positions count from the first byte of the buffer, whatever the segments.
struct Model {
    bytes: Vec<u8>,
    /// Start and length of each segment.
    segments: Vec<(usize, usize)>,
    total: usize,
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

    /// What a walk without fault-in does: `allowed` are the writes that the memory will refuse.
    fn walk(&self, len: usize, mut allowed: impl Iterator<Item = u8>) -> usize {
        let (mut done, want) = (0, len.min(self.count));
        for (start, len) in &self.segments {
            let at = self.at + done;
            let room = (start + len)
                .saturating_sub(at.max(*start))
                .min(want - done);
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

    fn moved(&mut self, done: usize, written: Option<&[u8]>) {
        if let Some(written) = written.filter(|_| !self.bytes.is_empty()) {
            self.bytes[self.at..self.at + done].copy_from_slice(&written[..done]);
        }
        self.at += done;
        self.count -= done;
    }
}

fuzz_target!(|input: Input| run(input));

fn run(input: Input) {
    let lens: Vec<usize> = match &input.backing {
        Backing::Ubuf(len) => vec![usize::from(*len)],
        Backing::Iovec(lens) => lens
            .iter()
            .take(MAX_SEGMENTS)
            .map(|len| usize::from(*len))
            .collect(),
        Backing::Discard(_) => vec![],
    };
    let mut start = 0;
    let segments: Vec<(usize, usize)> = lens
        .iter()
        .map(|len| {
            start += len;
            (start - len, *len)
        })
        .collect();
    let memory = Memory {
        bytes: RefCell::new(vec![0xee; start]),
        writes: RefCell::new(input.writes.into_iter()),
        fault_ins: RefCell::new(input.fault_ins.into_iter()),
        last_shortfall: RefCell::new(0),
    };
    let mut parts: Vec<Segment<'_>> = segments
        .iter()
        .map(|(start, len)| Segment {
            memory: &memory,
            start: *start,
            len: *len,
        })
        .collect();
    let discarding = matches!(input.backing, Backing::Discard(_));
    let (mut iter, total) = match &input.backing {
        Backing::Ubuf(len) => (IovIter::ubuf(&mut parts[0]), usize::from(*len)),
        Backing::Iovec(_) => (IovIter::iovec(&mut parts), start),
        Backing::Discard(count) => (IovIter::discard(usize::from(*count)), usize::from(*count)),
    };
    let mut model = Model {
        bytes: vec![0xee; start],
        segments,
        total,
        at: 0,
        count: total,
        saved: None,
        next_byte: 1,
    };
    let mut state = iter.save();
    for step in input.steps.into_iter().take(MAX_STEPS) {
        match step {
            Step::CopyNofault(len) => {
                let source = model.source(usize::from(len));
                let expected = expected(&model, &memory, source.len(), discarding);
                assert_eq!(iter.copy_to_iter_nofault(&source), expected);
                model.moved(expected, Some(&source));
            }
            Step::ZeroNofault(len) => {
                let zeros = vec![0; usize::from(len)];
                let expected = expected(&model, &memory, zeros.len(), discarding);
                assert_eq!(iter.zero_nofault(zeros.len()), expected);
                model.moved(expected, Some(&zeros));
            }
            Step::Copy(len) => {
                let source = model.source(usize::from(len));
                let done = iter.copy_to_iter(&source);
                check_faulting(&model, &memory, source.len(), done);
                model.moved(done, Some(&source));
            }
            Step::Zero(len) => {
                let zeros = vec![0; usize::from(len)];
                let done = iter.zero(zeros.len());
                check_faulting(&model, &memory, zeros.len(), done);
                model.moved(done, Some(&zeros));
            }
            Step::FaultIn(len) => {
                let len = usize::from(len);
                *memory.last_shortfall.borrow_mut() = 0;
                let short = iter.fault_in_writeable(len);
                let excess = if discarding {
                    0
                } else {
                    len.saturating_sub(model.count)
                };
                assert!(short >= excess && short <= len);
                assert_eq!(short == excess, *memory.last_shortfall.borrow() == 0);
            }
            Step::Advance(len) => {
                iter.advance(usize::from(len));
                let done = usize::from(len).min(model.count);
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
                (model.at, model.count) = model.saved.unwrap_or((0, model.total));
            }
            Step::Truncate(count) => {
                iter.truncate(usize::from(count));
                model.count = model.count.min(usize::from(count));
            }
            Step::Reexpand(count) if !discarding => {
                iter.reexpand(usize::from(count));
                model.count = usize::from(count).min(model.total - model.at);
            }
            Step::Reexpand(_) => {}
            Step::SingleSegCount => {
                let one = iter.single_seg_count();
                assert!(one <= iter.count());
                assert!(one == iter.count() || matches!(input.backing, Backing::Iovec(_)));
            }
        }
        assert_eq!(iter.count(), model.count);
        assert_eq!(*memory.bytes.borrow(), model.bytes);
    }
}

fn expected(model: &Model, memory: &Memory, len: usize, discarding: bool) -> usize {
    match discarding {
        true => len.min(model.count),
        false => model.walk(len, memory.writes.borrow().clone()),
    }
}

/// A copy that may fault is short only where the buffer ends or could not be faulted in as a whole.
fn check_faulting(model: &Model, memory: &Memory, len: usize, done: usize) {
    let want = len.min(model.count);
    assert!(done <= want);
    assert!(done == want || *memory.last_shortfall.borrow() > 0);
}
