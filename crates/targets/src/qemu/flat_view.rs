//! The flat view of a machine's memory, as QEMU's monitor prints it for `info mtree -f -o`.
//!
//! A flat view is what an address space comes to once every alias, overlap and priority is resolved:
//! disjoint ranges, each one part of one memory region. The format has been the same since QEMU 2.12;
//! one line per range:
//!
//! ```text
//! FlatView #2
//!  AS "memory", root: system
//!  Root memory region: system
//!   0000000000100000-000000001fffffff (prio 0, ram): pc.ram @0000000000100000 owner:{obj path=/objects/pc.ram}
//! ```

use vread_addr::{PhysAddr, PhysRange};

/// The most lines of monitor output looked at; a machine of a thousand devices prints some 50,000.
const MAX_LINES: usize = 1 << 20;

/// The most ranges one flat view may have.
const MAX_RANGES: usize = 1 << 16;

/// One range of a flat view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FlatRange {
    /// Where the range lies.
    pub(crate) range: PhysRange,
    /// QEMU's word for how it behaves: `ram`, `rom`, `romd`, `ramd`, `nv-ram`, `i/o` or a later one.
    pub(crate) kind: String,
    /// The memory region's name.
    pub(crate) region: String,
    /// The object that owns the region, where it has one and QEMU tells its path.
    pub(crate) owner: Option<String>,
}

/// Why the monitor's text is not a flat view of `memory`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FlatViewError {
    /// No flat view belongs to the address space `memory`.
    NoMemory,
    /// This line is not a range.
    Line(String),
    /// More lines or ranges than any machine has.
    TooLong,
}

/// The ranges of the address space `memory`, in ascending order.
pub(crate) fn parse_memory(text: &str) -> Result<Vec<FlatRange>, FlatViewError> {
    let mut ranges: Vec<FlatRange> = Vec::new();
    let mut in_memory = Memory::NotYet;
    for (seen, line) in text.lines().enumerate() {
        if seen >= MAX_LINES || ranges.len() >= MAX_RANGES {
            return Err(FlatViewError::TooLong);
        }
        let line = line.trim_end();
        if line.starts_with("FlatView #") {
            if in_memory == Memory::Here {
                break;
            }
        } else if let Some(space) = line.strip_prefix(" AS \"") {
            // ` AS "memory", root: system`
            if space.starts_with("memory\"") {
                in_memory = Memory::Here;
            }
        } else if in_memory == Memory::Here
            && let Some(range) = line.strip_prefix("  ")
            && !range.starts_with("No rendered")
        {
            let range = parse_range(range).ok_or_else(|| FlatViewError::Line(line.to_owned()))?;
            let ascends = ranges
                .last()
                .is_none_or(|last| last.range.end() <= range.range.start());
            if !ascends {
                return Err(FlatViewError::Line(line.to_owned()));
            }
            ranges.push(range);
        }
    }
    match in_memory {
        Memory::Here => Ok(ranges),
        Memory::NotYet => Err(FlatViewError::NoMemory),
    }
}

#[derive(PartialEq, Eq)]
enum Memory {
    NotYet,
    Here,
}

fn parse_range(line: &str) -> Option<FlatRange> {
    let (bounds, rest) = line.split_once(" (prio ")?;
    let (first, last) = bounds.split_once('-')?;
    let first = u64::from_str_radix(first, 16).ok()?;
    let last = u64::from_str_radix(last, 16).ok()?;
    // QEMU prints the last byte. A range that ends at the very top of the space has no end that we
    // could name; it loses its last page's last byte, and no machine has memory there.
    let end = last.saturating_add(1);
    let range = PhysRange::new(PhysAddr::new(first), PhysAddr::new(end))?;
    let (_priority, rest) = rest.split_once(", ")?;
    let (kind, name) = rest.split_once("): ")?;
    let (name, owner) = match name.split_once(" owner:{") {
        Some((name, owner)) => (name, owner_path(owner)),
        None => (name.split(" parent:{").next().unwrap_or(name), None),
    };
    let region = name.split(" @").next().unwrap_or(name).trim_end();
    Some(FlatRange {
        range,
        kind: kind.to_owned(),
        region: region.to_owned(),
        owner,
    })
}

/// The path of `obj path=/objects/pc.ram}`; what is named by `id=` has no path here.
fn owner_path(owner: &str) -> Option<String> {
    let (_kind, path) = owner.split_once(" path=")?;
    Some(path.split('}').next().unwrap_or(path).to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // What QEMU 7.2 prints for a pc machine of 512 MiB, cut to the lines that matter.
    const PC: &str = "FlatView #0\r
 AS \"cpu-smm-0\", root: memory\r
 Root memory region: memory\r
  0000000000000000-00000000000bffff (prio 0, ram): pc.ram owner:{obj path=/objects/pc.ram}\r
\r
FlatView #1\r
 AS \"i440FX\", root: bus master container\r
 Root memory region: (none)\r
  No rendered FlatView\r
\r
FlatView #2\r
 AS \"memory\", root: system\r
 AS \"cpu-memory-0\", root: system\r
 Root memory region: system\r
  0000000000000000-000000000009ffff (prio 0, ram): pc.ram owner:{obj path=/objects/pc.ram}\r
  00000000000a0000-00000000000bffff (prio 1, i/o): vga-lowmem owner:{dev path=/machine/unattached/device[8]}\r
  00000000000c0000-00000000000dffff (prio 1, rom): pc.rom parent:{obj path=/machine/unattached}\r
  0000000000100000-000000001fffffff (prio 0, ram): pc.ram @0000000000100000 KVM owner:{obj path=/objects/pc.ram}\r
  00000000fffc0000-00000000ffffffff (prio 0, rom): pc.bios parent:{obj path=/machine/unattached}\r
\r
FlatView #3\r
 AS \"I/O\", root: io\r
 Root memory region: io\r
  0000000000000000-0000000000000007 (prio 0, i/o): dma-chan owner:{dev path=/machine/unattached/device[4]}\r
\r
";

    fn range(start: u64, end: u64) -> PhysRange {
        PhysRange::new(PhysAddr::new(start), PhysAddr::new(end)).unwrap()
    }

    #[test]
    fn takes_the_view_of_memory_and_no_other() {
        let ranges = parse_memory(PC).unwrap();
        assert_eq!(ranges.len(), 5);
        let high = ranges.get(3).unwrap();
        assert_eq!(high.range, range(0x10_0000, 0x2000_0000));
        assert_eq!(high.kind, "ram");
        assert_eq!(high.region, "pc.ram");
        assert_eq!(high.owner.as_deref(), Some("/objects/pc.ram"));
        let rom = ranges.get(2).unwrap();
        assert_eq!(
            (rom.kind.as_str(), rom.region.as_str(), &rom.owner),
            ("rom", "pc.rom", &None)
        );
    }

    #[test]
    fn refuses_text_without_the_view() {
        assert_eq!(parse_memory(""), Err(FlatViewError::NoMemory));
        assert_eq!(
            parse_memory("unknown command: 'info mtree'"),
            Err(FlatViewError::NoMemory)
        );
    }

    #[test]
    fn refuses_ranges_that_do_not_ascend() {
        let text = " AS \"memory\", root: system
  0000000000001000-0000000000001fff (prio 0, ram): a
  0000000000001800-0000000000002fff (prio 0, ram): b
";
        assert!(matches!(parse_memory(text), Err(FlatViewError::Line(_))));
    }

    #[test]
    fn takes_a_range_that_ends_at_the_top() {
        let text = " AS \"memory\", root: system
  fffffffffffff000-ffffffffffffffff (prio -1, i/o): top
";
        let ranges = parse_memory(text).unwrap();
        assert_eq!(
            ranges.first().unwrap().range,
            range(0xffff_ffff_ffff_f000, u64::MAX)
        );
    }

    proptest! {
        #[test]
        fn never_panics(lines in proptest::collection::vec(
            prop_oneof![
                Just(" AS \"memory\", root: system".to_owned()),
                "  [0-9a-f]{0,17}-[0-9a-f]{0,17} \\(prio [0-9]{0,2}, [a-z/]{0,4}\\): .{0,20}",
                ".{0,40}",
            ],
            0..20,
        )) {
            let _ = parse_memory(&lines.join("\n"));
        }
    }
}
