use vread_addr::{ByteLen, VirtAddr};

/// How an architecture turns virtual addresses into file offsets behind the header (E9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetRule {
    /// x86_64: the low `bits` bits of the address; 47 with 4 levels of page tables, 56 with 5.
    LowBits(u32),
    /// The generic rule, arm64's: the distance from the start of the kernel's half.
    FromBase(VirtAddr),
}

impl OffsetRule {
    /// x86_64 with 4 levels of page tables.
    pub const X86_64_4_LEVEL: Self = Self::LowBits(47);
    /// x86_64 with 5 levels of page tables.
    pub const X86_64_5_LEVEL: Self = Self::LowBits(56);

    /// The offset of `addr` in the data part of the file: Linux's `kc_vaddr_to_offset`.
    #[must_use]
    pub fn to_offset(self, addr: VirtAddr) -> ByteLen {
        match self {
            Self::LowBits(bits) => ByteLen::new(addr.get() & low_mask(bits)),
            // WRAP: as the kernel computes it; addresses below the base give offsets near 2^64.
            Self::FromBase(base) => addr.wrapping_offset_from(base),
        }
    }

    /// The address at `offset` in the data part of the file: Linux's `kc_offset_to_vaddr`.
    #[must_use]
    pub fn to_vaddr(self, offset: ByteLen) -> VirtAddr {
        match self {
            Self::LowBits(bits) => VirtAddr::new(offset.get() | !low_mask(bits)),
            // WRAP: the inverse of the above.
            Self::FromBase(base) => base.wrapping_add(offset),
        }
    }
}

fn low_mask(bits: u32) -> u64 {
    1_u64
        .checked_shl(bits)
        .map_or(u64::MAX, |bit| bit.wrapping_sub(1))
}
