use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use vread_addr::{ByteLen, FileOffset, PhysRange, VirtAddr};

use crate::OpenError;
use crate::backing_file::BackingFile;
use crate::liveness::Liveness;
use crate::mapped_ram::MappedRam;
use crate::pagemap::Pagemap;
use crate::phys_mem::Access;
use crate::region::{Place, Region};

mod behind_vma;
mod process;

/// The regions of a file.
pub(crate) fn file(
    path: &Path,
    ranges: &[(PhysRange, FileOffset)],
) -> Result<Vec<Region>, OpenError> {
    check_ranges(ranges.iter().map(|(range, _)| *range))?;
    let failed = |verb| {
        move |source| OpenError::File {
            path: path.to_owned(),
            verb,
            source,
        }
    };
    let file = File::open(path).map_err(failed("open it"))?;
    let meta = file.metadata().map_err(failed("ask for its size"))?;
    if !meta.is_file() {
        return Err(OpenError::NotRegular {
            path: path.to_owned(),
        });
    }
    let file = Arc::new(BackingFile::new(file));
    let actual = ByteLen::new(meta.len());
    let mut regions = Vec::new();
    for &(range, offset) in ranges.iter().filter(|(range, _)| !range.is_empty()) {
        let at = offset.get();
        let needed = offset
            .checked_add(range.len())
            .map(|end| ByteLen::new(end.get()))
            .ok_or(OpenError::Wraps { range, at })?;
        if needed > actual {
            return Err(OpenError::TooShort {
                path: path.to_owned(),
                range,
                needed,
                actual,
            });
        }
        regions.push(map_file(&file, range, offset, |_| None).map_err(failed("map it"))?);
    }
    Ok(regions)
}

/// The regions of a process's memory.
pub(crate) fn process(
    pid: u32,
    ranges: &[(PhysRange, VirtAddr)],
    access: Access,
) -> Result<(Vec<Region>, Arc<Liveness>), OpenError> {
    check_ranges(ranges.iter().map(|(range, _)| *range))?;
    process::open(pid, ranges, access)
}

/// A region that lies in `file` from position `offset` on, mapped. `owner` gives the owner's page table for
/// what starts so many bytes in front of it.
fn map_file(
    file: &Arc<BackingFile>,
    range: PhysRange,
    offset: FileOffset,
    owner: impl FnOnce(ByteLen) -> Option<Pagemap>,
) -> io::Result<Region> {
    let no_room = || io::Error::from(io::ErrorKind::OutOfMemory);
    let unit = file.map_unit()?;
    let head = ByteLen::new(offset.get() & unit.low_mask());
    // WRAP: to a multiple of a power of two, downwards.
    let first = FileOffset::new(offset.get() & !unit.low_mask());
    let len = head
        .checked_add(range.len())
        .and_then(ByteLen::to_usize)
        .ok_or_else(no_room)?;
    let unit = unit.to_usize().ok_or_else(no_room)?;
    let ram = MappedRam::new(file, first, len, unit, owner(head))?;
    // Less than `len`.
    let head = head.to_usize_clamped();
    Ok(Region::new(range, head, Place::Mapped(ram)))
}

fn check_ranges(ranges: impl Iterator<Item = PhysRange>) -> Result<(), OpenError> {
    let mut ranges: Vec<_> = ranges.filter(|range| !range.is_empty()).collect();
    ranges.sort_by_key(PhysRange::start);
    if ranges.is_empty() {
        return Err(OpenError::NoRanges);
    }
    for pair in ranges.windows(2) {
        if let &[first, second] = pair
            && second.start() < first.end()
        {
            return Err(OpenError::Overlap { first, second });
        }
    }
    Ok(())
}
