use memchr::memmem;
use vread_addr::{ByteLen, PAGE_SIZE, PhysAddr};
use vread_physmem::{PhysMem, ReadError};

use super::AttachError;

/// How much is read at once.
const BLOCK_LEN: ByteLen = ByteLen::new(1 << 20);
/// What every kernel says first.
const BANNER: &[u8] = b"Linux version ";
/// How much of the banner is shown.
const SHOWN_LEN: usize = 40;
/// Where a boot image's setup page has its signature and, behind a jump, its magic (x86 boot protocol).
const BOOT_FLAG: usize = 0x1fe;

/// Why no VMCOREINFO was found: a kernel that has not got to it yet, or none at all.
pub(super) fn explain_absence(mem: &PhysMem) -> AttachError {
    let scanned = mem
        .ranges()
        .iter()
        .fold(ByteLen::ZERO, |sum, range| sum.saturating_add(range.len()));
    let not_linux = AttachError::NotLinux { scanned };
    let mut boot_image = None;
    let mut at = PhysAddr::new(0);
    let mut block = Vec::new();
    loop {
        let stretch = match mem.next_populated(at) {
            Ok(Some(stretch)) => stretch,
            Ok(None) => break,
            Err(error) => return failed(error, not_linux),
        };
        let start = stretch.start().max(at);
        let rest = stretch.len_from(start);
        let len = rest.min(BLOCK_LEN);
        block.resize(len.to_usize_clamped(), 0);
        if let Err(error) = mem.read(start, &mut block) {
            return failed(error, not_linux);
        }
        if let Some((into, banner)) = find_banner(&block)
            && let Some(at) = start.checked_add(ByteLen::from_usize(into))
        {
            return AttachError::StillBooting { at, banner };
        }
        if boot_image.is_none() {
            boot_image = find_boot_image(start, &block);
        }
        // A banner across two blocks is found in the second: all but its length is new there.
        let step = match len < rest {
            true => len.saturating_sub(PAGE_SIZE),
            false => len,
        };
        match start.checked_add(step) {
            Some(next) => at = next,
            None => break,
        }
    }
    match boot_image {
        Some(at) => AttachError::StillBooting {
            at,
            banner: "a boot image".to_owned(),
        },
        None => not_linux,
    }
}

fn failed(error: ReadError, otherwise: AttachError) -> AttachError {
    match error {
        ReadError::Failed { failure, .. } => failure.into(),
        _ => otherwise,
    }
}

/// The kernel's banner: a version follows, not a format.
fn find_banner(block: &[u8]) -> Option<(usize, String)> {
    memmem::find_iter(block, BANNER).find_map(|into| {
        let rest = block.get(into..)?;
        let version = rest.get(BANNER.len()..)?.first()?;
        let shown = rest.split(|byte| !matches!(byte, b' '..=b'~')).next()?;
        let shown = shown.get(..SHOWN_LEN.min(shown.len()))?;
        version
            .is_ascii_digit()
            .then(|| (into, String::from_utf8_lossy(shown).into_owned()))
    })
}

fn find_boot_image(start: PhysAddr, block: &[u8]) -> Option<PhysAddr> {
    let page_len = PAGE_SIZE.to_usize()?;
    let is_setup = |page: &[u8]| {
        let flag = page.get(BOOT_FLAG..)?;
        Some(flag.starts_with(&[0x55, 0xaa]) && flag.get(4..8)? == b"HdrS")
    };
    let page = block
        .chunks(page_len)
        .position(|page| is_setup(page) == Some(true))?;
    start.checked_add(ByteLen::from_usize(page.checked_mul(page_len)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_a_version_for_a_banner_and_not_a_format() {
        assert_eq!(find_banner(b"..Linux version %s (%s)"), None);
        let found = find_banner(b"..Linux version 6.1.0-test (x)\n....");
        assert_eq!(found, Some((2, "Linux version 6.1.0-test (x)".to_owned())));
    }
}
