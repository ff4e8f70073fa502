//! The root of the machine's address space, where no symbol leads to it or no type describes it.

use memchr::memmem;
use vread_addr::VirtAddr;

use super::iomem::Layout;
use crate::fields::u64_at;
use crate::image::Image;
use crate::virt_mem::VirtMem;
use crate::{Btf, LinuxError};

/// What 5.10 to 7.2 call it.
const NAME: &[u8] = b"PCI mem";
/// `IORESOURCE_MEM` and nothing else.
const FLAGS: u64 = 0x200;
/// How many records are looked at closely: each costs a few reads.
const MAX_CLOSE_LOOKS: usize = 1 << 12;
/// The bytes of an address.
const WORD: usize = 8;

/// Finds `iomem_resource` in the image: it begins with the address space and lies in nothing, has the
/// flags and the name that it always has, and its first child points back to it.
pub(crate) fn find_root_resource(
    virt: VirtMem<'_>,
    image: &Image<'_>,
    btf: Option<&Btf>,
) -> Result<VirtAddr, LinuxError> {
    let layout = Layout::of(btf)?;
    let flags = FLAGS.to_le_bytes();
    let mut looks_left = MAX_CLOSE_LOOKS;
    let found = image.find(layout.len.saturating_sub(1), |part| {
        let flags = memmem::find_iter(part.bytes(), &flags);
        let records = flags.filter_map(|index| index.checked_sub(layout.flags));
        for index in records.filter(|index| index.is_multiple_of(WORD)) {
            let word = |offset: usize| u64_at(part.bytes(), index.checked_add(offset)?);
            if word(layout.start) != Some(0) || word(layout.parent) != Some(0) {
                continue;
            }
            let Some(left) = looks_left.checked_sub(1) else {
                return Ok(None);
            };
            looks_left = left;
            if let Some(at) = image.addr(part.position(index))
                && is_root(virt, layout, at)?
            {
                return Ok(Some(at));
            }
        }
        Ok(None)
    })?;
    found.ok_or(LinuxError::Needs {
        what: "a resource in the image that is the whole address space",
    })
}

/// Whether the record at `at` is the root of all resources, by all that is known of it.
pub(super) fn is_root(virt: VirtMem<'_>, layout: Layout, at: VirtAddr) -> Result<bool, LinuxError> {
    let root = || {
        let record = layout.read(virt, at)?;
        let Some(child) = record.child else {
            return Ok(false);
        };
        let alone = record.start == 0 && record.parent.is_none() && record.sibling.is_none();
        Ok(alone
            && record.flags == FLAGS
            && virt.read_string(record.name, NAME.len().saturating_add(1))? == NAME
            && layout.read(virt, child)?.parent == Some(at))
    };
    match root() {
        Err(LinuxError::Source(failure)) => Err(failure.into()),
        // A pointer that leads nowhere: it is something else.
        result => Ok(result.unwrap_or(false)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forged::{ForgedRam, virt};
    use crate::image::MAX_IMAGE_LEN;

    const IMAGE: u64 = 0xffff_ffff_8100_0000;
    const ROOT: u64 = IMAGE + 0x1040;
    const CHILD: u64 = IMAGE + 0x1800;
    const PHYS: u64 = 0x1_0000;

    fn put(ram: &mut ForgedRam, at: u64, words: [u64; 8]) {
        for (place, word) in (0_u64..).zip(words) {
            ram.put_u64(at - IMAGE + PHYS + place * 8, word);
        }
    }

    fn ram() -> ForgedRam {
        let mut ram = ForgedRam::new(32);
        for page in 0..2 {
            ram.map(IMAGE + page * 4096, PHYS + page * 4096);
        }
        ram.put(PHYS + 0x10, b"PCI mem\0");
        put(
            &mut ram,
            ROOT,
            [0, (1 << 40) - 1, IMAGE + 0x10, 0x200, 0, 0, 0, CHILD],
        );
        put(
            &mut ram,
            CHILD,
            [0, 0xfff, IMAGE + 0x10, 0x8000_0000, 0, ROOT, 0, 0],
        );
        ram
    }

    fn find(ram: &ForgedRam) -> Option<u64> {
        let mem = ram.open();
        let image = Image::new(virt(&mem), VirtAddr::new(IMAGE), MAX_IMAGE_LEN).unwrap();
        let found = find_root_resource(virt(&mem), &image, None);
        found.ok().map(VirtAddr::get)
    }

    #[test]
    fn finds_the_root_by_its_shape() {
        let mut ram = ram();
        // The root of I/O ports is much the same.
        put(
            &mut ram,
            IMAGE + 0x1000,
            [0, 0xffff, IMAGE + 0x10, 0x100, 0, 0, 0, CHILD],
        );
        assert_eq!(find(&ram), Some(ROOT));
    }

    #[test]
    fn takes_nothing_that_differs_in_one_member() {
        for (place, value) in [
            (0, 1),
            (2, IMAGE + 0x11),
            (3, 0x201),
            (5, ROOT),
            (6, CHILD),
            (7, 0),
            (7, ROOT),
            (7, 0xffff_8000_0000_0000),
        ] {
            let mut ram = ram();
            ram.put_u64(ROOT - IMAGE + PHYS + place * 8, value);
            assert_eq!(find(&ram), None, "{place}: {value:#x}");
        }
    }
}
