//! Faults at every byte of a small copy, on either side, under both backends: I22 (progress at byte
//! granularity), I24, I25, I27.
#![expect(unsafe_code, reason = "maps pages and takes their rights away")]
#![expect(
    clippy::unwrap_used,
    reason = "a test's own mappings; a failure fails it"
)]
#![expect(
    clippy::arithmetic_side_effects,
    reason = "a test's own small numbers; a wrap fails it"
)]

use std::ptr;
use std::sync::{Mutex, MutexGuard};

use rustix::mm::{self, MapFlags, MprotectFlags, ProtFlags};
use vread_nofault::{Backend, Fault, copy_foreign, fault_in_writeable, load_u64, zero_foreign};

const PAGE: usize = 4096;
/// What a destination holds before a copy.
const UNTOUCHED: u8 = 0xee;

/// The backend belongs to the process, so the tests take turns.
fn under(backend: Backend) -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(|poison| poison.into_inner());
    assert_eq!(vread_nofault::select(backend).unwrap(), backend);
    turn
}

const BACKENDS: [Backend; 2] = [Backend::SignalHandler, Backend::ProcessVm];

/// `pages` pages, of which the last one refuses whatever `right` does not name.
struct Guarded {
    base: *mut u8,
    len: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wall {
    NoAccess,
    ReadOnly,
    Unmapped,
}

impl Guarded {
    fn new(pages: usize, wall: Wall) -> Self {
        let len = pages * PAGE;
        // SAFETY: a new mapping.
        let base = unsafe {
            mm::mmap_anonymous(
                ptr::null_mut(),
                len,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )
        }
        .unwrap();
        let last = base.wrapping_byte_add(len - PAGE);
        match wall {
            // SAFETY: a page of the new mapping.
            Wall::NoAccess => unsafe { mm::mprotect(last, PAGE, MprotectFlags::empty()) },
            // SAFETY: a page of the new mapping.
            Wall::ReadOnly => unsafe { mm::mprotect(last, PAGE, MprotectFlags::READ) },
            // SAFETY: a page of the new mapping. Nothing else maps memory here while the test runs in
            //         one thread; if something did, the copy would overwrite it, and the test would fail.
            Wall::Unmapped => unsafe { mm::munmap(last, PAGE) },
        }
        .unwrap();
        Self {
            base: base.cast(),
            len,
        }
    }

    /// The address of the first byte that refuses.
    fn wall(&self) -> *mut u8 {
        self.base.wrapping_add(self.len - PAGE)
    }

    /// Fills all in front of the wall.
    fn fill(&self, with: &[u8]) {
        assert_eq!(with.len(), self.len - PAGE);
        // SAFETY: the pages before the wall.
        unsafe {
            self.base
                .copy_from_nonoverlapping(with.as_ptr(), with.len())
        };
    }

    /// The `count` bytes in front of the wall.
    fn last_bytes(&self, count: usize) -> Vec<u8> {
        assert!(count <= self.len - PAGE);
        let mut bytes = vec![0; count];
        let start = self.wall().wrapping_sub(count);
        // SAFETY: inside the pages before the wall.
        unsafe { start.copy_to_nonoverlapping(bytes.as_mut_ptr(), count) };
        bytes
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: our own mapping, or what is left of it.
        unsafe { mm::munmap(self.base.cast(), self.len) }.unwrap();
    }
}

/// A page in which no byte is like its neighbours.
fn pattern() -> Vec<u8> {
    (0..PAGE)
        .map(|at| u8::try_from(at % 251).unwrap() ^ 0x5a)
        .collect()
}

/// Lengths with a byte's step where the copy goes by words, and around where it changes its way.
fn lengths() -> impl Iterator<Item = usize> {
    (0..=200).chain([255, 256, 257, 511, 512, 513, 1000, 2048, 4000])
}

/// How many bytes lie in front of the wall: each place in a step of the widest copy, and places in later steps.
fn places() -> impl Iterator<Item = usize> {
    (0..64).chain([64, 65, 127, 255, 256, 257, 319, 320, 321, 600, 1023, 3000])
}

#[test]
fn source_wall_at_every_offset_and_length_is_exact() {
    for backend in BACKENDS {
        let _turn = under(backend);
        for wall in [Wall::NoAccess, Wall::Unmapped] {
            let src = Guarded::new(2, wall);
            let bytes = pattern();
            src.fill(&bytes);
            let mut dst = [0_u8; PAGE];
            for before in places() {
                for len in lengths() {
                    dst.fill(UNTOUCHED);
                    let from = src.wall().wrapping_sub(before);
                    // SAFETY: 1. `dst` is ours; 2. our own mapping, or nothing.
                    let outcome = unsafe { copy_foreign(dst.as_mut_ptr(), from, len) };
                    let done = len.min(before);
                    assert_eq!(outcome.done, done, "{backend:?} {wall:?} {before} {len}");
                    assert_eq!(
                        outcome.fault,
                        (len > before).then(|| Fault::Source(src.wall().addr())),
                    );
                    let start = PAGE - before;
                    assert_eq!(dst[..done], bytes[start..start + done]);
                    assert!(dst[len..].iter().all(|byte| *byte == UNTOUCHED));
                }
            }
        }
    }
}

#[test]
fn destination_wall_at_every_offset_and_length_is_exact() {
    for backend in BACKENDS {
        let _turn = under(backend);
        for wall in [Wall::NoAccess, Wall::ReadOnly, Wall::Unmapped] {
            let dst = Guarded::new(2, wall);
            let src = pattern();
            for before in places() {
                for len in lengths() {
                    dst.fill(&[UNTOUCHED; PAGE]);
                    let to = dst.wall().wrapping_sub(before);
                    // SAFETY: 1. our own mapping, or nothing; 2. `src` is ours.
                    let outcome = unsafe { copy_foreign(to, src.as_ptr(), len) };
                    let done = len.min(before);
                    assert_eq!(outcome.done, done, "{backend:?} {wall:?} {before} {len}");
                    assert_eq!(
                        outcome.fault,
                        (len > before).then(|| Fault::Destination(dst.wall().addr())),
                    );
                    assert_eq!(dst.last_bytes(before)[..done], src[..done]);
                    let margin = dst.last_bytes(before.saturating_add(64).min(PAGE));
                    let margin = margin.strip_suffix(&dst.last_bytes(before)[..]).unwrap();
                    assert!(margin.iter().all(|byte| *byte == UNTOUCHED));
                }
            }
        }
    }
}

#[test]
fn zeroes_up_to_the_wall() {
    for backend in BACKENDS {
        let _turn = under(backend);
        for wall in [Wall::NoAccess, Wall::ReadOnly, Wall::Unmapped] {
            let dst = Guarded::new(2, wall);
            for before in (0..64_usize).chain([4000, 4096]) {
                for len in lengths() {
                    dst.fill(&[UNTOUCHED; PAGE]);
                    let to = dst.wall().wrapping_sub(before);
                    // SAFETY: our own mapping, or nothing.
                    let outcome = unsafe { zero_foreign(to, len) };
                    let done = len.min(before);
                    assert_eq!(outcome.done, done, "{backend:?} {wall:?} {before} {len}");
                    assert_eq!(
                        outcome.fault,
                        (len > before).then(|| Fault::Destination(dst.wall().addr())),
                    );
                    assert!(dst.last_bytes(before)[..done].iter().all(|byte| *byte == 0));
                    let margin = dst.last_bytes(before.saturating_add(64).min(PAGE));
                    let margin = margin.strip_suffix(&dst.last_bytes(before)[..]).unwrap();
                    assert!(margin.iter().all(|byte| *byte == UNTOUCHED));
                }
            }
        }
    }
}

#[test]
fn loads_a_word_only_if_all_of_it_is_there() {
    for backend in BACKENDS {
        let _turn = under(backend);
        let src = Guarded::new(2, Wall::NoAccess);
        let bytes = pattern();
        src.fill(&bytes);
        for before in 0..16_usize {
            let from = src.wall().wrapping_sub(before);
            // SAFETY: our own mapping.
            let got = unsafe { load_u64(from.cast()) };
            let want = (before >= 8).then(|| {
                let start = PAGE - before;
                u64::from_ne_bytes(bytes[start..start + 8].try_into().unwrap())
            });
            assert_eq!(got, want, "{backend:?} {before}");
        }
    }
}

#[test]
fn addresses_that_can_never_be_mapped_are_faults() {
    for backend in BACKENDS {
        let _turn = under(backend);
        let mut byte = [0_u8; 16];
        // The null page, the last byte of the user half and the first beyond it, the middle of the hole
        // between the halves, kernel text, the last word.
        for addr in [
            0_usize,
            0x7fff_ffff_f000,
            0x8000_0000_0000,
            0x0100_0000_0000_0000,
            0x8000_0000_0000_0000,
            0xffff_ffff_8100_0000,
            usize::MAX - 15,
        ] {
            let foreign = ptr::without_provenance_mut::<u8>(addr);
            // SAFETY: 1. `byte` is ours; 2. nothing is mapped there.
            let outcome = unsafe { copy_foreign(byte.as_mut_ptr(), foreign, 16) };
            assert_eq!(
                (outcome.done, outcome.fault),
                (0, Some(Fault::Source(addr))),
                "{backend:?} {addr:#x}"
            );
            // SAFETY: 1. nothing is mapped there; 2. `byte` is ours.
            let outcome = unsafe { copy_foreign(foreign, byte.as_ptr(), 16) };
            assert_eq!(
                (outcome.done, outcome.fault),
                (0, Some(Fault::Destination(addr))),
                "{backend:?} {addr:#x}"
            );
            // SAFETY: nothing is mapped there.
            assert_eq!(unsafe { load_u64(foreign.cast()) }, None);
            // SAFETY: nothing is mapped there.
            assert_eq!(unsafe { fault_in_writeable(foreign, 16) }, 16);
        }
    }
}
