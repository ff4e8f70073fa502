//! Lines of a guest's `/proc/vmallocinfo`.

use std::ops::Range;

/// One area of the kernel's virtually contiguous memory, as its kernel describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmallocInfoLine {
    /// Virtual addresses of the area, its guard page included.
    pub range: Range<u64>,
    /// All that follows: the size in bytes, who asked for it, pages, kind.
    pub rest: String,
}

impl VmallocInfoLine {
    /// `0xSTART-0xEND   SIZE REST`; none for anything else.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let (range, rest) = line.split_once(char::is_whitespace)?;
        let (start, end) = range.split_once('-')?;
        let address = |text: &str| u64::from_str_radix(text.strip_prefix("0x")?, 16).ok();
        Some(Self {
            range: address(start)?..address(end)?,
            rest: rest.trim().to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_line() {
        let line =
            "0xff34dd5d8000d000-0xff34dd5d8000f000    8192 bpf_prog+0x31/0x1e0 pages=1 vmalloc";
        let parsed = VmallocInfoLine::parse(line).unwrap();
        assert_eq!(parsed.range, 0xff34_dd5d_8000_d000..0xff34_dd5d_8000_f000);
        assert_eq!(parsed.rest, "8192 bpf_prog+0x31/0x1e0 pages=1 vmalloc");
        assert_eq!(VmallocInfoLine::parse("0x1-(ptrval) 8192 x"), None);
        assert_eq!(VmallocInfoLine::parse(""), None);
    }
}
