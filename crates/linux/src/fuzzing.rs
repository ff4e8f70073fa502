//! The decoders one by one, for fuzz targets: what [`Kernel`](crate::Kernel) finds through each other, here
//! is given. Only with the feature `fuzzing`; no part of the interface.
//!
//! Where a decoder takes a layout from BTF, it gets one in the shape of Linux 6.12's for x86_64.

use vread_addr::{ByteLen, VirtAddr, VirtRange};
use vread_physmem::PhysMem;

use crate::areas::{AreaLayout, AreaReader, lazily_freed};
use crate::kallsyms::fuzzing::{RawAddresses, RawTables, search, tables_of_5_10};
use crate::linear::LinearMap;
use crate::log::{Log, LogLayout, read_log};
use crate::memory::{Iomem, ResourceLayout, read_tree};
use crate::modules::{Depth, Module, ModuleLayout, read_modules};
use crate::virt_mem::VirtMem;
use crate::vmcoreinfo::text_of_note;
use crate::{Bases, Kallsyms, KnownArea, LinuxError, PageTable, VmCoreInfo};

/// Where the direct map and vmalloc space begin, for [`areas`].
pub const DIRECT_MAP: VirtAddr = VirtAddr::new(0xffff_8880_0000_0000);
/// See [`DIRECT_MAP`].
pub const VMALLOC: VirtAddr = VirtAddr::new(0xffff_c900_0000_0000);
/// Where the kernel's image begins, for [`areas`].
pub const IMAGE: VirtAddr = VirtAddr::new(0xffff_ffff_8100_0000);

/// VMCOREINFO's text; `None` where it is not.
#[must_use]
pub fn vmcoreinfo(text: &[u8]) -> Option<VmCoreInfo> {
    VmCoreInfo::parse(text).ok()
}

/// The text in an ELF note of VMCOREINFO's.
#[must_use]
pub fn vmcoreinfo_note(bytes: &[u8]) -> Option<&[u8]> {
    text_of_note(bytes)
}

/// The tables of kallsyms, as they would lie in memory.
#[derive(Debug, Clone)]
pub struct SymbolTables {
    /// `kallsyms_num_syms`.
    pub num_syms: u32,
    /// `kallsyms_names`, and what follows it: the markers.
    pub names: Vec<u8>,
    /// `kallsyms_token_table`.
    pub token_table: Vec<u8>,
    /// `kallsyms_token_index`.
    pub token_index: Vec<u8>,
    /// `kallsyms_offsets`, or `kallsyms_addresses` without a base.
    pub addresses: Vec<u8>,
    /// How addresses are written.
    pub rule: AddressRule,
}

/// How the addresses of kallsyms are written.
#[derive(Debug, Clone, Copy)]
pub enum AddressRule {
    /// 8 bytes each.
    Absolute,
    /// 4 bytes each, from this base.
    FromBase(u64),
    /// 4 bytes each, from their own place.
    FromPlace,
}

/// Decodes kallsyms.
///
/// # Errors
///
/// [`LinuxError`], of what cannot be believed.
pub fn kallsyms(tables: SymbolTables, stext: VirtAddr) -> Result<Kallsyms, LinuxError> {
    let addresses = match tables.rule {
        AddressRule::Absolute => RawAddresses::Absolute(tables.addresses),
        AddressRule::FromBase(base) => RawAddresses::Relative {
            offsets: tables.addresses,
            at: IMAGE,
            base: Some(VirtAddr::new(base)),
        },
        AddressRule::FromPlace => RawAddresses::Relative {
            offsets: tables.addresses,
            at: IMAGE,
            base: None,
        },
    };
    let raw = RawTables {
        num_syms: tables.num_syms,
        names_at: IMAGE,
        names: tables.names,
        token_table: tables.token_table,
        token_index: tables.token_index,
        addresses,
    };
    Kallsyms::decode(raw, stext)
}

/// The tables of 5.10 with `count` symbols, `lead` bytes behind the start of an image whose text begins at
/// `stext`: what [`kallsyms_search`] finds while nobody changes it.
#[must_use]
pub fn kallsyms_image(count: usize, lead: usize, stext: VirtAddr) -> Vec<u8> {
    tables_of_5_10(count, lead, stext.get())
}

/// Finds kallsyms by its shape, in the `max_len` bytes of the image from `stext` on.
///
/// # Errors
///
/// [`LinuxError`], of what cannot be believed or is not there.
pub fn kallsyms_search(
    mem: &PhysMem,
    table: PageTable,
    stext: VirtAddr,
    max_len: ByteLen,
) -> Result<Kallsyms, LinuxError> {
    search(VirtMem { mem, table }, stext, max_len)
}

/// Where lists of areas begin.
#[derive(Debug, Clone, Copy)]
pub enum AreaLists {
    /// One list.
    List {
        /// Of the areas in use.
        busy: VirtAddr,
        /// Of those that were freed.
        freed: VirtAddr,
    },
    /// A list, and a stack of those that were freed.
    Stack {
        /// Of the areas in use.
        busy: VirtAddr,
        /// Of those that were freed.
        freed: VirtAddr,
    },
    /// Nodes: the variables that say where they are and how many.
    Nodes {
        /// The pointer to the array.
        array: VirtAddr,
        /// The number of nodes.
        count: VirtAddr,
    },
}

/// What was read of areas.
#[derive(Debug)]
pub struct Areas {
    /// Those in use.
    pub busy: Result<Vec<KnownArea>, LinuxError>,
    /// Those that were freed.
    pub freed: Result<Vec<KnownArea>, LinuxError>,
    /// How many of those in use were found again.
    pub again: usize,
}

/// Reads areas from lists.
#[must_use]
pub fn areas(mem: &PhysMem, table: PageTable, lists: AreaLists) -> Option<Areas> {
    let bases = Bases {
        direct_map: DIRECT_MAP,
        vmalloc: VMALLOC,
        vmemmap: VirtAddr::new(0xffff_ea00_0000_0000),
        vmalloc_size: ByteLen::new(32 << 40),
    };
    let image = VirtRange::from_len(IMAGE, ByteLen::new(1 << 20))?;
    let linear = LinearMap::new(&bases, image, 0)?;
    let reader = AreaReader::of_lists(AreaLayout::of_6_12(), linear, lists);
    let virt = VirtMem { mem, table };
    let busy = reader.read_busy(virt);
    let known = busy.as_deref().unwrap_or_default();
    let again = known
        .iter()
        .filter(|known| reader.read_again(mem, known).is_some())
        .count();
    let freed = lazily_freed(&reader, virt);
    Some(Areas { busy, freed, again })
}

/// Reads the module list at `head`.
///
/// # Errors
///
/// [`LinuxError`], of what cannot be believed.
pub fn modules(mem: &PhysMem, table: PageTable, head: VirtAddr) -> Result<Vec<Module>, LinuxError> {
    let virt = VirtMem { mem, table };
    read_modules(virt, &ModuleLayout::of_6_12(), head, Depth::Symbols)
}

/// Reads the tree of resources at `root`.
///
/// # Errors
///
/// [`LinuxError`], of what cannot be believed.
pub fn resources(mem: &PhysMem, table: PageTable, root: VirtAddr) -> Result<Iomem, LinuxError> {
    read_tree(VirtMem { mem, table }, ResourceLayout::BUILT_IN, root)
}

/// Reads the log whose ring buffer the pointer at `prb` leads to.
///
/// # Errors
///
/// [`LinuxError`], of what cannot be believed.
pub fn log(mem: &PhysMem, table: PageTable, prb: VirtAddr) -> Result<Log, LinuxError> {
    read_log(VirtMem { mem, table }, &LogLayout::of_6_12(), prb)
}
