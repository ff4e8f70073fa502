//! The handlers of `SIGSEGV` and `SIGBUS`.
#![expect(
    unsafe_code,
    reason = "a signal handler that edits the interrupted registers"
)]

use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use libc::{c_int, c_void, sigaction, siginfo_t, ucontext_t};

use crate::{InstallError, x86_64};

/// A signal of ours, and what was there before.
struct Slot {
    signal: c_int,
    installed: AtomicBool,
    /// A value that lives for ever, or null for the default action.
    previous: AtomicPtr<sigaction>,
}

static SLOTS: [Slot; 2] = [Slot::new(libc::SIGSEGV), Slot::new(libc::SIGBUS)];

/// The page fault, as the signal frame numbers the trap.
const TRAP_PAGE_FAULT: i64 = 14;
/// The bit of a page fault's error code that says: a write.
const PAGE_FAULT_WRITE: i64 = 1 << 1;
/// How many bits an address has with 5 and with 4 levels of page tables. An address that does not extend
/// its top one by sign faults in another way, which tells nothing.
const ADDRESS_BITS: [u32; 2] = [57, 48];
/// `si_code` of a `SIGBUS`: a hardware memory error that the instruction met, see sigaction(2).
const BUS_MCEERR_AR: c_int = 4;
/// `si_code` of a `SIGBUS`: a hardware memory error found ahead of its use.
const BUS_MCEERR_AO: c_int = 5;

impl Slot {
    const fn new(signal: c_int) -> Self {
        Self {
            signal,
            installed: AtomicBool::new(false),
            previous: AtomicPtr::new(ptr::null_mut()),
        }
    }
}

/// Installs both handlers unless they are.
pub(crate) fn install_once() -> Result<(), InstallError> {
    static INSTALLING: Mutex<()> = Mutex::new(());
    // A panic while it was held cannot have left anything half done that the next call does not redo.
    let _one_at_a_time = INSTALLING
        .lock()
        .unwrap_or_else(|poison| poison.into_inner());
    for slot in &SLOTS {
        if !slot.installed.load(Ordering::Acquire) {
            install(slot).map_err(|source| InstallError::Sigaction {
                signal: slot.signal,
                source,
            })?;
        }
    }
    Ok(())
}

/// Whether both handlers are the ones that the kernel calls.
pub(crate) fn is_current() -> bool {
    SLOTS
        .iter()
        .all(|slot| current(slot.signal).is_ok_and(|action| action.sa_sigaction == our_handler()))
}

fn install(slot: &Slot) -> io::Result<()> {
    // The handler may run at once, so what it chains to stands before.
    let before = current(slot.signal)?;
    let kept = Box::leak(Box::new(before));
    slot.previous.store(kept, Ordering::Release);

    // SAFETY: all-zero is a valid `sigaction`: no flags, an empty mask.
    let mut action: sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    action.sa_sigaction = our_handler();
    // ONSTACK: a stack overflow comes through here on its way to Rust's handler, and needs a stack.
    // NODEFER: the handler we chain to may itself copy foreign memory, and fault.
    // RESTART is as it was, for signals that are sent and not raised by a fault.
    action.sa_flags = libc::SA_SIGINFO
        | libc::SA_ONSTACK
        | libc::SA_NODEFER
        | (before.sa_flags & libc::SA_RESTART);
    let mut replaced = before;
    // SAFETY: both point to valid values; our handler is async-signal-safe.
    let status = unsafe { libc::sigaction(slot.signal, &raw const action, &raw mut replaced) };
    if status != 0 {
        return Err(io::Error::last_os_error());
    }
    slot.installed.store(true, Ordering::Release);
    if replaced.sa_sigaction != before.sa_sigaction {
        // Another thread installed its own between our two calls: that is the one to chain to.
        slot.previous
            .store(Box::leak(Box::new(replaced)), Ordering::Release);
    }
    Ok(())
}

fn current(signal: c_int) -> io::Result<sigaction> {
    let mut action = MaybeUninit::uninit();
    // SAFETY: asks only; the result goes to memory of the right form.
    let status = unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) };
    if status != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so it was filled in.
    Ok(unsafe { action.assume_init() })
}

type Handler = extern "C" fn(c_int, *mut siginfo_t, *mut c_void);

#[expect(
    clippy::as_conversions,
    reason = "there is no other way from a function pointer to the field that holds it"
)]
fn our_handler() -> usize {
    let handler: Handler = on_fault;
    // A function's address is what `sigaction` wants in this field.
    handler as usize
}

extern "C" fn on_fault(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel hands a valid `siginfo_t` to a handler with SA_SIGINFO.
    let code = unsafe { (*info).si_code };
    // SAFETY: the kernel hands a valid `ucontext_t` likewise, and nobody else uses it.
    let context = unsafe { &mut *context.cast::<ucontext_t>() };
    if !is_fault(signal, code) || !land(signal, code, context) {
        chain(signal, code, info, context);
    }
}

/// Whether the signal was raised by the instruction it interrupted. What somebody sent (a code of 0 or
/// less), and a memory error reported ahead of its use, only happen to arrive here.
fn is_fault(signal: c_int, code: c_int) -> bool {
    code > 0 && !(signal == libc::SIGBUS && code == BUS_MCEERR_AO)
}

/// Lets the interrupted copy go on at its landing. `false` if it is no copy of ours.
fn land(signal: c_int, code: c_int, context: &mut ucontext_t) -> bool {
    let registers = &mut context.uc_mcontext.gregs;
    let Some(landing) = register(registers, libc::REG_RIP)
        .map(|ip| *ip)
        .and_then(|ip| usize::try_from(ip).ok())
        .and_then(x86_64::landing_of)
        .and_then(|landing| i64::try_from(landing).ok())
    else {
        return false;
    };
    let side = if signal == libc::SIGBUS && code == BUS_MCEERR_AR {
        x86_64::FAULT_READ
    } else {
        faulted_side(registers)
    };
    for (which, value) in [(libc::REG_RDX, side), (libc::REG_RIP, landing)] {
        if let Some(register) = register(registers, which) {
            *register = value;
        }
    }
    true
}

/// Which side of a copy faulted.
fn faulted_side(registers: &mut Registers) -> i64 {
    let mut value = |which| register(registers, which).map_or(0, |value| *value);
    if value(libc::REG_TRAPNO) == TRAP_PAGE_FAULT {
        return if value(libc::REG_ERR) & PAGE_FAULT_WRITE == 0 {
            x86_64::FAULT_READ
        } else {
            x86_64::FAULT_WRITE
        };
    }
    let (src, dst) = (value(libc::REG_RSI), value(libc::REG_RDI));
    for bits in ADDRESS_BITS {
        if !is_canonical(src, bits) {
            return x86_64::FAULT_READ;
        }
        if !is_canonical(dst, bits) {
            return x86_64::FAULT_WRITE;
        }
    }
    x86_64::FAULT_READ
}

type Registers = [i64; 23];

fn register(registers: &mut Registers, which: c_int) -> Option<&mut i64> {
    usize::try_from(which)
        .ok()
        .and_then(|at| registers.get_mut(at))
}

fn is_canonical(address: i64, bits: u32) -> bool {
    let spare = i64::BITS.wrapping_sub(bits);
    address.wrapping_shl(spare).wrapping_shr(spare) == address
}

/// Does what would have happened without us.
fn chain(signal: c_int, code: c_int, info: *mut siginfo_t, context: &mut ucontext_t) {
    let Some(slot) = SLOTS.iter().find(|slot| slot.signal == signal) else {
        return;
    };
    let previous = slot.previous.load(Ordering::Acquire);
    // SAFETY: null, or a value that was leaked for this.
    let Some(previous) = (unsafe { previous.as_ref() }) else {
        return die(signal, code);
    };
    match previous.sa_sigaction {
        // A fault cannot be ignored: the kernel, too, takes the default action then.
        libc::SIG_IGN if code <= 0 => {}
        libc::SIG_IGN | libc::SIG_DFL => die(signal, code),
        _ => call(previous, slot, info, context),
    }
}

/// Takes the default action: the fault happens again as soon as we return; a signal that somebody sent
/// is sent again.
fn die(signal: c_int, code: c_int) {
    // SAFETY: all-zero is a valid `sigaction`, and is the default action.
    let default: sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    // SAFETY: the value is valid; the call is async-signal-safe.
    let _always_valid = unsafe { libc::sigaction(signal, &raw const default, ptr::null_mut()) };
    if !is_fault(signal, code) {
        // SAFETY: async-signal-safe.
        let _always_valid = unsafe { libc::raise(signal) };
    }
}

/// Calls the handler that was there before, under the mask that it asked for.
fn call(previous: &sigaction, slot: &Slot, info: *mut siginfo_t, context: &mut ucontext_t) {
    let mut mask = previous.sa_mask;
    if previous.sa_flags & libc::SA_NODEFER == 0 {
        // SAFETY: a valid set and a valid signal.
        let _always_valid = unsafe { libc::sigaddset(&raw mut mask, slot.signal) };
    }
    if previous.sa_flags & libc::SA_RESETHAND != 0 {
        slot.previous.store(ptr::null_mut(), Ordering::Release);
    }
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: both sets are valid; the call is async-signal-safe.
    let masked =
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const mask, before.as_mut_ptr()) }
            == 0;
    if previous.sa_flags & libc::SA_SIGINFO != 0 {
        // SAFETY: with this flag the field holds a function of this type.
        let handler = unsafe { std::mem::transmute::<usize, Handler>(previous.sa_sigaction) };
        handler(slot.signal, info, ptr::from_mut(context).cast());
    } else {
        // SAFETY: without the flag, and being neither default nor ignore, it holds one of this type.
        let handler =
            unsafe { std::mem::transmute::<usize, extern "C" fn(c_int)>(previous.sa_sigaction) };
        handler(slot.signal);
    }
    if masked {
        // SAFETY: the set was filled in above; the call is async-signal-safe.
        let _always_valid =
            unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut()) };
    }
}
