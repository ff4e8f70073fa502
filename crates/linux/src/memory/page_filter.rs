use vread_addr::{ByteLen, PAGE_SIZE, PhysAddr, VirtAddr};
use vread_iov_iter::SourceFailure;

use super::sections::Sections;
use crate::fields::{u32_at, u64_at};
use crate::linear::LinearMap;
use crate::virt_mem::VirtMem;
use crate::{Bases, LinuxError, VmCoreInfo};

/// How many page descriptors are copied and looked at in one go.
const BATCH: usize = 128;
/// The bytes that [`PageFilter::check`] answers for at most.
pub(crate) const MAX_CHECKED: ByteLen = ByteLen::new(128 << 12);
/// The bytes of a page descriptor that are supported; 64 in every known release (G42).
const PAGE_LEN: usize = 64;
/// The high bits that every page type has, where types are single bits below them (up to 6.10).
const TYPE_BASE: u32 = 0xf000_0000;

/// Decides from the page descriptors which pages of RAM may be read (K15, G56).
#[derive(Debug, Clone, Copy)]
pub(crate) struct PageFilter {
    /// The descriptor of frame 0.
    vmemmap: VirtAddr,
    flags: usize,
    page_type: usize,
    compound_head: Option<usize>,
    offline: OfflineRule,
    hwpoison: Option<u64>,
    sections: Sections,
}

/// How a page's type says that it is logically offline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OfflineRule {
    /// The type's bit is clear under set high bits (up to 6.10).
    ClearedBit(u32),
    /// The top byte is the type.
    TopByte(u32),
}

/// What may be done with memory, and for how many bytes that holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PageVerdict {
    /// Read it.
    Readable(ByteLen),
    /// It reads as zeros.
    Withheld(ByteLen),
}

impl PageFilter {
    pub(crate) fn new(
        info: &VmCoreInfo,
        bases: &Bases,
        linear: LinearMap,
    ) -> Result<Self, LinuxError> {
        let no_key = |key| LinuxError::NoKey { key };
        let inside = |offset: ByteLen, len: usize| {
            let at = offset.to_usize()?;
            (at.checked_add(len)? <= PAGE_LEN).then_some(at)
        };
        if info.size("page") != Some(ByteLen::from_usize(PAGE_LEN)) {
            return Err(no_key("SIZE(page)=64"));
        }
        let flags = info.offset("page.flags").and_then(|at| inside(at, 8));
        let page_type = info.offset("page._mapcount").and_then(|at| inside(at, 4));
        let compound_head = info.offset("page.compound_head");
        let hwpoison = info.number("PG_hwpoison").and_then(|bit| {
            let bit = u32::try_from(bit).ok()?;
            1_u64.checked_shl(bit)
        });
        // Missing only in builds without huge pages of the releases in which it is this.
        const BEFORE_6_11: u64 = 0xffff_feff;
        let offline = info.number("PAGE_OFFLINE_MAPCOUNT_VALUE");
        Ok(Self {
            vmemmap: bases.vmemmap,
            flags: flags.ok_or(no_key("OFFSET(page.flags)"))?,
            page_type: page_type.ok_or(no_key("OFFSET(page._mapcount)"))?,
            compound_head: compound_head.and_then(|at| inside(at, 8)),
            offline: OfflineRule::from_number(offline.unwrap_or(BEFORE_6_11)),
            hwpoison,
            sections: Sections::from_vmcoreinfo(info, linear)?,
        })
    }

    /// What may be done with the memory from `phys` on, for up to `len` bytes and
    /// [`MAX_CHECKED`]. The answer holds for at least one byte, if `len` has one.
    pub(crate) fn check(
        &self,
        virt: VirtMem<'_>,
        phys: PhysAddr,
        len: ByteLen,
    ) -> Result<PageVerdict, SourceFailure> {
        let failure = |error| match error {
            LinuxError::Source(failure) => Err(failure),
            _ => Ok(()),
        };
        let into_page = phys.page_offset();
        let left_in_page = PAGE_SIZE.saturating_sub(into_page);
        let one_page = PageVerdict::Withheld(len.min(left_in_page));
        let (online, in_section) = match self.sections.online(virt.mem, phys) {
            Ok(answer) => answer,
            Err(error) => return failure(error).map(|()| one_page),
        };
        let len = len.min(in_section);
        if !online {
            return Ok(PageVerdict::Withheld(len));
        }
        let pages = into_page
            .saturating_add(len)
            .get()
            .div_ceil(PAGE_SIZE.get());
        let pages = usize::try_from(pages).unwrap_or(BATCH).min(BATCH);
        let Some(at) = self.descriptor_of(phys) else {
            return Ok(one_page);
        };
        // A small read must not pay for the buffer of a large one.
        let judged = match pages {
            1 => self.judge::<PAGE_LEN>(virt, at, pages),
            _ => self.judge::<{ PAGE_LEN * BATCH }>(virt, at, pages),
        };
        let (withheld, run) = match judged {
            Ok(judged) => judged,
            Err(error) => return failure(error).map(|()| one_page),
        };
        let behind_first = ByteLen::from_usize(run)
            .checked_mul(PAGE_SIZE.get())
            .unwrap_or_default();
        let len = left_in_page.saturating_add(behind_first).min(len);
        Ok(match withheld {
            true => PageVerdict::Withheld(len),
            false => PageVerdict::Readable(len),
        })
    }

    /// Whether the first of the `pages` described at `at` is withheld, and how many behind it are like
    /// it. `LEN` is the size of the buffer.
    fn judge<const LEN: usize>(
        &self,
        virt: VirtMem<'_>,
        at: VirtAddr,
        pages: usize,
    ) -> Result<(bool, usize), LinuxError> {
        let mut bytes = [0_u8; LEN];
        let wanted = pages.saturating_mul(PAGE_LEN);
        let descriptors = bytes.get_mut(..wanted).unwrap_or_default();
        virt.read(at, descriptors)?;
        let mut head = LastHead::default();
        let mut verdicts = descriptors
            .chunks_exact(PAGE_LEN)
            .map(|page| self.is_withheld(virt, page, &mut head));
        let first = verdicts.next().unwrap_or(true);
        Ok((
            first,
            verdicts.take_while(|withheld| *withheld == first).count(),
        ))
    }

    fn descriptor_of(&self, phys: PhysAddr) -> Option<VirtAddr> {
        let pfn = phys.get() >> vread_addr::PAGE_SHIFT;
        let into = ByteLen::from_usize(PAGE_LEN).checked_mul(pfn)?;
        self.vmemmap.checked_add(into)
    }

    fn is_withheld(&self, virt: VirtMem<'_>, page: &[u8], head: &mut LastHead) -> bool {
        let (Some(flags), Some(page_type)) =
            (u64_at(page, self.flags), u32_at(page, self.page_type))
        else {
            return true;
        };
        if self.offline.matches(page_type) {
            return true;
        }
        let Some(poison) = self.hwpoison else {
            return false;
        };
        if flags & poison != 0 {
            return true;
        }
        // A huge page is poisoned as a whole, by its head (K15). That of another compound page is
        // poisoned alone, but withholding a few pages more of a machine with broken memory is safe.
        let compound = self.compound_head.and_then(|at| u64_at(page, at));
        match compound {
            Some(value) if value & 1 == 1 => {
                head.flags(virt, VirtAddr::new(value & !1), self.flags) & poison != 0
            }
            _ => false,
        }
    }
}

impl OfflineRule {
    /// From VMCOREINFO's number, whose low 32 bits are the type of an offline page.
    fn from_number(number: u64) -> Self {
        let value = u32::try_from(number & 0xffff_ffff).unwrap_or_default();
        match value & 0x00ff_ffff {
            0 => Self::TopByte(value >> 24),
            _ => Self::ClearedBit(!value),
        }
    }

    fn matches(self, page_type: u32) -> bool {
        match self {
            Self::ClearedBit(bit) => page_type & (TYPE_BASE | bit) == TYPE_BASE,
            Self::TopByte(byte) => page_type >> 24 == byte,
        }
    }
}

/// The head page that was asked for last: the tails of one huge page stand together.
#[derive(Default)]
struct LastHead {
    known: Option<(VirtAddr, u64)>,
}

impl LastHead {
    fn flags(&mut self, virt: VirtMem<'_>, head: VirtAddr, at: usize) -> u64 {
        if let Some((known, flags)) = self.known
            && known == head
        {
            return flags;
        }
        // What cannot be read is a forged pointer; the page's own flags have decided.
        let flags = head
            .checked_add(ByteLen::from_usize(at))
            .and_then(|at| virt.read_u64(at).ok())
            .unwrap_or_default();
        self.known = Some((head, flags));
        flags
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_offline_pages_under_both_encodings() {
        // G56; the numbers are those that 6.1 and 6.12 give in VMCOREINFO (N11).
        let old = OfflineRule::from_number((-257_i64).cast_unsigned());
        assert!(old.matches(0xffff_feff));
        assert!(!old.matches(0xffff_ffff), "an unmapped page has no type");
        assert!(!old.matches(0xffff_ff7f), "a free page has another type");
        assert!(!old.matches(3), "a mapped page has a count");
        let new = OfflineRule::from_number((-251_658_240_i64).cast_unsigned());
        assert!(new.matches(0xf1ff_ffff));
        assert!(!new.matches(0xf0ff_ffff));
        assert!(!new.matches(0xffff_ffff));
    }
}
