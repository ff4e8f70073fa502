use core::fmt;

use crate::{Address, ByteLen, FileOffset, PhysAddr, VirtAddr};

/// A half-open range `[start, end)` of one kind of address.
///
/// Sources that print a last byte (such as `/proc/iomem`) are converted where they are parsed.
///
/// # Invariants
///
/// `start <= end`. A range cannot reach the very last byte of the 64-bit space, whose end has no
/// representation; nothing a kernel maps ends there.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct AddrRange<A> {
    start: A,
    end: A,
}

/// A range of virtual addresses.
pub type VirtRange = AddrRange<VirtAddr>;
/// A range of physical addresses.
pub type PhysRange = AddrRange<PhysAddr>;
/// A range of file positions.
pub type FileRange = AddrRange<FileOffset>;

impl<A: Address> AddrRange<A> {
    /// The range `[start, end)`, or `None` if `end` lies below `start`.
    #[must_use]
    pub fn new(start: A, end: A) -> Option<Self> {
        // INVARIANT: checked here.
        (start <= end).then_some(Self { start, end })
    }

    /// The `len` bytes from `start`, or `None` if they reach the top of the 64-bit space.
    #[must_use]
    pub fn from_len(start: A, len: ByteLen) -> Option<Self> {
        // INVARIANT: adding never lowers an address.
        start.checked_add(len).map(|end| Self { start, end })
    }

    /// The first position.
    #[must_use]
    pub fn start(&self) -> A {
        self.start
    }

    /// The position after the last one.
    #[must_use]
    pub fn end(&self) -> A {
        self.end
    }

    /// How many bytes the range has.
    #[must_use]
    pub fn len(&self) -> ByteLen {
        self.end.checked_offset_from(self.start).unwrap_or_default()
    }

    /// Whether the range has no byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Whether `addr` lies in the range.
    #[must_use]
    pub fn contains(&self, addr: A) -> bool {
        self.start <= addr && addr < self.end
    }

    /// Whether all of `other` lies in the range. An empty `other` does if its start is in
    /// `[start, end]`.
    #[must_use]
    pub fn contains_range(&self, other: &Self) -> bool {
        self.start <= other.start && other.end <= self.end
    }

    /// The bytes that both ranges have, or `None` if there is none.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        let start = self.start.max(other.start);
        let end = self.end.min(other.end);
        (start < end).then_some(Self { start, end })
    }

    /// How many bytes lie from `addr` to the end of the range; 0 outside of it.
    #[must_use]
    pub fn len_from(&self, addr: A) -> ByteLen {
        if addr < self.start {
            return ByteLen::ZERO;
        }
        self.end.checked_offset_from(addr).unwrap_or_default()
    }
}

impl<A: fmt::LowerHex> fmt::Debug for AddrRange<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{:#x}, {:#x})", self.start, self.end)
    }
}

impl<A: fmt::LowerHex> fmt::Display for AddrRange<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}..{:#x}", self.start, self.end)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_range() -> impl Strategy<Value = VirtRange> {
        (any::<u64>(), any::<u64>()).prop_map(|(a, b)| {
            VirtRange::new(VirtAddr::new(a.min(b)), VirtAddr::new(a.max(b))).unwrap()
        })
    }

    #[test]
    fn refuses_an_end_below_the_start() {
        assert_eq!(VirtRange::new(VirtAddr::new(1), VirtAddr::new(0)), None);
    }

    #[test]
    fn refuses_a_length_that_wraps() {
        let top = VirtAddr::new(u64::MAX);
        assert_eq!(VirtRange::from_len(top, ByteLen::new(1)), None);
        assert!(VirtRange::from_len(top, ByteLen::ZERO).is_some());
    }

    #[test]
    fn ends_before_its_end() {
        let range = VirtRange::new(VirtAddr::new(4), VirtAddr::new(8)).unwrap();
        assert!(range.contains(VirtAddr::new(4)));
        assert!(range.contains(VirtAddr::new(7)));
        assert!(!range.contains(VirtAddr::new(8)));
        assert!(!range.contains(VirtAddr::new(3)));
    }

    proptest! {
        #[test]
        fn intersection_holds_exactly_the_shared_addresses(a in any_range(), b in any_range(), at in any::<u64>()) {
            let at = VirtAddr::new(at);
            let both = a.contains(at) && b.contains(at);
            prop_assert_eq!(a.intersection(&b).is_some_and(|i| i.contains(at)), both);
        }

        #[test]
        fn length_from_an_address_reaches_the_end(range in any_range(), at in any::<u64>()) {
            let at = VirtAddr::new(at);
            let left = range.len_from(at);
            prop_assert_eq!(!left.is_zero(), range.contains(at));
            if range.contains(at) {
                prop_assert_eq!(at.checked_add(left), Some(range.end()));
            }
        }

        #[test]
        fn page_start_and_offset_rebuild_the_address(raw in any::<u64>()) {
            let at = VirtAddr::new(raw);
            prop_assert!(at.page_start().is_page_aligned());
            prop_assert_eq!(at.page_start().checked_add(at.page_offset()), Some(at));
        }
    }
}
