//! What is known about a target, in one piece: for a person to read, or as JSON.

use std::time::Duration;

use serde::{Serialize, Serializer};
use vread_addr::{ByteLen, PhysAddr, VirtAddr};
use vread_kcore::KcoreSegment;
use vread_linux::Missing;
use vread_physmem::AccessMode;

use crate::{GuestRam, QemuGuest, Sharing};

/// What is known about a target. In JSON, addresses are strings in hexadecimal (`"0xffff…"`, since many
/// readers of JSON keep no 64-bit numbers), lengths are numbers of bytes, times are milliseconds.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct TargetInfo {
    /// The word that names it.
    pub target: String,
    /// What it is, in words.
    pub kind: &'static str,
    /// The VMM that runs it, if one does.
    pub qemu: Option<QemuInfo>,
    /// Its kernel, if it has one.
    pub kernel: Option<KernelInfo>,
    /// How its memory is reached.
    pub access: Option<&'static str>,
    /// Its RAM, ascending.
    pub ram: Vec<RamInfo>,
    /// The segments of its `kcore`, in their order.
    pub segments: Vec<SegmentInfo>,
    /// What could not be found; everything else works.
    pub missing: Vec<MissingInfo>,
    /// How long it took to open.
    #[serde(rename = "open_ms", serialize_with = "milliseconds")]
    pub open_time: Duration,
    /// The steps of that.
    pub steps: Vec<StepInfo>,
}

/// The QEMU behind a guest.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct QemuInfo {
    /// Its process.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// The guest's name.
    pub name: Option<String>,
    /// Whether the guest ran when asked, in QEMU's word.
    pub status: String,
    /// The QMP socket.
    pub socket: String,
}

/// A guest's kernel.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct KernelInfo {
    /// As `uname -r` has it.
    pub release: String,
    /// The GNU build id in hexadecimal, where the kernel has one.
    pub build_id: Option<String>,
    /// Which way led to it, in words.
    pub found_by: String,
    /// By how many bytes the image lies above its link address.
    #[serde(serialize_with = "hex_len")]
    pub kaslr_offset: ByteLen,
    /// Where the direct map of RAM begins.
    #[serde(serialize_with = "hex_opt")]
    pub page_offset_base: Option<VirtAddr>,
    /// Where vmalloc space begins.
    #[serde(serialize_with = "hex_opt")]
    pub vmalloc_base: Option<VirtAddr>,
    /// Where the page descriptors begin.
    #[serde(serialize_with = "hex_opt")]
    pub vmemmap_base: Option<VirtAddr>,
    /// Levels of page tables.
    pub paging_levels: u8,
}

/// A range of RAM.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct RamInfo {
    /// Its first byte.
    #[serde(serialize_with = "hex_phys")]
    pub start: PhysAddr,
    /// Its length.
    #[serde(serialize_with = "bytes")]
    pub len: ByteLen,
    /// The memory backend.
    pub backend: String,
    /// Whether other processes can map it.
    pub shared: bool,
    /// The file that holds it.
    pub file: Option<String>,
}

/// A segment of the image.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct SegmentInfo {
    /// Its kind.
    pub kind: String,
    /// Its first byte.
    #[serde(serialize_with = "hex")]
    pub start: VirtAddr,
    /// Its length.
    #[serde(serialize_with = "bytes")]
    pub len: ByteLen,
    /// Where its first byte lies in physical memory.
    #[serde(serialize_with = "hex_phys_opt")]
    pub phys: Option<PhysAddr>,
}

/// Something that could not be found.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct MissingInfo {
    /// What.
    pub what: String,
    /// Why.
    pub why: String,
    /// What does not work without it.
    pub consequence: String,
}

/// A step of opening a target.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct StepInfo {
    /// What was done.
    pub step: &'static str,
    /// How long it took.
    #[serde(rename = "ms", serialize_with = "milliseconds")]
    pub time: Duration,
}

impl From<&QemuGuest> for QemuInfo {
    fn from(guest: &QemuGuest) -> Self {
        Self {
            pid: guest.pid,
            version: guest.version.clone(),
            name: guest.name.clone(),
            status: guest.status.clone(),
            socket: guest.socket.display().to_string(),
        }
    }
}

impl From<&GuestRam> for RamInfo {
    fn from(ram: &GuestRam) -> Self {
        Self {
            start: ram.range.start(),
            len: ram.range.len(),
            backend: ram.backend.clone(),
            shared: ram.sharing == Sharing::Shared,
            file: ram.file.as_ref().map(|file| file.display().to_string()),
        }
    }
}

impl From<&KcoreSegment> for SegmentInfo {
    fn from(segment: &KcoreSegment) -> Self {
        Self {
            kind: segment.kind.to_string(),
            start: segment.start,
            len: segment.len,
            phys: segment.phys,
        }
    }
}

impl From<&Missing> for MissingInfo {
    fn from(missing: &Missing) -> Self {
        Self {
            what: missing.what.into(),
            why: missing.why.to_string(),
            consequence: missing.consequence.into(),
        }
    }
}

/// A word for how memory is reached.
pub(crate) fn access_word(mode: AccessMode) -> &'static str {
    match mode {
        AccessMode::Mapped => "mapped",
        AccessMode::VmReadv => "vm-readv",
        AccessMode::Mixed => "mixed",
    }
}

fn hex<S: Serializer>(addr: &VirtAddr, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{addr:#x}"))
}

fn hex_opt<S: Serializer>(addr: &Option<VirtAddr>, serializer: S) -> Result<S::Ok, S::Error> {
    match addr {
        Some(addr) => hex(addr, serializer),
        None => serializer.serialize_none(),
    }
}

fn hex_phys<S: Serializer>(addr: &PhysAddr, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{addr:#x}"))
}

fn hex_phys_opt<S: Serializer>(addr: &Option<PhysAddr>, serializer: S) -> Result<S::Ok, S::Error> {
    match addr {
        Some(addr) => hex_phys(addr, serializer),
        None => serializer.serialize_none(),
    }
}

fn hex_len<S: Serializer>(len: &ByteLen, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{len:#x}"))
}

fn bytes<S: Serializer>(len: &ByteLen, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(len.get())
}

fn milliseconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64() * 1e3)
}
