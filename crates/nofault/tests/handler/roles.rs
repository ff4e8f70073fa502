//! What the processes do.

use std::hint::black_box;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::{io, ptr, thread};

use libc::{c_int, c_void, siginfo_t};
use rustix::mm::{self, MapFlags, MprotectFlags, ProtFlags};
use vread_nofault::{Backend, Fault, copy_foreign, handler_is_current, install, select};

const PAGE: usize = 4096;
/// An address in the null page, where nothing is ever mapped.
const NOWHERE: usize = 0x10;

pub(super) fn overflow_main() {
    install().unwrap();
    survive_a_fault();
    deeper(0);
}

pub(super) fn overflow_thread() {
    install().unwrap();
    let deep = thread::Builder::new().name("deep".to_owned()).spawn(|| {
        survive_a_fault();
        deeper(0)
    });
    deep.unwrap().join().unwrap();
}

pub(super) fn foreign_fault() {
    install().unwrap();
    survive_a_fault();
    fault();
}

pub(super) fn previous_with_info() {
    extern "C" fn previous(signal: c_int, info: *mut siginfo_t, _: *mut c_void) {
        let addr = faulting_address(info);
        eprintln!("previous handler: signal {signal} at {addr:?}");
        exit(42);
    }
    set(libc::SIGSEGV, info_handler(previous), libc::SA_SIGINFO);
    install().unwrap();
    survive_a_fault();
    fault();
}

pub(super) fn previous_for_bus() {
    static PAGE_AT: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn previous(signal: c_int, info: *mut siginfo_t, _: *mut c_void) {
        let addr = faulting_address(info).addr();
        if addr == PAGE_AT.load(Ordering::Relaxed) {
            eprintln!("previous handler: signal {signal} at the truncated page");
        }
        exit(42);
    }
    set(libc::SIGBUS, info_handler(previous), libc::SA_SIGINFO);
    install().unwrap();
    let file = tempfile::tempfile().unwrap();
    file.set_len(4096).unwrap();
    // SAFETY: a new mapping.
    let page = unsafe {
        mm::mmap(
            ptr::null_mut(),
            PAGE,
            ProtFlags::READ,
            MapFlags::SHARED,
            &file,
            0,
        )
    };
    let page = page.unwrap().cast::<u8>();
    PAGE_AT.store(page.addr(), Ordering::Relaxed);
    file.set_len(0).unwrap();
    let mut byte = 0_u8;
    // SAFETY: 1. the byte is ours; 2. a mapping of ours.
    let outcome = unsafe { copy_foreign(&raw mut byte, page, 1) };
    assert_eq!(outcome.fault, Some(Fault::Source(page.addr())));
    // SAFETY: none: it faults, which is the test.
    unsafe { page.read_volatile() };
}

pub(super) fn previous_without_info() {
    extern "C" fn previous(signal: c_int) {
        eprintln!("old handler: signal {signal}");
        exit(42);
    }
    set(libc::SIGSEGV, plain_handler(previous), 0);
    install().unwrap();
    survive_a_fault();
    fault();
}

pub(super) fn previous_with_mask() {
    static PAGE_AT: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn previous(_: c_int, info: *mut siginfo_t, _: *mut c_void) {
        assert!(is_blocked(libc::SIGUSR1) && is_blocked(libc::SIGSEGV));
        // SAFETY: unblocked here, since the kernel kills a thread that faults with the signal blocked.
        unsafe { change_mask(libc::SIG_UNBLOCK, libc::SIGSEGV) };
        survive_a_fault();
        let addr = faulting_address(info);
        assert_eq!(addr.addr(), PAGE_AT.load(Ordering::Relaxed));
        // SAFETY: the page that the role mapped.
        unsafe { mm::mprotect(addr, PAGE, MprotectFlags::READ) }.unwrap();
    }
    make_room_for_handlers();
    let mut action = action(info_handler(previous), libc::SA_SIGINFO);
    // SAFETY: a valid set and a valid signal.
    unsafe { libc::sigaddset(&raw mut action.sa_mask, libc::SIGUSR1) };
    set_action(libc::SIGSEGV, &action);
    install().unwrap();
    // SAFETY: a new mapping.
    let page =
        unsafe { mm::mmap_anonymous(ptr::null_mut(), PAGE, ProtFlags::empty(), MapFlags::PRIVATE) };
    let page = page.unwrap().cast::<u8>();
    PAGE_AT.store(page.addr(), Ordering::Relaxed);
    // SAFETY: it faults once, then the handler has given it the right.
    assert_eq!(unsafe { page.read_volatile() }, 0);
    assert!(!is_blocked(libc::SIGUSR1) && !is_blocked(libc::SIGSEGV));
    eprintln!("mask as asked, copy stopped, mask restored");
}

pub(super) fn previous_that_copies() {
    extern "C" fn previous(_: c_int, _: *mut siginfo_t, _: *mut c_void) {
        assert!(!is_blocked(libc::SIGSEGV));
        survive_a_fault();
        eprintln!("copied while it handled");
        exit(42);
    }
    make_room_for_handlers();
    let flags = libc::SA_SIGINFO | libc::SA_NODEFER;
    set(libc::SIGSEGV, info_handler(previous), flags);
    install().unwrap();
    fault();
}

pub(super) fn previous_once() {
    extern "C" fn previous(signal: c_int) {
        eprintln!("one handler: signal {signal}");
    }
    set(libc::SIGSEGV, plain_handler(previous), libc::SA_RESETHAND);
    install().unwrap();
    // It returns, the read faults again, and nobody handles it.
    fault();
}

pub(super) fn default_action() {
    set(libc::SIGSEGV, libc::SIG_DFL, 0);
    install().unwrap();
    survive_a_fault();
    fault();
}

pub(super) fn default_action_sent() {
    set(libc::SIGBUS, libc::SIG_DFL, 0);
    install().unwrap();
    survive_a_fault();
    eprintln!("about to send");
    // SAFETY: sends a signal to this thread.
    unsafe { libc::raise(libc::SIGBUS) };
}

pub(super) fn ignored() {
    set(libc::SIGSEGV, libc::SIG_IGN, 0);
    install().unwrap();
    survive_a_fault();
    // SAFETY: sends a signal to this thread.
    unsafe { libc::raise(libc::SIGSEGV) };
    eprintln!("still here");
    fault();
}

pub(super) fn sent_into_copies() {
    static SEEN: AtomicUsize = AtomicUsize::new(0);
    static DONE: AtomicBool = AtomicBool::new(false);
    extern "C" fn previous(_: c_int) {
        SEEN.fetch_add(1, Ordering::Relaxed);
    }
    const SENT: usize = 2_000;
    set(libc::SIGSEGV, plain_handler(previous), 0);
    install().unwrap();
    let copier = thread::spawn(|| {
        let src = vec![0x5a_u8; 1 << 16];
        let mut dst = vec![0_u8; 1 << 16];
        while !DONE.load(Ordering::Relaxed) {
            // SAFETY: two buffers of ours.
            let outcome = unsafe { copy_foreign(dst.as_mut_ptr(), src.as_ptr(), src.len()) };
            assert_eq!((outcome.done, outcome.fault), (src.len(), None));
        }
        assert_eq!(dst, src);
    });
    let target = std::os::unix::thread::JoinHandleExt::as_pthread_t(&copier);
    for sent in 0..SENT {
        // SAFETY: the thread runs until it is told to stop.
        unsafe { libc::pthread_kill(target, libc::SIGSEGV) };
        // Two that wait at once would be one.
        while SEEN.load(Ordering::Relaxed) == sent {
            assert!(!copier.is_finished(), "a copy was not whole");
            thread::yield_now();
        }
    }
    DONE.store(true, Ordering::Relaxed);
    copier.join().unwrap();
    assert_eq!(SEEN.load(Ordering::Relaxed), SENT);
    eprintln!("every copy was whole, the previous handler saw each signal");
}

pub(super) fn replaced() {
    extern "C" fn stranger(_: c_int) {
        exit(1);
    }
    assert!(!handler_is_current());
    install().unwrap();
    assert!(handler_is_current());
    set(libc::SIGSEGV, plain_handler(stranger), 0);
    assert!(!handler_is_current());
    assert_eq!(select(Backend::ProcessVm).unwrap(), Backend::ProcessVm);
    survive_a_fault();
    eprintln!("noticed, and copied without a handler");
}

pub(super) fn before_install() {
    assert_eq!(vread_nofault::backend(), Backend::ProcessVm);
    survive_a_fault();
    // SAFETY: nothing is mapped there.
    let word = unsafe { vread_nofault::load_u64(ptr::without_provenance(NOWHERE)) };
    assert_eq!(word, None);
    eprintln!("stopped without a handler");
}

/// A copy that faults, and must only stop.
fn survive_a_fault() {
    let mut bytes = [0_u8; 64];
    // SAFETY: 1. the bytes are ours; 2. nothing is mapped there.
    let outcome = unsafe { copy_foreign(bytes.as_mut_ptr(), ptr::without_provenance(NOWHERE), 64) };
    assert_eq!(outcome.done, 0);
    assert_eq!(outcome.fault, Some(Fault::Source(NOWHERE)));
}

/// A fault that is none of ours.
fn fault() {
    eprintln!("about to fault");
    let nowhere = black_box(ptr::without_provenance::<u8>(NOWHERE));
    // SAFETY: none: it faults, which is the test.
    unsafe { nowhere.read_volatile() };
}

/// Gives this thread an alternate stack for handlers that fault in their turn. Rust's own holds 8 KiB,
/// and each signal's frame takes 3.4 KB of it where the processor has protection keys, more with AVX-512.
fn make_room_for_handlers() {
    const ROOM: usize = 1 << 18;
    // SAFETY: a new mapping, which nobody else knows and nobody unmaps.
    let room = unsafe {
        mm::mmap_anonymous(
            ptr::null_mut(),
            ROOM,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::PRIVATE,
        )
    };
    let stack = libc::stack_t {
        ss_sp: room.unwrap(),
        ss_flags: 0,
        ss_size: ROOM,
    };
    // SAFETY: the mapping above, and no handler runs now.
    let status = unsafe { libc::sigaltstack(&raw const stack, ptr::null_mut()) };
    assert_eq!(status, 0, "{}", io::Error::last_os_error());
}

/// Ends the process from inside a handler, whose stack is too small for what a proper exit does.
fn exit(code: i32) -> ! {
    // SAFETY: async-signal-safe.
    unsafe { libc::_exit(code) }
}

fn faulting_address(info: *mut siginfo_t) -> *mut c_void {
    // SAFETY: the kernel's, handed on by our handler.
    let info = unsafe { &*info };
    // SAFETY: it is of a fault.
    unsafe { info.si_addr() }
}

#[expect(unconditional_recursion, reason = "to overflow the stack")]
fn deeper(depth: usize) -> usize {
    let room = black_box([depth; 100]);
    deeper(room.len().wrapping_add(depth)).wrapping_add(black_box(room).len())
}

fn set(signal: c_int, handler: usize, flags: c_int) {
    set_action(signal, &action(handler, flags));
}

fn action(handler: usize, flags: c_int) -> libc::sigaction {
    // SAFETY: all-zero is a valid `sigaction`.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    action.sa_sigaction = handler;
    action.sa_flags = flags;
    action
}

fn set_action(signal: c_int, action: &libc::sigaction) {
    // SAFETY: a valid action.
    let status = unsafe { libc::sigaction(signal, action, ptr::null_mut()) };
    assert_eq!(status, 0, "{}", io::Error::last_os_error());
}

#[expect(clippy::as_conversions, reason = "a function's address for sigaction")]
fn info_handler(handler: extern "C" fn(c_int, *mut siginfo_t, *mut c_void)) -> usize {
    handler as usize
}

#[expect(clippy::as_conversions, reason = "a function's address for sigaction")]
fn plain_handler(handler: extern "C" fn(c_int)) -> usize {
    handler as usize
}

fn is_blocked(signal: c_int) -> bool {
    let mut mask = MaybeUninit::uninit();
    // SAFETY: asks only.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, ptr::null(), mask.as_mut_ptr()) };
    // SAFETY: filled in above.
    unsafe { libc::sigismember(mask.as_ptr(), signal) == 1 }
}

/// # Safety
///
/// The thread must bear the change.
unsafe fn change_mask(how: c_int, signal: c_int) {
    // SAFETY: all-zero is a valid set.
    let mut mask: libc::sigset_t = unsafe { MaybeUninit::zeroed().assume_init() };
    // SAFETY: a valid set and a valid signal.
    unsafe { libc::sigaddset(&raw mut mask, signal) };
    // SAFETY: a valid set; the caller bears the change.
    unsafe { libc::pthread_sigmask(how, &raw const mask, ptr::null_mut()) };
}
