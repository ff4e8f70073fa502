//! The types of a kernel without symbols, by the header that they begin with.

use memchr::memmem;
use vread_addr::ByteLen;

use super::Btf;
use super::parse::MAX_BTF_LEN;
use crate::LinuxError;
use crate::fields::u32_at;
use crate::image::Image;
use crate::virt_mem::VirtMem;

/// Magic number, version 1, no flags, and the length of the header (G40).
const HEADER_START: [u8; 8] = [0x9f, 0xeb, 1, 0, 24, 0, 0, 0];
const HEADER_LEN: usize = 24;
/// How many places that begin like a header are tried.
const MAX_HITS: usize = 8;
/// A type that only a whole kernel has, and none of its modules.
const OF_A_KERNEL: &str = "task_struct";

/// Finds the kernel's own types in its image.
pub(crate) fn search(virt: VirtMem<'_>, image: &Image<'_>) -> Result<Btf, LinuxError> {
    let mut last = LinuxError::Needs {
        what: "the header of a kernel's types in the image",
    };
    let mut hits_left = MAX_HITS;
    let found = image.find(HEADER_LEN.saturating_sub(1), |part| {
        for index in memmem::find_iter(part.bytes(), &HEADER_START) {
            let header = part.bytes().get(index..).unwrap_or_default();
            let (Some(at), Some(len)) = (image.addr(part.position(index)), len_of(header)) else {
                continue;
            };
            let Some(left) = hits_left.checked_sub(1) else {
                return Ok(None);
            };
            hits_left = left;
            let btf = virt
                .read_vec(at, len)
                .and_then(|bytes| Ok(Btf::parse(bytes)?));
            match btf {
                Ok(btf) if btf.size_of_struct(OF_A_KERNEL).is_some() => return Ok(Some(btf)),
                Ok(_) => {}
                Err(LinuxError::Source(failure)) => return Err(failure.into()),
                Err(error) => last = error,
            }
        }
        Ok(None)
    })?;
    found.ok_or(last)
}

/// How many bytes header, types and strings have together, by the header; `None` for what is none.
fn len_of(header: &[u8]) -> Option<usize> {
    let end = |offset: usize, len: usize| {
        let end = u32_at(header, offset)?.checked_add(u32_at(header, len)?)?;
        ByteLen::new(u64::from(end)).to_usize()
    };
    let body = end(8, 12)?.max(end(16, 20)?);
    let len = HEADER_LEN.checked_add(body)?;
    (body != 0 && len <= MAX_BTF_LEN).then_some(len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::btf::parse::forge::{Forge, STRUCT};
    use crate::forged::{ForgedRam, virt};
    use crate::image::MAX_IMAGE_LEN;
    use vread_addr::VirtAddr;

    const IMAGE: u64 = 0xffff_ffff_8100_0000;

    fn types(of: &str) -> Vec<u8> {
        let mut forge = Forge::default();
        let int = forge.int("int", 4);
        forge.composite(STRUCT, of, 4, &[("member", int, 0)]);
        forge.bytes()
    }

    fn find(parts: &[(u64, &[u8])]) -> Result<Btf, LinuxError> {
        let mut ram = ForgedRam::new(64);
        for page in 0..8 {
            ram.map(IMAGE + page * 4096, 0x1_0000 + page * 4096);
        }
        for (at, bytes) in parts {
            ram.put(0x1_0000 + at, bytes);
        }
        let mem = ram.open();
        let image = Image::new(virt(&mem), VirtAddr::new(IMAGE), MAX_IMAGE_LEN).unwrap();
        search(virt(&mem), &image)
    }

    #[test]
    fn finds_a_kernels_types_at_any_address() {
        // G40: not page-aligned in older images.
        let (module, kernel) = (types("net_device"), types("task_struct"));
        let found = find(&[(0x123, &module), (0x1777, &kernel)]).unwrap();
        assert_eq!(found.bytes(), kernel);
    }

    #[test]
    fn passes_over_what_only_begins_like_a_header() {
        let kernel = types("task_struct");
        let found = find(&[(0x100, &HEADER_START), (0x200, &kernel)]).unwrap();
        assert_eq!(found.bytes(), kernel);
        // Types that leave the image, and that name none of a kernel's.
        let mut long = kernel.clone();
        long[12..16].copy_from_slice(&0x10_0000_u32.to_le_bytes());
        for no_types in [long, types("net_device"), HEADER_START.to_vec()] {
            assert!(find(&[(0x100, &no_types)]).is_err());
        }
    }
}
