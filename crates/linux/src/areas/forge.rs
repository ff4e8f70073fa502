//! Areas made up in a test.

use vread_addr::{ByteLen, VirtAddr, VirtRange};

use super::{AreaLayout, AreaReader, KnownArea};
use crate::forged::{ForgedRam, virt};
use crate::linear::LinearMap;
use crate::{Bases, LinuxError};

/// Where the direct map and vmalloc space begin.
pub(crate) const DIRECT: u64 = 0xffff_8880_0000_0000;
pub(crate) const VMALLOC: u64 = 0xffff_c900_0000_0000;
/// The head of the list, and where records lie: an area each 256 bytes, with its descriptor behind it.
pub(crate) const HEAD: u64 = 0x8000;
pub(crate) const RECORDS: u64 = 0x9000;
/// Offsets of 6.12 (G42).
pub(crate) const LIST: u64 = 40;
pub(crate) const VM: u64 = 56;
pub(crate) const VM_SIZE: u64 = 16;
pub(crate) const VM_FLAGS: u64 = 24;
pub(crate) const NODE_BUSY: u64 = 6160;

/// A kernel's RAM with one list of areas.
pub(crate) struct Forged {
    pub(crate) ram: ForgedRam,
}

/// Where the record of an area lies.
pub(crate) fn at(area: u64) -> u64 {
    RECORDS + area * 256
}

pub(crate) fn bases() -> Bases {
    Bases {
        direct_map: VirtAddr::new(DIRECT),
        vmalloc: VirtAddr::new(VMALLOC),
        vmemmap: VirtAddr::new(0xffff_ea00_0000_0000),
        vmalloc_size: ByteLen::new(32 << 40),
    }
}

impl Forged {
    /// A list of areas of `(start page, end page)`, in this order.
    pub(crate) fn new(areas: &[(u64, u64)]) -> Self {
        let mut ram = ForgedRam::new(32);
        for page in 0..32 {
            ram.map(DIRECT + page * 4096, page * 4096);
        }
        let count = areas.len() as u64;
        let node = |index: u64| match index % (count + 1) {
            0 => DIRECT + HEAD,
            area => DIRECT + at(area - 1) + LIST,
        };
        ram.put_u64(HEAD, node(1));
        ram.put_u64(HEAD + 8, node(count));
        for (index, (start, end)) in (0_u64..).zip(areas) {
            let area = at(index);
            ram.put_u64(area, VMALLOC + start * 4096);
            ram.put_u64(area + 8, VMALLOC + end * 4096);
            ram.put_u64(area + LIST, node(index + 2));
            ram.put_u64(area + LIST + 8, node(index));
            let vm = area + 128;
            ram.put_u64(area + VM, DIRECT + vm);
            ram.put_u64(vm + VM_SIZE, (end - start) * 4096);
            ram.put_u64(vm + VM_FLAGS, 2);
        }
        Self { ram }
    }

    pub(crate) fn reader(&self) -> AreaReader {
        let image = VirtAddr::new(0xffff_ffff_8100_0000);
        let image = VirtRange::from_len(image, ByteLen::new(4096)).unwrap();
        let linear = LinearMap::new(&bases(), image, 0).unwrap();
        AreaReader::of_list(AreaLayout::of_6_12(), linear, VirtAddr::new(DIRECT + HEAD))
    }

    pub(crate) fn read(&self) -> Result<Vec<(u64, u64)>, LinuxError> {
        let mem = self.ram.open();
        let areas = self.reader().read_busy(virt(&mem))?;
        let page = |addr: VirtAddr| (addr.get() - VMALLOC) / 4096;
        let range = |known: &KnownArea| {
            let range = known.area.range;
            (page(range.start()), page(range.end()))
        };
        Ok(areas.iter().map(range).collect())
    }
}
