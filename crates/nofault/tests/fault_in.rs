//! Making a destination resident without changing it: I33, I35, I37, I38.
#![expect(unsafe_code, reason = "maps pages and takes their rights away")]
#![expect(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    reason = "a failure or a wrap fails the test"
)]

use std::mem::MaybeUninit;
use std::ptr;
use std::sync::{Mutex, MutexGuard};

use rustix::mm::{self, MapFlags, MprotectFlags, ProtFlags};
use vread_iov_iter::{Destination, IovIterSource, Source};
use vread_nofault::{Backend, UserBuf, UserSource, fault_in_writeable};

const PAGE: usize = 4096;
const BACKENDS: [Backend; 2] = [Backend::SignalHandler, Backend::ProcessVm];

/// The backend belongs to the process, so the tests take turns.
fn under(backend: Backend) -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(|poison| poison.into_inner());
    assert_eq!(vread_nofault::select(backend).unwrap(), backend);
    turn
}

fn pages(count: usize) -> *mut u8 {
    let rights = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping, which lives as long as the test program.
    unsafe { mm::mmap_anonymous(ptr::null_mut(), count * PAGE, rights, MapFlags::PRIVATE) }
        .unwrap()
        .cast()
}

fn protect(page: *mut u8, rights: MprotectFlags) {
    // SAFETY: a page of a mapping of this test, to which no reference exists.
    unsafe { mm::mprotect(page.cast(), PAGE, rights) }.unwrap();
}

fn is_resident(page: *mut u8) -> bool {
    let mut told = 0_u8;
    // SAFETY: one page, one byte.
    let status = unsafe { libc::mincore(page.cast(), PAGE, &raw mut told) };
    assert_eq!(status, 0);
    told & 1 == 1
}

#[test]
fn all_pages_become_resident_and_keep_their_bytes() {
    for backend in BACKENDS {
        let _turn = under(backend);
        let base = pages(8);
        // SAFETY: the third page.
        unsafe { base.wrapping_add(2 * PAGE + 5).write(0x77) };
        assert!(!is_resident(base.wrapping_add(PAGE)));
        // From the middle of the second page to the middle of the sixth.
        let start = base.wrapping_add(PAGE + 100);
        // SAFETY: a mapping of this test.
        assert_eq!(unsafe { fault_in_writeable(start, 4 * PAGE) }, 0);
        for page in 0..8 {
            let want = (1..6).contains(&page);
            assert_eq!(
                is_resident(base.wrapping_add(page * PAGE)),
                want,
                "page {page}"
            );
        }
        // SAFETY: the third page.
        assert_eq!(unsafe { base.wrapping_add(2 * PAGE + 5).read() }, 0x77);
    }
}

#[test]
fn the_first_page_that_cannot_be_had_ends_it() {
    for backend in BACKENDS {
        let _turn = under(backend);
        for rights in [MprotectFlags::empty(), MprotectFlags::READ] {
            let base = pages(4);
            // SAFETY: the third page.
            unsafe { base.wrapping_add(2 * PAGE).write(0x33) };
            protect(base.wrapping_add(2 * PAGE), rights);
            for (start, len, missing) in [
                // In front of it, up to it, into it, across it, in it, behind it.
                (0, PAGE, 0),
                (100, 2 * PAGE - 100, 0),
                (100, 2 * PAGE - 99, 1),
                (100, 4 * PAGE - 100, 2 * PAGE),
                (2 * PAGE + 10, 20, 20),
                (3 * PAGE, PAGE, 0),
                (2 * PAGE, 0, 0),
            ] {
                // SAFETY: a mapping of this test.
                let got = unsafe { fault_in_writeable(base.wrapping_add(start), len) };
                assert_eq!(got, missing, "{backend:?} {start:#x} {len:#x}");
            }
            // What lies before it is resident all the same (I38).
            assert!(is_resident(base) && is_resident(base.wrapping_add(PAGE)));
            protect(base.wrapping_add(2 * PAGE), MprotectFlags::READ);
            // SAFETY: the third page.
            assert_eq!(unsafe { base.wrapping_add(2 * PAGE).read() }, 0x33);
        }
    }
}

#[test]
fn a_range_that_wraps_fails_as_a_whole() {
    for backend in BACKENDS {
        let _turn = under(backend);
        let base = pages(1);
        // SAFETY: a mapping of this test; nothing is mapped beyond the user half.
        let missing = unsafe { fault_in_writeable(base, usize::MAX) };
        assert_eq!(missing, usize::MAX);
    }
}

#[test]
fn a_users_buffer_knows_its_own_end() {
    for backend in BACKENDS {
        let _turn = under(backend);
        let mut bytes = [MaybeUninit::uninit(); 100];
        let mut buffer = UserBuf::from_uninit(&mut bytes);
        assert_eq!(buffer.len(), 100);
        assert_eq!(buffer.fault_in_writeable(0, 100), 0);
        assert_eq!(buffer.fault_in_writeable(40, 100), 40);
        assert_eq!(buffer.fault_in_writeable(200, 100), 100);
        assert_eq!(buffer.copy_nofault(98, b"xyz"), 2);
        assert_eq!(buffer.copy_nofault(100, b"xyz"), 0);
        assert_eq!(buffer.zero_nofault(0, 98), 98);
        assert_eq!(buffer.zero_nofault(97, 3), 3);
        // SAFETY: all 100 bytes were written above.
        let bytes = bytes.map(|byte| unsafe { byte.assume_init() });
        assert_eq!(bytes, [0; 100]);
    }
}

#[test]
fn a_users_buffer_that_is_not_there_takes_nothing() {
    for backend in BACKENDS {
        let _turn = under(backend);
        let base = pages(2);
        protect(base.wrapping_add(PAGE), MprotectFlags::READ);
        // SAFETY: a mapping of this test, to which no reference exists.
        let mut buffer = unsafe { UserBuf::from_raw(base, 2 * PAGE) };
        assert_eq!(buffer.copy_nofault(PAGE - 3, &[7; 10]), 3);
        assert_eq!(buffer.zero_nofault(PAGE - 2, 10), 2);
        assert_eq!(buffer.fault_in_writeable(PAGE - 2, 10), 8);
        let last = base.wrapping_add(PAGE - 3).cast::<[u8; 3]>();
        // SAFETY: in the first page.
        assert_eq!(unsafe { last.read() }, [7, 0, 0]);
    }
}

#[test]
fn a_writers_buffer_that_is_not_there_gives_nothing() {
    // I33, I37 in the other direction: read-only is enough here, and no right at all is not.
    for backend in BACKENDS {
        let _turn = under(backend);
        let base = pages(3);
        // SAFETY: the last bytes of the first page.
        unsafe { base.wrapping_add(PAGE - 2).cast::<[u8; 2]>().write([4, 5]) };
        protect(base, MprotectFlags::READ);
        protect(base.wrapping_add(PAGE), MprotectFlags::empty());
        // SAFETY: a mapping of this test, which nobody writes any more.
        let mut source = unsafe { UserSource::from_raw(base, 3 * PAGE) };
        let mut got = [0xee; 6];
        assert_eq!(source.copy_from_nofault(PAGE - 2, &mut got), 2);
        assert_eq!(got, [4, 5, 0xee, 0xee, 0xee, 0xee]);
        assert_eq!(source.fault_in_readable(0, PAGE), 0);
        assert_eq!(source.fault_in_readable(100, 3 * PAGE - 100), 2 * PAGE);
        assert_eq!(source.fault_in_readable(PAGE + 1, 10), 10);
        assert_eq!(
            source.fault_in_readable(2 * PAGE, 2 * PAGE),
            PAGE,
            "its own end"
        );
        let mut iter = IovIterSource::ubuf(&mut source);
        assert_eq!(iter.copy_from_iter(&mut vec![0; 3 * PAGE]), PAGE);
        assert_eq!(iter.count(), 2 * PAGE);
    }
}
