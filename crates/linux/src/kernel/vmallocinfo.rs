use std::collections::{BTreeMap, HashMap};
use std::fmt;

use vread_addr::{ByteLen, PageCount, PhysAddr, VirtAddr, VirtRange};
use vread_vmalloc::{VmFlags, VmStruct, VmapArea, VmapAreaFlags};

use super::{Kernel, Symbols};
use crate::areas::KnownArea;
use crate::{LinuxError, SymbolOffset};

/// Up to how many pages of all areas are asked for their node; beyond (8 GiB), no counts are given. A
/// hostile target's areas can claim any number.
const MAX_COUNTED_PAGES: u64 = 1 << 21;
/// The most areas that are listed. More can be read, but a line takes much more memory than an area.
const MAX_LINES: usize = 1 << 18;
/// The most callers that are given a name; a kernel has some hundreds, and each name is searched for.
const MAX_CALLERS: usize = 1 << 12;
/// How many entries of a page array are copied at a time.
const BATCH: u64 = 512;

/// A line of `/proc/vmallocinfo`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmallocLine {
    /// The area's range, with its guard page.
    pub range: VirtRange,
    /// What it is.
    pub kind: VmallocKind,
}

/// What an area of vmalloc space is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VmallocKind {
    /// Made by `vm_map_ram`: no descriptor.
    MapRam,
    /// Freed, and not yet reused.
    Unpurged,
    /// All others.
    Described {
        /// The size of [`range`](VmallocLine::range), as the descriptor has it.
        size: ByteLen,
        /// Who allocated it; the bare address where no symbol covers it.
        caller: Option<Caller>,
        /// The pages that the allocation owns.
        pages: PageCount,
        /// Where an ioremapped window points, or 0.
        phys: PhysAddr,
        /// What it is.
        flags: VmFlags,
        /// Whether the array of its pages is itself in vmalloc space.
        array_in_vmalloc: bool,
        /// How many of its pages are on each node; only nodes that have one.
        pages_of_node: BTreeMap<u64, u64>,
    },
}

/// A return address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// As the kernel names it.
    Symbol(SymbolOffset),
    /// No symbol covers it.
    Address(VirtAddr),
}

impl Kernel {
    /// The lines of the kernel's own `/proc/vmallocinfo`, in its order (V30 to V35), as areas are now.
    ///
    /// # Errors
    ///
    /// [`LinuxError`] where areas are missing or cannot be read.
    pub fn vmallocinfo(&self) -> Result<Vec<VmallocLine>, LinuxError> {
        // First what is more likely to be missing.
        let areas = self.walk_areas()?;
        if let Some(known) = areas.get(MAX_LINES) {
            return Err(LinuxError::TooMany {
                what: "vmap areas to be listed",
                at: known.at,
                limit: MAX_LINES,
            });
        }
        let mut context = Context {
            // Without symbols a caller is an address.
            symbols: self.symbols().ok(),
            callers: HashMap::new(),
            pages_left: MAX_COUNTED_PAGES,
        };
        let mut lines = Vec::new();
        for known in areas {
            let line = match known.area.vm {
                Some(vm) => self.described_line(&known, vm, &mut context)?,
                None => self.is_listed_map_ram(&known.area).then_some(VmallocLine {
                    range: known.area.range,
                    kind: VmallocKind::MapRam,
                }),
            };
            lines.extend(line);
        }
        let unpurged = self.lazily_freed_areas()?.into_iter();
        lines.extend(unpurged.map(|range| VmallocLine {
            range,
            kind: VmallocKind::Unpurged,
        }));
        Ok(lines)
    }

    /// V33: since areas have a type, one without is passed over.
    fn is_listed_map_ram(&self, area: &VmapArea) -> bool {
        area.flags.contains(VmapAreaFlags::RAM) || !self.areas_have_types()
    }

    fn described_line(
        &self,
        known: &KnownArea,
        vm: VmStruct,
        context: &mut Context<'_>,
    ) -> Result<Option<VmallocLine>, LinuxError> {
        let uninitialized = vm.flags.contains(VmFlags::UNINITIALIZED);
        // V34.
        if uninitialized && self.areas_have_types() {
            return Ok(None);
        }
        let Some(range) = VirtRange::from_len(known.area.range.start(), vm.size) else {
            return Ok(None);
        };
        let caller = (vm.caller.get() != 0).then(|| context.caller(vm.caller));
        let pages_of_node = match uninitialized {
            true => BTreeMap::new(),
            false => self.pages_of_node(known, vm.nr_pages, context)?,
        };
        let in_vmalloc = |bases: &crate::Bases| {
            let len = bases.vmalloc_size;
            VirtRange::from_len(bases.vmalloc, len).is_some_and(|space| space.contains(known.pages))
        };
        Ok(Some(VmallocLine {
            range,
            kind: VmallocKind::Described {
                size: vm.size,
                caller,
                pages: vm.nr_pages,
                phys: vm.phys_addr,
                flags: vm.flags,
                array_in_vmalloc: self.bases.as_ref().is_some_and(in_vmalloc),
                pages_of_node,
            },
        }))
    }

    /// Counts an area's pages by node: the node's number stands in the highest bits of a page's flags.
    /// How many bits it has follows from the length of `node_data`; a kernel without NUMA has no such key
    /// and prints no counts.
    fn pages_of_node(
        &self,
        known: &KnownArea,
        pages: PageCount,
        context: &mut Context<'_>,
    ) -> Result<BTreeMap<u64, u64>, LinuxError> {
        let mut counts = BTreeMap::new();
        let in_range = PageCount::to_hold(known.area.range.len());
        let pages = pages.get().min(in_range.get());
        let nodes = self
            .info
            .length("node_data")
            .filter(|nodes| nodes.is_power_of_two());
        let (Some(nodes), Some(flags_at)) = (nodes, self.info.offset("page.flags")) else {
            return Ok(counts);
        };
        let Some(pages_left) = context.pages_left.checked_sub(pages).filter(|_| nodes > 1) else {
            return Ok(counts);
        };
        context.pages_left = pages_left;
        let shift = 64_u32.saturating_sub(nodes.trailing_zeros());
        for first in (0..pages).step_by(usize::try_from(BATCH).unwrap_or(1)) {
            let batch = pages.saturating_sub(first).min(BATCH);
            let at = ByteLen::new(first.saturating_mul(8));
            let len = usize::try_from(batch.saturating_mul(8)).unwrap_or_default();
            let array = known
                .pages
                .checked_add(at)
                .map(|at| self.virt().read_vec(at, len));
            let array = match array {
                Some(Ok(array)) => array,
                Some(Err(LinuxError::Source(failure))) => return Err(failure.into()),
                // The area is being freed: what the kernel would print of it is as arbitrary.
                _ => return Ok(counts),
            };
            for entry in array.chunks_exact(8) {
                let page = crate::fields::u64_at(entry, 0).map(VirtAddr::new);
                let flags = page.and_then(|page| page.checked_add(flags_at));
                match flags.map(|at| self.virt().read_u64(at)) {
                    Some(Ok(flags)) => {
                        let count: &mut u64 = counts.entry(flags >> shift).or_default();
                        *count = count.saturating_add(1);
                    }
                    Some(Err(LinuxError::Source(failure))) => return Err(failure.into()),
                    _ => return Ok(counts),
                }
            }
        }
        Ok(counts)
    }
}

/// What all lines of one call have in common.
struct Context<'k> {
    symbols: Option<Symbols<'k>>,
    /// Few callers allocate many areas.
    callers: HashMap<VirtAddr, Caller>,
    /// How many more pages may be counted.
    pages_left: u64,
}

impl Context<'_> {
    fn caller(&mut self, addr: VirtAddr) -> Caller {
        if self.callers.len() >= MAX_CALLERS && !self.callers.contains_key(&addr) {
            return Caller::Address(addr);
        }
        let symbols = self.symbols.as_ref();
        let resolve = || match symbols.and_then(|symbols| symbols.resolve(addr)) {
            Some(symbol) => Caller::Symbol(symbol),
            None => Caller::Address(addr),
        };
        self.callers.entry(addr).or_insert_with(resolve).clone()
    }
}

/// As in `/proc/vmallocinfo`, without the line's end.
impl fmt::Display for VmallocLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (start, end) = (self.range.start().get(), self.range.end().get());
        let size = self.range.len().get();
        write!(f, "{start:#018x}-{end:#018x} {size:7}")?;
        let (caller, pages, phys, flags, array_in_vmalloc, pages_of_node) = match &self.kind {
            VmallocKind::MapRam => return f.write_str(" vm_map_ram"),
            VmallocKind::Unpurged => return f.write_str(" unpurged vm_area"),
            VmallocKind::Described {
                size: _,
                caller,
                pages,
                phys,
                flags,
                array_in_vmalloc,
                pages_of_node,
            } => (
                caller,
                pages.get(),
                phys.get(),
                flags,
                array_in_vmalloc,
                pages_of_node,
            ),
        };
        match caller {
            Some(Caller::Symbol(symbol)) => write!(f, " {symbol}")?,
            Some(Caller::Address(addr)) => write!(f, " {addr}")?,
            None => {}
        }
        if pages != 0 {
            write!(f, " pages={pages}")?;
        }
        if phys != 0 {
            write!(f, " phys={phys:#018x}")?;
        }
        let words = [
            (VmFlags::IOREMAP, "ioremap"),
            (VmFlags::SPARSE, "sparse"),
            (VmFlags::ALLOC, "vmalloc"),
            (VmFlags::MAP, "vmap"),
            (VmFlags::USERMAP, "user"),
            (VmFlags::DMA_COHERENT, "dma-coherent"),
        ];
        for (flag, word) in words {
            if flags.contains(flag) {
                write!(f, " {word}")?;
            }
        }
        if *array_in_vmalloc {
            f.write_str(" vpages")?;
        }
        for (node, pages) in pages_of_node {
            write!(f, " N{node}={pages}")?;
        }
        Ok(())
    }
}
