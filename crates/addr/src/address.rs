use core::fmt;

use crate::{ByteLen, PAGE_SIZE};

/// What [`VirtAddr`], [`PhysAddr`] and [`FileOffset`] have in common: a position that moves by a
/// [`ByteLen`].
///
/// Generic code such as [`AddrRange`](crate::AddrRange) needs it; other code names the type.
pub trait Address: Copy + Ord + fmt::Debug + fmt::LowerHex {
    /// The position that is `len` bytes further up, or `None` past 2^64 - 1.
    #[must_use]
    fn checked_add(self, len: ByteLen) -> Option<Self>;
    /// The position that is `len` bytes further down, or `None` below 0.
    #[must_use]
    fn checked_sub(self, len: ByteLen) -> Option<Self>;
    /// How many bytes `self` lies above `base`, or `None` if it lies below.
    #[must_use]
    fn checked_offset_from(self, base: Self) -> Option<ByteLen>;
}

macro_rules! address {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        #[repr(transparent)]
        pub struct $name(u64);

        impl $name {
            /// Wraps a raw value; every value is allowed.
            #[must_use]
            pub const fn new(raw: u64) -> Self {
                Self(raw)
            }

            /// The raw value.
            #[must_use]
            pub const fn get(self) -> u64 {
                self.0
            }

            /// The position that is `len` bytes further up, or `None` past 2^64 - 1.
            #[must_use]
            pub const fn checked_add(self, len: ByteLen) -> Option<Self> {
                match self.0.checked_add(len.get()) {
                    Some(raw) => Some(Self(raw)),
                    None => None,
                }
            }

            /// The position that is `len` bytes further down, or `None` below 0.
            #[must_use]
            pub const fn checked_sub(self, len: ByteLen) -> Option<Self> {
                match self.0.checked_sub(len.get()) {
                    Some(raw) => Some(Self(raw)),
                    None => None,
                }
            }

            /// The position that is `len` bytes further up, modulo 2^64. Callers say why they wrap.
            #[must_use]
            pub const fn wrapping_add(self, len: ByteLen) -> Self {
                Self(self.0.wrapping_add(len.get()))
            }

            /// The distance from `base` up to `self`, modulo 2^64. Callers say why they wrap.
            #[must_use]
            pub const fn wrapping_offset_from(self, base: Self) -> ByteLen {
                ByteLen::new(self.0.wrapping_sub(base.0))
            }

            /// How many bytes `self` lies above `base`, or `None` if it lies below.
            #[must_use]
            pub const fn checked_offset_from(self, base: Self) -> Option<ByteLen> {
                match self.0.checked_sub(base.0) {
                    Some(len) => Some(ByteLen::new(len)),
                    None => None,
                }
            }

            /// How many bytes lie from here to the end of the 64-bit space, less one where that
            /// number (2^64, at address 0) has no representation.
            #[must_use]
            pub const fn bytes_to_top(self) -> ByteLen {
                match 0_u64.wrapping_sub(self.0) {
                    0 => ByteLen::new(u64::MAX),
                    len => ByteLen::new(len),
                }
            }

            /// The start of the page that holds this position.
            #[must_use]
            pub const fn page_start(self) -> Self {
                Self(self.0 & !PAGE_SIZE.low_mask())
            }

            /// The position inside its page, below [`PAGE_SIZE`].
            #[must_use]
            pub const fn page_offset(self) -> ByteLen {
                ByteLen::new(self.0 & PAGE_SIZE.low_mask())
            }

            /// Whether this is the first byte of a page.
            #[must_use]
            pub const fn is_page_aligned(self) -> bool {
                self.page_offset().is_zero()
            }

            /// This position rounded up to a multiple of `align`, which is a power of two, or `None` past
            /// the last such multiple.
            #[must_use]
            pub const fn checked_align_up(self, align: ByteLen) -> Option<Self> {
                match self.0.checked_add(align.low_mask()) {
                    Some(raw) => Some(Self(raw & !align.low_mask())),
                    None => None,
                }
            }

            /// This position rounded up to a page, or `None` past the last page.
            #[must_use]
            pub const fn checked_page_align_up(self) -> Option<Self> {
                match self.0.checked_add(PAGE_SIZE.low_mask()) {
                    Some(raw) => Some(Self(raw & !PAGE_SIZE.low_mask())),
                    None => None,
                }
            }
        }

        impl Address for $name {
            fn checked_add(self, len: ByteLen) -> Option<Self> {
                self.checked_add(len)
            }
            fn checked_sub(self, len: ByteLen) -> Option<Self> {
                self.checked_sub(len)
            }
            fn checked_offset_from(self, base: Self) -> Option<ByteLen> {
                self.checked_offset_from(base)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:#x})"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }

        impl fmt::LowerHex for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::LowerHex::fmt(&self.0, f)
            }
        }
    };
}

address! {
    /// A virtual address of the target's kernel (or, for a process, of that process). It may be
    /// anything, canonical or not: it says where somebody wants to look, not that something is there.
    VirtAddr
}

address! {
    /// A physical address as the target machine sees it (guest-physical for a guest).
    PhysAddr
}

address! {
    /// A position in a file.
    FileOffset
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOP: VirtAddr = VirtAddr::new(u64::MAX);

    #[test]
    fn moves_only_within_the_space() {
        let len = ByteLen::new;
        assert_eq!(TOP.checked_add(len(0)), Some(TOP));
        assert_eq!(TOP.checked_add(len(1)), None);
        assert_eq!(VirtAddr::new(5).checked_sub(len(5)), Some(VirtAddr::new(0)));
        assert_eq!(VirtAddr::new(5).checked_sub(len(6)), None);
        assert_eq!(VirtAddr::new(5).checked_offset_from(VirtAddr::new(6)), None);
        assert_eq!(TOP.wrapping_add(len(3)), VirtAddr::new(2));
        assert_eq!(VirtAddr::new(2).wrapping_offset_from(TOP), len(3));
    }

    #[test]
    fn counts_the_bytes_to_the_top() {
        assert_eq!(TOP.bytes_to_top(), ByteLen::new(1));
        assert_eq!(VirtAddr::new(u64::MAX - 4095).bytes_to_top(), PAGE_SIZE);
        // 2^64 has no representation.
        assert_eq!(VirtAddr::new(0).bytes_to_top(), ByteLen::new(u64::MAX));
    }

    #[test]
    fn aligns_up_to_a_power_of_two() {
        let align = |addr: u64, align: u64| {
            let aligned = VirtAddr::new(addr).checked_align_up(ByteLen::new(align));
            aligned.map(VirtAddr::get)
        };
        assert_eq!(align(0, 8), Some(0));
        assert_eq!(align(1, 8), Some(8));
        assert_eq!(align(8, 8), Some(8));
        assert_eq!(align(5, 1), Some(5));
        assert_eq!(align(u64::MAX - 7, 8), Some(u64::MAX - 7));
        assert_eq!(align(u64::MAX - 6, 8), None);
        let page = |addr: u64| {
            VirtAddr::new(addr)
                .checked_page_align_up()
                .map(VirtAddr::get)
        };
        assert_eq!((page(1), page(4096)), (Some(4096), Some(4096)));
        assert_eq!(page(u64::MAX - 4094), None);
    }
}
