//! The guest's own `/proc/kcore`: where in that file the kernel's virtual addresses are.

use object::Endianness;
use object::elf::{FileHeader64, PT_LOAD};
use object::read::elf::{FileHeader as _, ProgramHeader as _};

use crate::error::GuestError;
use crate::guest::{Guest, PAGE_BYTES};
use vread_guest_helper::protocol::{FileRange, RangeHash, Request, Storm, StormReport};

/// The file in the guest.
pub(crate) const PATH: &str = "/proc/kcore";

/// More than any header that a guest of ours has: 56 bytes for each of a few dozen segments.
const HEADER_BYTES: u64 = 64 << 10;

/// One loadable segment of the guest's `/proc/kcore`, as its program header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestKcoreSegment {
    /// First virtual address.
    pub vaddr: u64,
    /// First physical address; all ones where there is none.
    pub paddr: u64,
    /// Place in the file.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
}

impl GuestKcoreSegment {
    /// Place in the file of a virtual address, if it is in this segment.
    #[must_use]
    pub fn offset_of(&self, vaddr: u64) -> Option<u64> {
        let into = vaddr.checked_sub(self.vaddr)?;
        (into < self.size).then(|| self.offset + into)
    }
}

impl Guest {
    /// The loadable segments of the guest's `/proc/kcore`, in the order of its header.
    ///
    /// # Errors
    /// As [`Guest::read`], or the file's header is not understood.
    pub fn kcore_segments(&self) -> Result<Vec<GuestKcoreSegment>, GuestError> {
        let header = self.read_at(
            PATH,
            FileRange {
                offset: 0,
                len: HEADER_BYTES,
            },
        )?;
        let bad = |error: object::Error| GuestError::Answer(format!("{PATH}: {error}"));
        let elf = FileHeader64::<Endianness>::parse(&*header).map_err(bad)?;
        let endian = elf.endian().map_err(bad)?;
        let headers = elf.program_headers(endian, &*header).map_err(bad)?;
        let loads = headers
            .iter()
            .filter(|header| header.p_type(endian) == PT_LOAD);
        let segments = loads.map(|header| GuestKcoreSegment {
            vaddr: header.p_vaddr(endian),
            paddr: header.p_paddr(endian),
            offset: header.p_offset(endian),
            size: header.p_filesz(endian),
        });
        Ok(segments.collect())
    }

    /// What the guest's kernel itself reads at a virtual address.
    ///
    /// # Errors
    /// As [`Guest::read`], or the address is in no segment.
    pub fn kcore_read(&self, vaddr: u64, len: u64) -> Result<Vec<u8>, GuestError> {
        let range = file_range(&self.kcore_segments()?, vaddr, len)?;
        self.read_at(PATH, range)
    }

    /// Reads a page at virtual address `vaddr` in the guest, which holds the first page of the storm's pattern, into
    /// a buffer that another thread keeps evicting.
    ///
    /// # Errors
    /// As [`Guest::read`], or the address is in no segment.
    pub fn storm(&self, vaddr: u64, storm: &Storm) -> Result<StormReport, GuestError> {
        let range = file_range(&self.kcore_segments()?, vaddr, PAGE_BYTES)?;
        self.ask_json(&Request::Storm {
            path: PATH.to_owned(),
            offset: range.offset,
            storm: *storm,
        })
    }

    /// Hashes of what the guest's kernel itself reads at many virtual addresses: pairs of address
    /// and length. One round trip for the header and one for all of them.
    ///
    /// # Errors
    /// As [`Guest::hash_ranges`], or an address is in no segment.
    pub fn kcore_hash(&self, ranges: &[(u64, u64)]) -> Result<Vec<RangeHash>, GuestError> {
        let segments = self.kcore_segments()?;
        let ranges = ranges
            .iter()
            .map(|(vaddr, len)| file_range(&segments, *vaddr, *len));
        self.hash_ranges(PATH, &ranges.collect::<Result<Vec<_>, _>>()?)
    }
}

fn file_range(
    segments: &[GuestKcoreSegment],
    vaddr: u64,
    len: u64,
) -> Result<FileRange, GuestError> {
    let offset = segments.iter().find_map(|segment| segment.offset_of(vaddr));
    let offset = offset.ok_or_else(|| {
        GuestError::Answer(format!("{vaddr:#x} is in no segment of the guest's {PATH}"))
    })?;
    Ok(FileRange { offset, len })
}
