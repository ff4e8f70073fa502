use std::collections::BTreeMap;

use vread_addr::{ByteLen, PAGE_SIZE, VirtAddr};

/// The most bytes the text can have: a page (N1).
pub(crate) const MAX_TEXT: ByteLen = PAGE_SIZE;

/// The text of VMCOREINFO, and its lines by key (N10).
///
/// Which keys are there differs from release to release; every accessor answers `None` for a key that
/// is missing or whose value is not of that kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmCoreInfo {
    text: String,
    values: BTreeMap<String, String>,
}

/// Why a text is not VMCOREINFO.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotVmCoreInfo {
    /// Longer than a page.
    TooLong,
    /// A byte that is neither printable ASCII nor a line's end (N9 a).
    NotText,
    /// One key with two values (N9 b).
    Conflict,
    /// A key without which nothing can be read (N9 b).
    MissingKey,
}

impl VmCoreInfo {
    /// Parses the text as it lies in memory, without what follows it (N1, N10).
    ///
    /// A line that the kernel cut short at 79 characters has lost its end, so that the next key runs
    /// into its value (N2): both are then of no use, and all others stay.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, NotVmCoreInfo> {
        if ByteLen::from_usize(text.len()) > MAX_TEXT {
            return Err(NotVmCoreInfo::TooLong);
        }
        let printable = |byte: &u8| matches!(byte, b' '..=b'~' | b'\n');
        if !text.iter().all(printable) {
            return Err(NotVmCoreInfo::NotText);
        }
        let text = String::from_utf8(text.to_vec()).map_err(|_| NotVmCoreInfo::NotText)?;
        let mut values = BTreeMap::new();
        for (key, value) in text.lines().filter_map(|line| line.split_once('=')) {
            let before = values.insert(key.to_owned(), value.to_owned());
            if before.is_some_and(|before| before != value) {
                return Err(NotVmCoreInfo::Conflict);
            }
        }
        let info = Self { text, values };
        let needed = info.os_release().is_some()
            && info.raw("PAGESIZE").is_some()
            && ["init_uts_ns", "swapper_pg_dir", "_stext"]
                .iter()
                .all(|name| info.symbol(name).is_some());
        match needed {
            true => Ok(info),
            false => Err(NotVmCoreInfo::MissingKey),
        }
    }

    /// The text, verbatim.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The value of `key`, unparsed.
    #[must_use]
    pub fn raw(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str)
    }

    /// The kernel's release, as `uname -r` prints it.
    #[must_use]
    pub fn os_release(&self) -> Option<&str> {
        self.raw("OSRELEASE").filter(|release| !release.is_empty())
    }

    /// The image's build id, 40 hex digits.
    #[must_use]
    pub fn build_id(&self) -> Option<&str> {
        let hex = |id: &&str| id.len() == 40 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        self.raw("BUILD-ID").filter(hex)
    }

    /// The bytes of a page.
    #[must_use]
    pub fn page_size(&self) -> Option<ByteLen> {
        self.raw("PAGESIZE")?.parse().ok().map(ByteLen::new)
    }

    /// `SYMBOL(name)`: an address, or for arrays and pointers the value of the expression (N12).
    #[must_use]
    pub fn symbol(&self, name: &str) -> Option<VirtAddr> {
        let value = self.raw(&format!("SYMBOL({name})"))?;
        u64::from_str_radix(value, 16).ok().map(VirtAddr::new)
    }

    /// `OFFSET(member)`: bytes from the start of the structure, `member` as in `page.flags`.
    #[must_use]
    pub fn offset(&self, member: &str) -> Option<ByteLen> {
        self.decimal("OFFSET", member).map(ByteLen::new)
    }

    /// `SIZE(name)`: the bytes of a type.
    #[must_use]
    pub fn size(&self, name: &str) -> Option<ByteLen> {
        self.decimal("SIZE", name).map(ByteLen::new)
    }

    /// `LENGTH(name)`: the elements of an array.
    #[must_use]
    pub fn length(&self, name: &str) -> Option<u64> {
        self.decimal("LENGTH", name)
    }

    /// `NUMBER(name)` modulo 2^64: signed decimal, or hex behind `0x`. Negative ones are normal
    /// (N11); one that means 32 bits is in the low half.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        let value = self.raw(&format!("NUMBER({name})"))?;
        if let Some(hex) = value.strip_prefix("0x") {
            return u64::from_str_radix(hex, 16).ok();
        }
        match value.parse::<i64>() {
            Ok(signed) => Some(signed.cast_unsigned()),
            Err(_) => value.parse().ok(),
        }
    }

    /// `KERNELOFFSET`: by how much the image lies above its link address (N15).
    #[must_use]
    pub fn kernel_offset(&self) -> Option<ByteLen> {
        let value = self.raw("KERNELOFFSET")?;
        u64::from_str_radix(value, 16).ok().map(ByteLen::new)
    }

    fn decimal(&self, kind: &str, name: &str) -> Option<u64> {
        self.raw(&format!("{kind}({name})"))?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SMALLEST: &str = "OSRELEASE=6.1.0-test\nPAGESIZE=4096\nSYMBOL(init_uts_ns)=ffffffff81000000\n\
        SYMBOL(swapper_pg_dir)=ffffffff82000000\nSYMBOL(_stext)=ffffffff81000000\n";

    fn with(more: &str) -> Result<VmCoreInfo, NotVmCoreInfo> {
        VmCoreInfo::parse(format!("{SMALLEST}{more}").as_bytes())
    }

    #[test]
    fn reads_each_kind_of_value_by_its_own_rule() {
        // N10: symbols are hex without a prefix, offsets decimal, some numbers hex with one.
        let info =
            with("OFFSET(page.flags)=16\nNUMBER(VMALLOC_START)=0xff10\nKERNELOFFSET=24e00000\n")
                .expect("well formed");
        assert_eq!(
            info.symbol("_stext"),
            Some(VirtAddr::new(0xffff_ffff_8100_0000))
        );
        assert_eq!(info.offset("page.flags"), Some(ByteLen::new(16)));
        assert_eq!(info.number("VMALLOC_START"), Some(0xff10));
        assert_eq!(info.kernel_offset(), Some(ByteLen::new(0x24e0_0000)));
        assert_eq!(info.size("page"), None);
    }

    #[test]
    fn keeps_negative_numbers_modulo_two_to_the_64() {
        // N11: phys_base, and the page types of 6.12.
        let info =
            with("NUMBER(phys_base)=-564133888\nNUMBER(PAGE_OFFLINE_MAPCOUNT_VALUE)=-251658240\n")
                .expect("well formed");
        assert_eq!(
            info.number("phys_base"),
            Some(0_u64.wrapping_sub(564_133_888))
        );
        let offline = info
            .number("PAGE_OFFLINE_MAPCOUNT_VALUE")
            .map(|n| n & 0xffff_ffff);
        assert_eq!(offline, Some(0xf100_0000));
    }

    #[test]
    fn survives_a_line_that_lost_its_end() {
        // N2: the cut line swallows the next key, and only that.
        let info =
            with("NUMBER(cut)=123OFFSET(list_head.next)=0\nSIZE(page)=64\n").expect("well formed");
        assert_eq!(info.number("cut"), None);
        assert_eq!(info.offset("list_head.next"), None);
        assert_eq!(info.size("page"), Some(ByteLen::new(64)));
    }

    #[test]
    fn refuses_what_is_no_text_or_contradicts_itself() {
        // N9 (a), (b).
        assert_eq!(with("X=\u{1}\n"), Err(NotVmCoreInfo::NotText));
        assert_eq!(with("PAGESIZE=16384\n"), Err(NotVmCoreInfo::Conflict));
        assert!(with("PAGESIZE=4096\n").is_ok());
        assert_eq!(
            VmCoreInfo::parse(b"OSRELEASE=6.1\n"),
            Err(NotVmCoreInfo::MissingKey)
        );
        let long = vec![b'a'; 4097];
        assert_eq!(VmCoreInfo::parse(&long), Err(NotVmCoreInfo::TooLong));
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..5000)) {
            let _ = VmCoreInfo::parse(&bytes);
        }

        #[test]
        fn any_text_behind_the_needed_keys_is_answered(more in "[ -~\n]{0,400}") {
            if let Ok(info) = with(&more) {
                prop_assert_eq!(info.os_release(), Some("6.1.0-test"));
            }
        }
    }
}
