//! Which guest-physical ranges are main memory, and where QEMU keeps them: QEMU's own word for it.
//!
//! Main memory is what the guest's kernel can come to call System RAM. In the flat view of `memory` it
//! is of kind `ram`, but so are video memory, firmware on old machines and the memory of some PCI
//! devices. What tells them apart, without knowing a machine by its name: main memory belongs to a
//! memory backend (`query-memdev`; every machine since QEMU 5.0 has one), and does not lie in a PCI
//! device's window (`query-pci`; `ivshmem` maps a backend there). Memory of pluggable devices counts,
//! enclave memory does not.

use std::{
    collections::HashSet,
    path::PathBuf,
    time::{Duration, Instant},
};

use serde::Deserialize;
use serde_json::{Value, json};
use vread_addr::{ByteLen, PhysAddr, PhysRange, VirtAddr};

use crate::{
    TargetError,
    error::{printable, quote},
    qemu::{
        flat_view::{self, FlatRange, FlatViewError},
        qmp::Qmp,
    },
};

/// How often the map is read again when it changes under us.
const MAX_LAYOUT_TRIES: usize = 3;

/// The most ranges of main memory; a machine has one for each memory device and a few.
const MAX_RAM_RANGES: usize = 1 << 12;

/// How long all questions about memory may take together: each answer may be late, but not every one.
const MAX_ASKING: Duration = Duration::from_secs(10);

/// The most PCI devices looked at: 256 buses of 32 slots and 8 functions.
const MAX_PCI_DEVICES: usize = 1 << 16;

/// A range of the guest's main memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestRam {
    /// Where the guest's CPUs see it.
    pub range: PhysRange,
    /// Where QEMU's process has its first byte; the rest follows.
    pub hva: VirtAddr,
    /// The memory backend's name.
    pub backend: String,
    /// Whether other processes may map the backend's memory.
    pub sharing: Sharing,
    /// The file that holds it, as QEMU's process has it mapped; none for anonymous memory.
    pub file: Option<PathBuf>,
}

/// Whether a memory backend was made with `share=on`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// `share=on`: a file or memfd that other processes can map.
    Shared,
    /// `share=off` or plain `-m`: private to QEMU's process.
    Private,
}

#[derive(Debug, Deserialize)]
struct Memdev {
    id: Option<String>,
    share: bool,
}

#[derive(Debug, Deserialize)]
struct MemoryDevice {
    #[serde(rename = "type")]
    kind: String,
    data: MemoryDeviceData,
}

#[derive(Debug, Deserialize)]
struct MemoryDeviceData {
    #[serde(default)]
    memdev: Option<String>,
}

#[derive(Debug, Deserialize)]
struct PciBus {
    devices: Vec<PciDevice>,
}

#[derive(Debug, Deserialize)]
struct PciDevice {
    regions: Vec<PciRegion>,
    #[serde(default)]
    pci_bridge: Option<PciBridge>,
}

#[derive(Debug, Deserialize)]
struct PciBridge {
    #[serde(default)]
    devices: Vec<PciDevice>,
}

#[derive(Debug, Deserialize)]
struct PciRegion {
    #[serde(rename = "type")]
    kind: String,
    /// -1 where the guest has not mapped it.
    address: i64,
    size: i64,
}

/// Asks QEMU for the guest's main memory, in ascending order.
pub(crate) fn main_memory(qmp: &mut Qmp) -> Result<Vec<GuestRam>, TargetError> {
    let start = Instant::now();
    for _ in 0..MAX_LAYOUT_TRIES {
        let before = flat_view(qmp)?;
        let memdevs: Vec<Memdev> = query(qmp, "query-memdev", "a list of memory backends")?;
        let foreign = foreign_backends(qmp)?;
        let windows = pci_windows(qmp)?;
        let mut ram = Vec::new();
        for range in &before {
            let Some(memdev) = backend_of(range, &memdevs) else {
                continue;
            };
            let owner = range.owner.as_deref().unwrap_or_default();
            let in_window = windows
                .iter()
                .any(|window| window.intersection(&range.range).is_some());
            if in_window || foreign.contains(owner) {
                tracing::debug!(range = %range.range, owner, "memory of a device, left out");
                continue;
            }
            if ram.len() >= MAX_RAM_RANGES || start.elapsed() > MAX_ASKING {
                return Err(TargetError::LayoutTooLong {
                    path: qmp.path().to_owned(),
                    ranges: ram.len(),
                });
            }
            ram.push(GuestRam {
                range: range.range,
                hva: host_address(qmp, range.range)?,
                backend: memdev.id.clone().unwrap_or_default(),
                sharing: match memdev.share {
                    true => Sharing::Shared,
                    false => Sharing::Private,
                },
                file: None,
            });
        }
        if flat_view(qmp)? != before {
            continue;
        }
        if ram.is_empty() {
            return Err(TargetError::NoRam {
                path: qmp.path().to_owned(),
            });
        }
        return Ok(ram);
    }
    Err(TargetError::LayoutUnstable {
        path: qmp.path().to_owned(),
    })
}

fn flat_view(qmp: &mut Qmp) -> Result<Vec<FlatRange>, TargetError> {
    const COMMAND: &str = "info mtree -f -o";
    let text = qmp.human(COMMAND)?;
    flat_view::parse_memory(&text).map_err(|error| TargetError::QmpAnswer {
        path: qmp.path().to_owned(),
        command: COMMAND.into(),
        expected: "a flat view of the address space `memory`",
        got: match error {
            FlatViewError::NoMemory => quote(text.as_bytes()),
            FlatViewError::Line(line) => quote(line.as_bytes()),
            FlatViewError::TooLong => "more ranges than any machine has".into(),
        },
    })
}

/// The backend whose memory the range is, where it is memory that a kernel may use as it likes.
fn backend_of<'m>(range: &FlatRange, memdevs: &'m [Memdev]) -> Option<&'m Memdev> {
    // `rom` is memory whose writes go elsewhere (firmware, or shadow memory below 1 MiB), `ramd` a
    // window into a device of the host.
    if !matches!(range.kind.as_str(), "ram" | "nv-ram") {
        return None;
    }
    let owner = range.owner.as_deref()?.strip_prefix("/objects/")?;
    memdevs
        .iter()
        .find(|memdev| memdev.id.as_deref() == Some(owner))
}

/// The backends of pluggable devices whose memory is no main memory.
fn foreign_backends(qmp: &mut Qmp) -> Result<HashSet<String>, TargetError> {
    const KINDS_OF_MAIN_MEMORY: [&str; 5] =
        ["dimm", "nvdimm", "virtio-mem", "virtio-pmem", "hv-balloon"];
    let devices: Vec<MemoryDevice> =
        query_or_nothing(qmp, "query-memory-devices", "a list of memory devices")?;
    Ok(devices
        .into_iter()
        .filter(|device| !KINDS_OF_MAIN_MEMORY.contains(&device.kind.as_str()))
        .filter_map(|device| device.data.memdev)
        .collect())
}

/// Where PCI devices have their memory windows.
fn pci_windows(qmp: &mut Qmp) -> Result<Vec<PhysRange>, TargetError> {
    let buses: Vec<PciBus> = query_or_nothing(qmp, "query-pci", "a list of PCI buses")?;
    let mut windows = Vec::new();
    let mut devices: Vec<PciDevice> = buses.into_iter().flat_map(|bus| bus.devices).collect();
    for _ in 0..MAX_PCI_DEVICES {
        let Some(device) = devices.pop() else { break };
        for region in device.regions {
            let (Ok(address), Ok(size)) =
                (u64::try_from(region.address), u64::try_from(region.size))
            else {
                continue;
            };
            if region.kind == "memory"
                && let Some(window) =
                    PhysRange::from_len(PhysAddr::new(address), ByteLen::new(size))
            {
                windows.push(window);
            }
        }
        devices.extend(
            device
                .pci_bridge
                .into_iter()
                .flat_map(|bridge| bridge.devices),
        );
    }
    Ok(windows)
}

/// Where QEMU has the range, after checking that its last byte lies where it should.
fn host_address(qmp: &mut Qmp, range: PhysRange) -> Result<VirtAddr, TargetError> {
    let first = gpa2hva(qmp, range.start())?;
    let distance = range.len().saturating_sub(ByteLen::new(1));
    let last_byte = range.start().wrapping_add(distance); // WRAP: inside the range
    let last = gpa2hva(qmp, last_byte)?;
    if first.checked_add(distance) != Some(last) {
        return Err(TargetError::SplitRam {
            path: qmp.path().to_owned(),
            range,
            first,
            last,
        });
    }
    Ok(first)
}

fn gpa2hva(qmp: &mut Qmp, address: PhysAddr) -> Result<VirtAddr, TargetError> {
    let command = format!("gpa2hva {address:#x}");
    let text = qmp.human(&command)?;
    parse_gpa2hva(&text).ok_or_else(|| TargetError::QmpAnswer {
        path: qmp.path().to_owned(),
        command,
        expected: "\"Host virtual address for … is 0x…\"",
        got: quote(text.as_bytes()),
    })
}

/// `Host virtual address for 0x100000 (pc.ram) is 0x7fe33bf00000`
fn parse_gpa2hva(text: &str) -> Option<VirtAddr> {
    let text = text.trim();
    if !text.starts_with("Host virtual address for ") {
        return None;
    }
    let (_, hex) = text.rsplit_once(" is 0x")?;
    u64::from_str_radix(hex, 16).ok().map(VirtAddr::new)
}

/// What QEMU's machine protects the guest's memory with, if it does.
pub(crate) fn refuse_encrypted(qmp: &mut Qmp) -> Result<(), TargetError> {
    let arguments = json!({ "path": "/machine", "property": "confidential-guest-support" });
    match qmp.execute("qom-get", Some(arguments)) {
        Ok(Value::String(object)) if !object.is_empty() => Err(TargetError::Encrypted {
            path: qmp.path().to_owned(),
            object: printable(object.as_bytes()),
        }),
        // Machines and QEMUs that know no such thing say so with an error.
        Ok(_) | Err(TargetError::QmpCommand { .. }) => Ok(()),
        Err(other) => Err(other),
    }
}

fn query<T: for<'de> Deserialize<'de>>(
    qmp: &mut Qmp,
    command: &'static str,
    expected: &'static str,
) -> Result<T, TargetError> {
    let value = qmp.execute(command, None)?;
    T::deserialize(&value).map_err(|_| qmp.unexpected(command, expected, &value))
}

/// As [`query`], for a list that a QEMU built without the command does not have.
fn query_or_nothing<T: for<'de> Deserialize<'de>>(
    qmp: &mut Qmp,
    command: &'static str,
    expected: &'static str,
) -> Result<Vec<T>, TargetError> {
    match query(qmp, command, expected) {
        Err(error) if error.is_command_not_found() => Ok(Vec::new()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_host_address() {
        assert_eq!(
            parse_gpa2hva("Host virtual address for 0x0 (pc.ram) is 0x7fe33be00000\r\n"),
            Some(VirtAddr::new(0x7fe3_3be0_0000))
        );
        assert_eq!(
            parse_gpa2hva("No memory is mapped at address 0x20000000\r\n"),
            None
        );
        assert_eq!(
            parse_gpa2hva("Memory at address 0xfee00000 is not RAM\r\n"),
            None
        );
    }

    #[test]
    fn takes_backends_only() {
        let memdevs = [Memdev {
            id: Some("pc.ram".into()),
            share: false,
        }];
        let range = |kind: &str, owner: Option<&str>| FlatRange {
            range: PhysRange::new(PhysAddr::new(0), PhysAddr::new(0x1000)).unwrap(),
            kind: kind.into(),
            region: "pc.ram".into(),
            owner: owner.map(Into::into),
        };
        assert!(backend_of(&range("ram", Some("/objects/pc.ram")), &memdevs).is_some());
        assert!(backend_of(&range("rom", Some("/objects/pc.ram")), &memdevs).is_none());
        assert!(backend_of(&range("ramd", Some("/objects/pc.ram")), &memdevs).is_none());
        assert!(backend_of(&range("ram", Some("/machine/vga")), &memdevs).is_none());
        assert!(backend_of(&range("ram", None), &memdevs).is_none());
    }
}
