use std::fmt;

use vread_addr::{ByteLen, PhysAddr, PhysRange, VirtAddr};

use super::root_resource::is_root;
use crate::fields::u64_at;
use crate::virt_mem::VirtMem;
use crate::{Btf, LinuxError};

/// The most resources (G73).
const MAX_RESOURCES: usize = 1 << 16;
/// How deep the tree may be; `/proc/iomem` shows five levels.
const MAX_DEPTH: usize = 64;
/// The levels that `/proc/iomem` shows below the root.
const SHOWN_DEPTH: usize = 5;
/// The longest name.
const MAX_NAME_LEN: usize = 128;
/// The most bytes of a `struct resource`.
const MAX_RESOURCE_LEN: usize = 256;
/// `IORESOURCE_MEM | IORESOURCE_SYSRAM` and `IORESOURCE_BUSY` (G56).
const BUSY_SYSTEM_RAM: u64 = 0x8100_0200;

/// The machine's address space as the kernel has divided it: what `/proc/iomem` lists, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Iomem {
    resources: Vec<Resource>,
    /// Digits of a number.
    width: usize,
}

/// A line of `/proc/iomem`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// Where it is.
    pub range: PhysRange,
    /// What it is, in the kernel's words.
    pub name: String,
    /// Linux's `IORESOURCE_…` flags.
    pub flags: u64,
    /// How many resources it lies in.
    pub depth: usize,
}

impl Iomem {
    /// All resources, each before those that lie in it.
    #[must_use]
    pub fn resources(&self) -> &[Resource] {
        &self.resources
    }

    /// The ranges that the kernel calls System RAM and uses, as they are: not cut to pages.
    pub fn system_ram(&self) -> impl Iterator<Item = PhysRange> + '_ {
        let is_ram =
            |resource: &&Resource| resource.depth == 0 && is_busy_system_ram(resource.flags);
        self.resources
            .iter()
            .filter(is_ram)
            .map(|resource| resource.range)
    }
}

/// As in `/proc/iomem`.
impl fmt::Display for Iomem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.width;
        let shown = self
            .resources
            .iter()
            .filter(|resource| resource.depth < SHOWN_DEPTH);
        for Resource {
            range, name, depth, ..
        } in shown
        {
            let indent = depth.saturating_mul(2);
            let start = range.start().get();
            let last = range.end().get().saturating_sub(1);
            writeln!(f, "{:indent$}{start:0width$x}-{last:0width$x} : {name}", "")?;
        }
        Ok(())
    }
}

/// Whether a resource's flags say that it is RAM in use by the kernel (G56).
fn is_busy_system_ram(flags: u64) -> bool {
    flags & BUSY_SYSTEM_RAM == BUSY_SYSTEM_RAM
}

/// Where the members of `struct resource` lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(super) len: usize,
    pub(super) start: usize,
    end: usize,
    name: usize,
    pub(super) flags: usize,
    pub(super) parent: usize,
    sibling: usize,
    child: usize,
}

/// A copy of a `struct resource`.
pub(super) struct Record {
    pub(super) start: u64,
    /// Inclusive, as the kernel has it.
    pub(super) last: u64,
    pub(super) name: VirtAddr,
    pub(super) flags: u64,
    pub(super) parent: Option<VirtAddr>,
    pub(super) sibling: Option<VirtAddr>,
    pub(super) child: Option<VirtAddr>,
}

/// Reads the tree below the resource at `root` (`iomem_resource`).
pub(crate) fn read_iomem(
    virt: VirtMem<'_>,
    btf: Option<&Btf>,
    root: VirtAddr,
) -> Result<Iomem, LinuxError> {
    let layout = Layout::of(btf)?;
    if btf.is_none() && !is_root(virt, layout, root)? {
        return Err(LinuxError::Malformed {
            what: "iomem_resource",
            at: root,
            why: "it has not the layout that is known, and the kernel's types are missing",
        });
    }
    read_tree(virt, layout, root)
}

pub(crate) fn read_tree(
    virt: VirtMem<'_>,
    layout: Layout,
    root: VirtAddr,
) -> Result<Iomem, LinuxError> {
    let top = layout.read(virt, root)?;
    let mut resources = Vec::new();
    // What is still to come: siblings further up the tree. No recursion over a target's tree.
    let mut pending: Vec<VirtAddr> = Vec::new();
    let mut next = top.child;
    while let Some(at) = next {
        if resources.len() >= MAX_RESOURCES || pending.len() >= MAX_DEPTH {
            return Err(LinuxError::TooMany {
                what: "resources",
                at,
                limit: MAX_RESOURCES,
            });
        }
        let record = layout.read(virt, at)?;
        let start = PhysAddr::new(record.start);
        let end = record.last.checked_add(1).map(PhysAddr::new);
        // An inclusive end is made exclusive here, where it is read; one at the very top loses a byte.
        let range = PhysRange::new(start, end.unwrap_or(PhysAddr::new(u64::MAX)));
        let name = virt.read_string(record.name, MAX_NAME_LEN);
        resources.push(Resource {
            range: range.ok_or(LinuxError::Malformed {
                what: "a resource",
                at,
                why: "it ends before it starts",
            })?,
            name: match name {
                Ok(name) => String::from_utf8_lossy(&name).into_owned(),
                Err(LinuxError::Source(failure)) => return Err(failure.into()),
                Err(_) => "<BAD>".to_owned(),
            },
            flags: record.flags,
            depth: pending.len(),
        });
        next = match (record.child, record.sibling) {
            (Some(child), sibling) => {
                // A level is kept even where it has no more siblings: its place counts the depth.
                pending.push(sibling.unwrap_or_default());
                Some(child)
            }
            (None, Some(sibling)) => Some(sibling),
            (None, None) => next_above(&mut pending),
        };
    }
    // As the kernel decides it: on the end of the whole.
    let width = if top.last < 0x10000 { 4 } else { 8 };
    Ok(Iomem { resources, width })
}

/// The next sibling of the innermost level that has one.
fn next_above(pending: &mut Vec<VirtAddr>) -> Option<VirtAddr> {
    while let Some(sibling) = pending.pop() {
        if sibling.get() != 0 {
            return Some(sibling);
        }
    }
    None
}

impl Layout {
    /// What the types say or, without any, [`BUILT_IN`](Self::BUILT_IN).
    pub(super) fn of(btf: Option<&Btf>) -> Result<Self, LinuxError> {
        btf.map_or(Ok(Self::BUILT_IN), Self::from_btf)
    }

    /// The layout that the types of all known 64-bit kernels say, 5.10 to 7.2.
    pub(crate) const BUILT_IN: Self = Self {
        len: 64,
        start: 0,
        end: 8,
        name: 16,
        flags: 24,
        parent: 40,
        sibling: 48,
        child: 56,
    };

    fn from_btf(btf: &Btf) -> Result<Self, LinuxError> {
        let offset = |name: &'static str| {
            let found = btf.offset_of(name).and_then(ByteLen::to_usize);
            found.ok_or(LinuxError::NoType { name })
        };
        let len = btf.size_of_struct("resource").and_then(ByteLen::to_usize);
        Ok(Self {
            len: len
                .filter(|len| *len <= MAX_RESOURCE_LEN)
                .ok_or(LinuxError::NoType { name: "resource" })?,
            start: offset("resource.start")?,
            end: offset("resource.end")?,
            name: offset("resource.name")?,
            flags: offset("resource.flags")?,
            parent: offset("resource.parent")?,
            sibling: offset("resource.sibling")?,
            child: offset("resource.child")?,
        })
    }

    pub(super) fn read(&self, virt: VirtMem<'_>, at: VirtAddr) -> Result<Record, LinuxError> {
        let bytes = virt.read_vec(at, self.len)?;
        let word = |offset| {
            u64_at(&bytes, offset).ok_or(LinuxError::Malformed {
                what: "a resource",
                at,
                why: "it is shorter than its members",
            })
        };
        let pointer = |value: u64| (value != 0).then(|| VirtAddr::new(value));
        Ok(Record {
            start: word(self.start)?,
            last: word(self.end)?,
            name: VirtAddr::new(word(self.name)?),
            flags: word(self.flags)?,
            parent: pointer(word(self.parent)?),
            sibling: pointer(word(self.sibling)?),
            child: pointer(word(self.child)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forged::{ForgedRam, virt};

    const AT: u64 = 0xffff_8880_0000_0000;
    const LAYOUT: Layout = Layout::BUILT_IN;

    /// Start, last, flags, sibling and child (by index; 0, the root, for none) of each resource.
    type Forged = (u64, u64, u64, u64, u64);

    fn read(resources: &[Forged]) -> Result<Iomem, LinuxError> {
        let mut ram = ForgedRam::new(16);
        ram.map(AT, 0x8000);
        ram.put(0x8f00, b"System RAM\0");
        let pointer = |index: u64| if index == 0 { 0 } else { AT + index * 64 };
        for (index, (start, last, flags, sibling, child)) in (0_u64..).zip(resources) {
            let at = 0x8000 + index * 64;
            let words = [
                *start,
                *last,
                AT + 0xf00,
                *flags,
                0,
                0,
                pointer(*sibling),
                pointer(*child),
            ];
            for (word, value) in (0_u64..).zip(words) {
                ram.put_u64(at + word * 8, value);
            }
        }
        read_tree(virt(&ram.open()), LAYOUT, VirtAddr::new(AT))
    }

    #[test]
    fn lists_children_behind_their_parents() {
        // G56, E16: inclusive ends are converted; only top-level System RAM in use counts.
        let ram = BUSY_SYSTEM_RAM;
        let iomem = read(&[
            (0, 0xffff_ffff, 0, 0, 1),
            (0x1000, 0x9_fbff, ram, 2, 0),
            (0x10_0000, 0x1f_ffff, ram, 4, 3),
            (0x12_0000, 0x13_ffff, ram, 0, 0),
            (0x20_0000, 0x2f_ffff, 0x200, 0, 0),
        ])
        .unwrap();
        let expected = "00001000-0009fbff : System RAM\n00100000-001fffff : System RAM\n  \
            00120000-0013ffff : System RAM\n00200000-002fffff : System RAM\n";
        assert_eq!(iomem.to_string(), expected);
        let ram: Vec<u64> = iomem.system_ram().map(|range| range.end().get()).collect();
        assert_eq!(ram, [0x9_fc00, 0x20_0000]);
    }

    #[test]
    fn keeps_a_range_that_ends_with_the_address_space() {
        let iomem = read(&[(0, u64::MAX, 0, 0, 1), (0xfffc_0000, u64::MAX, 0, 0, 0)]).unwrap();
        assert_eq!(iomem.resources().len(), 1);
    }

    #[test]
    fn ends_in_a_tree_that_contains_itself() {
        // G73: a sibling that leads back, a child that leads back.
        for (sibling, child) in [(1, 0), (0, 1)] {
            let result = read(&[(0, 9, 0, 0, 1), (1, 2, 0, sibling, child)]);
            assert!(
                matches!(result, Err(LinuxError::TooMany { .. })),
                "{sibling} {child}"
            );
        }
    }

    #[test]
    fn refuses_a_range_that_ends_before_it_starts() {
        let result = read(&[(0, 9, 0, 0, 1), (9, 3, 0, 0, 0)]);
        assert!(matches!(result, Err(LinuxError::Malformed { .. })));
    }
}
