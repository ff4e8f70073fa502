use std::fmt;

use vread_addr::VirtRange;
use vread_linux::VmallocLine;
use vread_vmalloc::VmallocInfo;

/// A line of `/proc/vmallocinfo`; [`Display`](fmt::Display) writes it whole, as the kernel does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AreaLine {
    range: VirtRange,
    text: String,
}

impl AreaLine {
    /// The area, with its guard page.
    #[must_use]
    pub fn range(&self) -> VirtRange {
        self.range
    }

    /// What follows range and size: caller, pages, kind, in the kernel's words.
    #[must_use]
    pub fn description(&self) -> &str {
        let mut rest = self.text.as_str();
        for _ in 0..2 {
            let behind = rest.split_once(' ').map(|(_, behind)| behind);
            rest = behind.unwrap_or_default().trim_start();
        }
        rest
    }
}

impl fmt::Display for AreaLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<&VmallocLine> for AreaLine {
    fn from(line: &VmallocLine) -> Self {
        Self {
            range: line.range,
            text: line.to_string(),
        }
    }
}

impl From<&VmallocInfo> for AreaLine {
    fn from(line: &VmallocInfo) -> Self {
        Self {
            range: match line {
                VmallocInfo::Busy(area) => area.range,
                VmallocInfo::Unpurged(range) => *range,
            },
            text: line.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use vread_addr::{VirtAddr, VirtRange};

    use super::*;

    #[test]
    fn describes_what_follows_the_size() {
        let range = VirtRange::new(VirtAddr::new(0x1000), VirtAddr::new(0x3000)).unwrap();
        let line = |text: &str| AreaLine {
            range,
            text: text.into(),
        };
        let full =
            line("0x0000000000001000-0x0000000000003000    8192 load+0x1/0x2 [m] pages=1 vmalloc");
        assert_eq!(full.description(), "load+0x1/0x2 [m] pages=1 vmalloc");
        let bare = line("0x0000000000001000-0x0000000000003000    8192");
        assert_eq!(bare.description(), "");
    }
}
