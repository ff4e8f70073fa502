use crate::{ByteLen, PhysAddr};

/// The logarithm of [`PAGE_SIZE`].
pub const PAGE_SHIFT: u32 = 12;

/// The bytes of a page. Every x86_64 kernel has pages of 4 KiB.
pub const PAGE_SIZE: ByteLen = ByteLen::new(1 << PAGE_SHIFT);

/// A page frame number: a physical address divided by [`PAGE_SIZE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct Pfn(u64);

impl Pfn {
    /// Wraps a frame number.
    #[must_use]
    pub const fn new(raw: u64) -> Self {
        Self(raw)
    }

    /// The frame number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The frame that holds `addr`.
    #[must_use]
    pub const fn containing(addr: PhysAddr) -> Self {
        Self(addr.get() >> PAGE_SHIFT)
    }

    /// The first byte of the frame, or `None` for a number beyond the 64-bit space.
    #[must_use]
    pub const fn checked_start(self) -> Option<PhysAddr> {
        match self.0.checked_mul(PAGE_SIZE.get()) {
            Some(raw) => Some(PhysAddr::new(raw)),
            None => None,
        }
    }
}

/// A number of pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct PageCount(u64);

impl PageCount {
    /// Wraps a number of pages.
    #[must_use]
    pub const fn new(pages: u64) -> Self {
        Self(pages)
    }

    /// The number of pages.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The pages needed to hold `len` bytes.
    #[must_use]
    pub const fn to_hold(len: ByteLen) -> Self {
        Self(len.get().div_ceil(PAGE_SIZE.get()))
    }

    /// The bytes of so many pages, or `None` past 2^64 - 1.
    #[must_use]
    pub const fn checked_bytes(self) -> Option<ByteLen> {
        PAGE_SIZE.checked_mul(self.0)
    }
}
