use std::fmt::Write;

use vread_addr::ByteLen;

use crate::Kallsyms;
use crate::fields::u32_at;
use crate::virt_mem::VirtMem;

/// The most bytes of an image's notes that are looked at.
const MAX_NOTES_LEN: usize = 1 << 16;
/// `NT_GNU_BUILD_ID`.
const BUILD_ID: u32 = 3;

/// The build id in the image's own notes, in hex.
pub(super) fn read_build_id(virt: VirtMem<'_>, kallsyms: &Kallsyms) -> Option<String> {
    let start = kallsyms.find("__start_notes")?;
    let len = kallsyms.find("__stop_notes")?.checked_offset_from(start)?;
    let len = len.to_usize().filter(|len| *len <= MAX_NOTES_LEN)?;
    let notes = virt.read_vec(start, len).ok()?;
    find_build_id(&notes)
}

fn find_build_id(notes: &[u8]) -> Option<String> {
    let padded = |len: u32| ByteLen::new(u64::from(len).next_multiple_of(4)).to_usize();
    let mut rest = notes;
    // Each turn takes a header of 12 bytes at least.
    while rest.len() >= 12 {
        let (name_len, len, kind) = (u32_at(rest, 0)?, u32_at(rest, 4)?, u32_at(rest, 8)?);
        let after_name = rest.get(12..)?.get(padded(name_len)?..)?;
        if kind == BUILD_ID && rest.get(12..)?.starts_with(b"GNU\0") {
            let id = after_name.get(..usize::try_from(len).ok()?)?;
            let mut hex = String::new();
            for byte in id {
                write!(hex, "{byte:02x}").ok()?;
            }
            return Some(hex);
        }
        rest = after_name.get(padded(len)?..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn finds_the_build_id_behind_another_note() {
        let mut notes = vec![4, 0, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0];
        notes.extend_from_slice(b"Xen\0abc\0");
        notes.extend_from_slice(&[4, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0]);
        notes.extend_from_slice(b"GNU\0\xab\xcd\0\0");
        assert_eq!(find_build_id(&notes).as_deref(), Some("abcd"));
    }

    proptest! {
        #[test]
        fn any_notes_are_read_without_a_panic(notes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = find_build_id(&notes);
        }
    }
}
