//! The range of addresses that areas are mapped into.
#![expect(
    unsafe_code,
    reason = "reserves a range of addresses, and maps and unmaps parts of it"
)]

use std::os::fd::BorrowedFd;
use std::ptr::{self, NonNull};

use rustix::io::{Errno, Result};
use rustix::mm::{self, MapFlags, ProtFlags};
use vread_addr::{ByteLen, FileOffset, VirtAddr, VirtRange};

/// A range that is ours, without access but where something was [placed](Self::place).
///
/// # Invariants
///
/// `[base, base + len)` is whole pages of a mapping of our own, parts of which are replaced and none of
/// which goes away before this does. No reference to it is ever made here.
#[derive(Debug)]
pub(crate) struct Window {
    base: NonNull<u8>,
    len: usize,
    range: VirtRange,
}

// SAFETY: mapping and unmapping are system calls, which any thread may make.
unsafe impl Send for Window {}
// SAFETY: likewise, at the same time.
unsafe impl Sync for Window {}

impl Window {
    /// Reserves `len` bytes, a multiple of the page size.
    pub(crate) fn reserve(len: ByteLen) -> Result<Self> {
        let size = len
            .to_usize()
            .filter(|size| *size != 0)
            .ok_or(Errno::NOMEM)?;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a new mapping, at an address that the kernel chooses.
        let base = unsafe { mm::mmap_anonymous(ptr::null_mut(), size, ProtFlags::empty(), flags) }?;
        let base = NonNull::new(base.cast::<u8>()).ok_or(Errno::NOMEM)?;
        // Its parts are handed out as pointers, so that its address may be known.
        let start = ByteLen::from_usize(base.as_ptr().expose_provenance());
        let range = VirtRange::from_len(VirtAddr::new(start.get()), len).ok_or(Errno::NOMEM)?;
        Ok(Self {
            base,
            len: size,
            range,
        })
    }

    pub(crate) fn range(&self) -> VirtRange {
        self.range
    }

    /// The byte at `addr`.
    pub(crate) fn as_ptr(&self, addr: VirtAddr) -> Option<*mut u8> {
        let offset = addr.checked_offset_from(self.range.start())?.to_usize()?;
        (offset < self.len).then(|| self.base.as_ptr().wrapping_add(offset))
    }

    /// Puts the bytes of `file` from `offset` on at `range`, to read and to write.
    pub(crate) fn place(
        &self,
        range: VirtRange,
        file: BorrowedFd<'_>,
        offset: FileOffset,
    ) -> Result<()> {
        let (at, len) = self.part(range)?;
        let rights = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::SHARED | MapFlags::FIXED;
        // SAFETY: replaces a part of our own mapping, which `part` checked. Whoever has pointers into it
        //         was told that they end with the area; nobody has them yet to a new one.
        unsafe { mm::mmap(at.cast(), len, rights, flags, file, offset.get()) }?;
        Ok(())
    }

    /// Takes all access to `range` away.
    pub(crate) fn clear(&self, range: VirtRange) -> Result<()> {
        let (at, len) = self.part(range)?;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED;
        // SAFETY: replaces a part of our own mapping, which `part` checked. An access through a pointer that
        //         somebody kept traps from now on, and reaches nobody else's memory.
        unsafe { mm::mmap_anonymous(at.cast(), len, ProtFlags::empty(), flags) }?;
        Ok(())
    }

    fn part(&self, range: VirtRange) -> Result<(*mut u8, usize)> {
        let inside = self.range.contains_range(&range);
        let aligned = range.start().is_page_aligned() && range.end().is_page_aligned();
        let at = self.as_ptr(range.start()).filter(|_| inside && aligned);
        let len = range.len().to_usize().filter(|len| *len != 0);
        at.zip(len).ok_or(Errno::INVAL)
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // SAFETY: our own mapping, whose pointers end with the arena.
        let _cannot_fail = unsafe { mm::munmap(self.base.as_ptr().cast(), self.len) };
    }
}
