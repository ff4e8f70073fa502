//! `vread info`

use std::{
    fmt,
    io::{self, Write},
    time::Duration,
};

use vread_addr::{ByteLen, VirtAddr};
use vread_targets::{Target, TargetInfo};

use crate::{Outcome, arguments::InfoArguments, json, printable::Printable};

pub(crate) fn run(
    target: &Target,
    arguments: &InfoArguments,
    out: &mut dyn Write,
) -> anyhow::Result<Outcome> {
    let info = target.info();
    if arguments.json {
        json::write_pretty(out, &info)?;
        writeln!(out)?;
    } else {
        print(out, &info)?;
    }
    match info.missing.is_empty() {
        true => Ok(Outcome::All),
        false => Ok(Outcome::SomeMissing),
    }
}

fn print(out: &mut dyn Write, info: &TargetInfo) -> io::Result<()> {
    let mut line = |label: &str, value: &dyn fmt::Display| {
        writeln!(out, "{label:<16} {}", Printable(&value.to_string()))
    };
    line("target", &info.target)?;
    line("kind", &info.kind)?;
    if let Some(kernel) = &info.kernel {
        line("kernel", &kernel.release)?;
        line("build id", &kernel.build_id.as_deref().unwrap_or("none"))?;
        line("KASLR offset", &format_args!("{:#x}", kernel.kaslr_offset))?;
        line("direct map at", &OrUnknown(kernel.page_offset_base))?;
        line("vmalloc at", &OrUnknown(kernel.vmalloc_base))?;
        line("page structs at", &OrUnknown(kernel.vmemmap_base))?;
        line(
            "page tables",
            &format_args!("{} levels", kernel.paging_levels),
        )?;
    }
    if let Some(qemu) = &info.qemu {
        let name = qemu.name.as_deref().unwrap_or("without a name");
        line("guest", &format_args!("{name}, {}", qemu.status))?;
        line(
            "QEMU",
            &format_args!("{}, process {}", qemu.version, qemu.pid),
        )?;
    }
    if let Some(access) = info.access {
        let words = match (access, info.ram.iter().all(|ram| ram.shared)) {
            ("mapped", _) => "mapped (the RAM is a shared file: reads cost no system call)",
            ("vm-readv", true) => {
                "vm-readv (out of QEMU's process, though the RAM is a shared file)"
            }
            ("vm-readv", false) => {
                "vm-readv (out of QEMU's process; -object memory-backend-memfd,share=on would be faster)"
            }
            (other, _) => other,
        };
        line("access", &words)?;
    }
    for ram in &info.ram {
        let sharing = if ram.shared { "shared" } else { "private" };
        let file = ram.file.as_deref().unwrap_or("anonymous");
        let end = ram.start.wrapping_add(ram.len); // WRAP: a range that was checked
        line(
            "RAM",
            &format_args!(
                "{:#012x}-{:#012x} {:>9} {} ({sharing}, {file})",
                ram.start.get(),
                end.get(),
                Size(ram.len),
                ram.backend
            ),
        )?;
    }
    for segment in &info.segments {
        let phys = segment
            .phys
            .map(|phys| format!(" at physical {phys:#x}"))
            .unwrap_or_default();
        line(
            "segment",
            &format_args!(
                "{:016x} {:>9} {}{phys}",
                segment.start.get(),
                Size(segment.len),
                segment.kind
            ),
        )?;
    }
    line("opened in", &Milliseconds(info.open_time))?;
    if let Some(kernel) = &info.kernel {
        line("found by", &kernel.found_by)?;
    }
    for step in &info.steps {
        line(
            "",
            &format_args!("{:<24} {}", step.step, Milliseconds(step.time)),
        )?;
    }
    for missing in &info.missing {
        line(
            "missing",
            &format_args!(
                "{}: {}; without it: {}",
                missing.what, missing.why, missing.consequence
            ),
        )?;
    }
    Ok(())
}

struct OrUnknown(Option<VirtAddr>);

impl fmt::Display for OrUnknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(addr) => write!(f, "{addr:#x}"),
            None => f.write_str("unknown"),
        }
    }
}

struct Milliseconds(Duration);

impl fmt::Display for Milliseconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} ms", self.0.as_secs_f64() * 1e3)
    }
}

/// A length in the largest binary unit that divides it well enough to read.
struct Size(ByteLen);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u32, &str); 4] = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
        let bytes = self.0.get();
        let unit = UNITS.iter().find(|(shift, _)| bytes >> shift != 0);
        let text = match unit {
            None => format!("{bytes} B"),
            Some((shift, unit)) => {
                let whole = bytes >> shift;
                let rest = bytes & ByteLen::new(1 << shift).low_mask();
                // One decimal, rounded down: nothing is shown larger than it is.
                let tenths = rest.wrapping_mul(10) >> shift;
                match tenths {
                    0 => format!("{whole} {unit}"),
                    tenths => format!("{whole}.{tenths} {unit}"),
                }
            }
        };
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_sizes_in_words() {
        for (bytes, shown) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (654_336, "639 KiB"),
            (536_739_840, "511.8 MiB"),
            (1 << 45, "32 TiB"),
            ((1 << 45) - 1, "31.9 TiB"),
        ] {
            assert_eq!(Size(ByteLen::new(bytes)).to_string(), shown);
        }
    }
}
