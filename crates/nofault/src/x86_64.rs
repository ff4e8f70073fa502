//! The instructions that may fault, and the table that tells the handler where each one lands.
#![expect(
    unsafe_code,
    reason = "the copies are assembly: a fault in compiled code could not be resumed"
)]

use core::arch::asm;
use core::ops::Range;

use crate::{CopyOutcome, Fault};

/// From this length on `rep movsb` is faster than a loop, on processors that have the fast kind of it
/// (measured on AMD EPYC 9005: equal at 1 KiB, and no slower than `memcpy` from 4 KiB on).
const STRING_FROM: usize = 1 << 10;

/// Lengths for which a loop of 64 bytes at a time is faster than both, on processors that have it (measured on Intel
/// Xeon of the fifth generation: 1 KiB in 0.6 of the time of `rep movsb`, 4 KiB in 0.8).
const WIDE: Range<usize> = 256..8 << 10;

/// One row of the table: a fault at an instruction in `[start, end)` goes on at `landing`, with the side
/// that faulted in `edx`. The numbers are distances from where they stand, so that the table needs no
/// relocation in a program that may lie anywhere.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Landing {
    start: i32,
    end: i32,
    landing: i32,
}

/// What the handler leaves in `edx`.
pub(crate) const FAULT_READ: i64 = 1;
/// What the handler leaves in `edx`.
pub(crate) const FAULT_WRITE: i64 = 2;

/// A row of the table, for labels of the assembly it stands in.
macro_rules! landing {
    ($start:literal .. $end:literal => $landing:literal) => {
        concat!(
            // "R": the linker keeps the rows though only the table's ends are named.
            ".pushsection vread_nofault_landings, \"aR\", @progbits\n",
            ".balign 4\n",
            ".long ",
            $start,
            " - .\n",
            ".long ",
            $end,
            " - .\n",
            ".long ",
            $landing,
            " - .\n",
            ".popsection",
        )
    };
}

/// Copies, stopping at the first byte that faults.
///
/// # Safety
///
/// 1. The destination is the caller's to overwrite.
/// 2. The source may be read.
/// 3. The fault handlers are installed.
#[inline]
pub(crate) unsafe fn copy(dst: *mut u8, src: *const u8, len: usize) -> CopyOutcome {
    let (left, side) = if WIDE.contains(&len) && is_x86_feature_detected!("avx512f") {
        // SAFETY: the caller's promises, unchanged, and the processor and its system have the registers.
        unsafe { copy_aligned(dst, src, len) }
    } else if len < STRING_FROM || !is_x86_feature_detected!("ermsb") {
        // SAFETY: the caller's promises, unchanged.
        unsafe { copy_steps(dst, src, len) }
    } else {
        // SAFETY: the caller's promises, unchanged.
        unsafe { copy_string(dst, src, len) }
    };
    let done = len.wrapping_sub(left);
    let fault = match i64::from(side) {
        _ if left == 0 => None,
        FAULT_READ => Some(Fault::Source(src.addr().wrapping_add(done))),
        _ => Some(Fault::Destination(dst.addr().wrapping_add(done))),
    };
    CopyOutcome { done, fault }
}

/// Copies by 32 bytes, then by 8, then by 1; a fault under more than 1 byte falls back to 1, which is
/// exact. Returns the bytes left and the side that faulted.
#[inline]
unsafe fn copy_steps(dst: *mut u8, src: *const u8, len: usize) -> (usize, u32) {
    let (left, side): (usize, u32);
    // SAFETY: reads `[src, src + len)` and writes `[dst, dst + len)`, which the caller allows; a fault
    //         lands inside the block, where only registers named as outputs have changed.
    unsafe {
        asm!(
            "cmp rcx, 32",
            "jb 3f",
            "2: movups {low}, [rsi]",
            "movups {high}, [rsi + 16]",
            "movups [rdi], {low}",
            "movups [rdi + 16], {high}",
            "add rsi, 32",
            "add rdi, 32",
            "sub rcx, 32",
            "cmp rcx, 32",
            "jae 2b",
            "3: cmp rcx, 8",
            "jb 5f",
            "4: mov rax, [rsi]",
            "mov [rdi], rax",
            "add rsi, 8",
            "add rdi, 8",
            "sub rcx, 8",
            "cmp rcx, 8",
            "jae 4b",
            "5: test rcx, rcx",
            "jz 7f",
            "6: mov al, [rsi]",
            "mov [rdi], al",
            "inc rsi",
            "inc rdi",
            "dec rcx",
            "jnz 6b",
            "7:",
            landing!("2b" .. "5b" => "6b"),
            landing!("6b" .. "7b" => "7b"),
            low = out(xmm_reg) _,
            high = out(xmm_reg) _,
            inout("rsi") src => _,
            inout("rdi") dst => _,
            inout("rcx") len => left,
            inout("edx") 0_u32 => side,
            out("rax") _,
            options(nostack),
        );
    }
    (left, side)
}

/// Copies by [`copy_wide`] what lies between multiples of 64 in the destination, and the rest by [`copy_steps`], as what
/// faulted: no step overlaps another, which would write bytes that a fault does not count. Returns the bytes left and
/// the side that faulted.
#[inline]
unsafe fn copy_aligned(dst: *mut u8, src: *const u8, len: usize) -> (usize, u32) {
    // WRAP: all of these are parts of `len`.
    let head = (dst.addr().wrapping_neg() % 64).min(len);
    // SAFETY: a part of what the caller allows.
    let (left, side) = unsafe { copy_steps(dst, src, head) };
    if left != 0 {
        return (len.wrapping_sub(head).wrapping_add(left), side);
    }
    let (from, to) = (src.wrapping_add(head), dst.wrapping_add(head));
    // SAFETY: a part of what the caller allows.
    let left = unsafe { copy_wide(to, from, len.wrapping_sub(head)) };
    let done = len.wrapping_sub(left);
    // SAFETY: a part of what the caller allows.
    unsafe { copy_steps(dst.wrapping_add(done), src.wrapping_add(done), left) }
}

/// Copies whole 64 bytes, four of them in a step, to a destination that is a multiple of 64. Returns the bytes left:
/// those behind the last whole 64, or from the start of a step that faulted on.
///
/// The registers are some of those that need no `vzeroupper`.
#[inline]
unsafe fn copy_wide(dst: *mut u8, src: *const u8, len: usize) -> usize {
    let left: usize;
    // SAFETY: reads `[src, src + len)` and writes `[dst, dst + len)`, which the caller allows; a fault
    //         lands inside the block, where only registers named as outputs have changed.
    unsafe {
        asm!(
            "cmp rcx, 256",
            "jb 3f",
            "2: vmovdqu64 zmm16, [rsi]",
            "vmovdqu64 zmm17, [rsi + 64]",
            "vmovdqu64 zmm18, [rsi + 128]",
            "vmovdqu64 zmm19, [rsi + 192]",
            "vmovdqu64 [rdi], zmm16",
            "vmovdqu64 [rdi + 64], zmm17",
            "vmovdqu64 [rdi + 128], zmm18",
            "vmovdqu64 [rdi + 192], zmm19",
            "add rsi, 256",
            "add rdi, 256",
            "sub rcx, 256",
            "cmp rcx, 256",
            "jae 2b",
            "3: cmp rcx, 64",
            "jb 5f",
            "4: vmovdqu64 zmm16, [rsi]",
            "vmovdqu64 [rdi], zmm16",
            "add rsi, 64",
            "add rdi, 64",
            "sub rcx, 64",
            "cmp rcx, 64",
            "jae 4b",
            "5:",
            landing!("2b" .. "5b" => "5b"),
            inout("rsi") src => _,
            inout("rdi") dst => _,
            inout("rcx") len => left,
            // Who faulted is found out by the copy of what is left.
            out("edx") _,
            out("zmm16") _,
            out("zmm17") _,
            out("zmm18") _,
            out("zmm19") _,
            options(nostack),
        );
    }
    left
}

/// Copies by `rep movsb`, whose registers are exact at a fault. Returns the bytes left and the side that
/// faulted.
#[inline]
unsafe fn copy_string(dst: *mut u8, src: *const u8, len: usize) -> (usize, u32) {
    let (left, side): (usize, u32);
    // SAFETY: reads `[src, src + len)` and writes `[dst, dst + len)`, which the caller allows; a fault
    //         lands inside the block, where only registers named as outputs have changed.
    unsafe {
        asm!(
            "2: rep movsb",
            "3:",
            landing!("2b" .. "3b" => "3b"),
            inout("rsi") src => _,
            inout("rdi") dst => _,
            inout("rcx") len => left,
            inout("edx") 0_u32 => side,
            options(nostack, preserves_flags),
        );
    }
    (left, side)
}

/// Writes zeros, stopping at the first byte that faults.
///
/// # Safety
///
/// 1. The destination is the caller's to overwrite.
/// 2. The fault handlers are installed.
#[inline]
pub(crate) unsafe fn zero(dst: *mut u8, len: usize) -> CopyOutcome {
    let left: usize;
    // SAFETY: writes `[dst, dst + len)`, which the caller allows; a fault lands inside the block, where
    //         only registers named as outputs have changed.
    unsafe {
        asm!(
            "2: rep stosb",
            "3:",
            landing!("2b" .. "3b" => "3b"),
            inout("rdi") dst => _,
            inout("rcx") len => left,
            inout("edx") 0_u32 => _,
            in("al") 0_u8,
            options(nostack, preserves_flags),
        );
    }
    let done = len.wrapping_sub(left);
    CopyOutcome {
        done,
        fault: (left != 0).then(|| Fault::Destination(dst.addr().wrapping_add(done))),
    }
}

/// Loads 8 bytes, or `None` at a fault.
///
/// # Safety
///
/// 1. The source may be read.
/// 2. The fault handlers are installed.
#[inline]
pub(crate) unsafe fn load_u64(src: *const u64) -> Option<u64> {
    let (value, side): (u64, u32);
    // SAFETY: reads `[src, src + 8)`, which the caller allows; a fault lands inside the block, where only
    //         registers named as outputs have changed.
    unsafe {
        asm!(
            "2: mov {value}, [{src}]",
            "3:",
            landing!("2b" .. "3b" => "3b"),
            src = in(reg) src,
            value = out(reg) value,
            inout("edx") 0_u32 => side,
            options(nostack, preserves_flags, readonly),
        );
    }
    (side == 0).then_some(value)
}

/// Whether the byte can be written; leaves it as it is, whoever else writes it meanwhile.
///
/// # Safety
///
/// 1. The byte is the caller's to overwrite.
/// 2. The fault handlers are installed.
pub(crate) unsafe fn probe_write(dst: *mut u8) -> bool {
    let side: u32;
    // SAFETY: writes the byte, which the caller allows, with its own value; a fault lands inside the
    //         block, where only registers named as outputs have changed.
    unsafe {
        asm!(
            "2: lock or byte ptr [{dst}], 0",
            "3:",
            landing!("2b" .. "3b" => "3b"),
            dst = in(reg) dst,
            inout("edx") 0_u32 => side,
            options(nostack),
        );
    }
    side == 0
}

/// Where an instruction of ours that faulted at `ip` goes on, or `None` if it is not ours. Touches
/// nothing but the table.
pub(crate) fn landing_of(ip: usize) -> Option<usize> {
    let (mut row, end): (*const Landing, *const Landing);
    // SAFETY: two address computations. The empty row makes the linker define the table's ends even in
    //         a program that keeps none of the copies.
    unsafe {
        asm!(
            ".hidden __start_vread_nofault_landings",
            ".hidden __stop_vread_nofault_landings",
            "lea {row}, [rip + __start_vread_nofault_landings]",
            "lea {end}, [rip + __stop_vread_nofault_landings]",
            "2:",
            landing!("2b" .. "2b" => "2b"),
            row = out(reg) row,
            end = out(reg) end,
            options(nomem, nostack, preserves_flags),
        );
    }
    while row < end {
        // SAFETY: the linker laid rows of this form between the table's ends; they are never written.
        let entry = unsafe { &*row };
        // WRAP: distances inside one program, which may be negative.
        let at = |distance: &i32| {
            core::ptr::from_ref(distance)
                .addr()
                .wrapping_add_signed(isize::try_from(*distance).unwrap_or_default())
        };
        if (at(&entry.start)..at(&entry.end)).contains(&ip) {
            return Some(at(&entry.landing));
        }
        row = row.wrapping_add(1);
    }
    None
}
