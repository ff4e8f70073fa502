//! The figures that the copy is held to, each against its rival in the same run: taken turn by turn, so that a
//! busy machine hits both, and the best of all turns, so that it hits neither.
#![expect(unsafe_code, reason = "calls the raw copies")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use rustix::mm::Advice;
use vread_iov_iter::{Destination, IovIter};
use vread_nofault::{Backend, UserBuf, copy_foreign, select};

use crate::memory::{Kept, Memory, PAGE};

/// How often each side has its turn.
const TURNS: u32 = 400;

/// Bytes in a turn, so that the clock does not count.
const BYTES_PER_TURN: usize = 1 << 20;

pub(super) fn print() {
    select(Backend::SignalHandler).unwrap();
    println!("nofault copy against memcpy, best of {TURNS} turns each:");
    for len in [8, 64, 4 << 10, 1 << 20] {
        let (src, mut dst) = (vec![0x5a_u8; len], vec![0_u8; len]);
        let per_turn = u32::try_from(BYTES_PER_TURN / len.max(64)).unwrap();
        let (mut plain, mut nofault) = (Duration::MAX, Duration::MAX);
        for _ in 0..TURNS {
            plain = plain.min(time(per_turn, || {
                let (dst, src) = black_box((&mut dst[..], &src[..]));
                dst.copy_from_slice(src);
            }));
            nofault = nofault.min(time(per_turn, || {
                let (dst, src) = black_box((&mut dst[..], &src[..]));
                // SAFETY: two slices of `len` bytes.
                let outcome = unsafe { copy_foreign(dst.as_mut_ptr(), src.as_ptr(), len) };
                black_box(outcome.done);
            }));
        }
        let (plain, nofault) = (nanos(plain, per_turn), nanos(nofault, per_turn));
        println!(
            "  {len:>8} B: memcpy {plain:>9.1} ns, nofault {nofault:>9.1} ns: {:.2} of its speed, {:+.1} ns",
            plain / nofault,
            nofault - plain
        );
    }
    fault_in_turn();
}

fn time(times: u32, mut work: impl FnMut()) -> Duration {
    let started = Instant::now();
    for _ in 0..times {
        work();
    }
    started.elapsed()
}

fn nanos(all: Duration, times: u32) -> f64 {
    all.as_secs_f64() * 1e9 / f64::from(times)
}

/// A page that is brought back when it is faulted in.
struct Evicted<'m>(UserBuf<'m>, &'m Memory);

impl Destination for Evicted<'_> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn copy_nofault(&mut self, at: usize, src: &[u8]) -> usize {
        self.0.copy_nofault(at, src)
    }

    fn zero_nofault(&mut self, at: usize, len: usize) -> usize {
        self.0.zero_nofault(at, len)
    }

    fn fault_in_writeable(&mut self, at: usize, len: usize) -> usize {
        self.1.bring_back(at, len);
        0
    }
}

/// What it costs that a page is away: the refused copy with its signal, and the second attempt. Bringing the page
/// back is the system's, and shown apart.
fn fault_in_turn() {
    let memory = Memory::new(1, Kept::Minor);
    let content = [0x5a; PAGE];
    memory.fill(0, &content);
    let evict = || memory.evict(0..1, Advice::LinuxDontNeed);
    let copy = || {
        let mut page = Evicted(memory.buffer(0, PAGE), &memory);
        assert_eq!(IovIter::ubuf(&mut page).copy_to_iter(&content), PAGE);
    };
    let (mut there, mut away, mut system) = (Duration::MAX, Duration::MAX, Duration::MAX);
    for _ in 0..TURNS * 10 {
        system = system.min(time(1, || {
            evict();
            memory.bring_back(0, PAGE);
        }));
        there = there.min(time(1, copy));
        away = away.min(time(1, || {
            evict();
            copy();
        }));
    }
    let (there, away, system) = (nanos(there, 1), nanos(away, 1), nanos(system, 1));
    println!(
        "a copy of {PAGE} B to a page that is there: {there:.0} ns; that has to be faulted in: {away:.0} ns, of which \
         {system:.0} ns are the system's to take it away and bring it back: the extra turn costs {:.0} ns",
        away - there - system
    );
}
