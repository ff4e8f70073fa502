//! A guest of QEMU with a Linux kernel in it.

use std::{
    collections::BTreeSet,
    os::unix::ffi::OsStrExt as _,
    path::Path,
    time::{Duration, Instant},
};

use vread_addr::{PhysRange, VirtAddr};
use vread_iov_iter::SourceFailure;
use vread_linux::{
    AttachError, AttachOptions, CpuPaging, CpuRegisters, Kernel, LinuxError, Missing, PagingLevels,
};
use vread_physmem::PhysMem;

use crate::{
    KernelInfo, QemuGuest, QemuInfo, RamInfo, StepInfo, TargetError, TargetInfo,
    error::printable,
    info::{MissingInfo, access_word},
    qemu::{OnTheLine, registers},
    target::OpenOptions,
};

/// How often a vCPU is asked before it is believed that it runs another kernel or none.
const MAX_CPU_ASKS: usize = 5;

/// A guest: QEMU's word for where its memory lies, and what the memory says about itself.
#[derive(Debug)]
pub(crate) struct Guest {
    qemu: QemuGuest,
    kernel: Kernel,
    ask_time: Duration,
    map_time: Duration,
}

impl Guest {
    /// Attaches to the guest of the QEMU that `call` reaches.
    pub(crate) fn attach(
        call: impl FnOnce() -> Result<OnTheLine, TargetError>,
        options: OpenOptions<'_>,
    ) -> Result<Self, TargetError> {
        let (line, ask_time) = timed(call);
        let line = line?;
        let ranges = line.guest.ram.iter().map(|ram| (ram.range, ram.hva));
        let ranges: Vec<(PhysRange, VirtAddr)> = ranges.collect();
        let (mem, map_time) =
            timed(|| PhysMem::of_process_with(line.guest.pid, &ranges, options.access));
        let mem = mem?;
        // QEMU lived all the while, so the process that was opened is QEMU's. The socket is for others
        // from now on.
        let cpu = line.cpu;
        let cpus: Vec<CpuPaging> = cpu.paging().into_iter().collect();
        let qemu = line.hang_up()?;
        let help = AttachOptions::default()
            .cpus(&cpus)
            .progress(options.progress);
        let kernel = Kernel::attach_with(mem, help).map_err(|source| TargetError::Attach {
            hint: attach_hint(&qemu, &source),
            guest: qemu.title(),
            source,
        })?;
        let guest = Self {
            qemu,
            kernel,
            ask_time,
            map_time,
        };
        // A machine that was reset has the kernel before in its memory until the next one is loaded.
        if !cpu
            .may_run(&guest.kernel)
            .map_err(|source| guest.lost(source))?
            && !guest.runs()?
        {
            return Err(TargetError::NotRunning {
                guest: guest.qemu.title(),
                release: printable(guest.kernel.release().as_bytes()),
            });
        }
        Ok(guest)
    }

    /// Whether the kernel still runs, by QEMU's word and by what is in memory. A vCPU leaves its kernel for
    /// moments (its firmware's management mode), so a no is asked for several times.
    pub(crate) fn runs(&self) -> Result<bool, TargetError> {
        for _ in 0..MAX_CPU_ASKS {
            let in_memory = self.kernel.is_in_memory();
            if !in_memory.map_err(|source| self.lost(source))? {
                return Ok(false);
            }
            let cpu = OnTheLine::ask_cpu(&self.qemu)?;
            if cpu
                .may_run(&self.kernel)
                .map_err(|source| self.lost(source))?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn lost(&self, failure: SourceFailure) -> TargetError {
        TargetError::Attach {
            guest: self.qemu.title(),
            source: failure.into(),
            hint: String::new(),
        }
    }

    pub(crate) fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    /// The socket on which QEMU takes commands.
    pub(crate) fn qmp_socket(&self) -> &Path {
        &self.qemu.socket
    }

    /// What `ask` gets of the kernel; where it cannot be had, the error says what the guest lacks.
    pub(crate) fn ask<'g, T>(
        &'g self,
        ask: impl FnOnce(&'g Kernel) -> Result<T, LinuxError>,
    ) -> Result<T, TargetError> {
        ask(&self.kernel).map_err(|source| TargetError::Kernel {
            guest: self.qemu.title(),
            lacks: lacks(self.kernel.missing()),
            source,
        })
    }

    /// What is in the registers of the kernel's CPUs now, in their order.
    ///
    /// QEMU tells them; where it does not, as when another client has its socket, there are none, which
    /// is said as a warning and keeps nobody from reading the guest's memory.
    pub(crate) fn cpu_registers(&self) -> Vec<CpuRegisters> {
        let processors = match registers::of_guest(&self.qemu) {
            Ok(processors) => processors,
            Err(error) => {
                tracing::warn!(%error, "the file's notes are without the processors' registers");
                return Vec::new();
            }
        };
        let tables: Vec<_> = processors
            .iter()
            .map(|processor| processor.descriptor_table)
            .collect();
        // QEMU counts the processors of the machine, the kernel those that it has started.
        let known = self.kernel.cpus_of_descriptor_tables(&tables);
        let known = known.unwrap_or_else(|error| {
            tracing::debug!(%error, "the kernel's numbers of the CPUs are taken to be QEMU's");
            let numbers = processors.iter();
            numbers.map(|processor| Some(processor.index)).collect()
        });
        let numbered = processors.iter().zip(known);
        let mut cpus: Vec<CpuRegisters> = numbered
            .filter_map(|(processor, cpu)| {
                Some(CpuRegisters {
                    cpu: cpu?,
                    registers: processor.registers,
                })
            })
            .collect();
        cpus.sort_by_key(|cpu| cpu.cpu);
        cpus.dedup_by_key(|cpu| cpu.cpu);
        cpus
    }

    /// What is known, but for the target's name, its segments, and how long opening took in all.
    pub(crate) fn describe(&self, info: &mut TargetInfo) {
        let kernel = &self.kernel;
        let bases = kernel.bases();
        info.qemu = Some(QemuInfo::from(&self.qemu));
        info.kernel = Some(KernelInfo {
            release: kernel.release().to_owned(),
            build_id: kernel.vmcoreinfo().build_id().map(ToOwned::to_owned),
            found_by: kernel.found_by().to_string(),
            kaslr_offset: kernel.kaslr_offset(),
            page_offset_base: bases.map(|bases| bases.direct_map),
            vmalloc_base: bases.map(|bases| bases.vmalloc),
            vmemmap_base: bases.map(|bases| bases.vmemmap),
            paging_levels: match kernel.page_table().levels() {
                PagingLevels::Four => 4,
                PagingLevels::Five => 5,
            },
        });
        info.access = Some(access_word(kernel.phys_mem().access_mode()));
        info.ram = self.qemu.ram.iter().map(RamInfo::from).collect();
        info.missing
            .extend(kernel.missing().iter().map(MissingInfo::from));
        let own_steps = [
            ("ask QEMU for its memory", self.ask_time),
            ("open the memory", self.map_time),
        ];
        let steps = own_steps.iter().chain(kernel.times().steps());
        info.steps
            .extend(steps.map(|(step, time)| StepInfo { step, time: *time }));
    }
}

/// What QEMU's word adds to the reason.
fn attach_hint(qemu: &QemuGuest, source: &AttachError) -> String {
    match source {
        AttachError::NotLinux { .. } | AttachError::StillBooting { .. }
            if qemu.status != "running" =>
        {
            let status = printable(qemu.status.as_bytes());
            format!("; QEMU says that the guest is `{status}`, not running")
        }
        AttachError::Source(SourceFailure::Truncated) => {
            let files: BTreeSet<_> = qemu
                .ram
                .iter()
                .filter_map(|ram| ram.file.as_ref())
                .collect();
            let names: Vec<_> = files
                .iter()
                .map(|file| printable(file.as_os_str().as_bytes()))
                .collect();
            format!(
                "; {} is shorter than the guest's RAM by now, so its content is lost: start the guest anew",
                names.join(" or ")
            )
        }
        _ => String::new(),
    }
}

/// What is missing and where the rest is listed.
fn lacks(missing: &[Missing]) -> String {
    if missing.is_empty() {
        return String::new();
    }
    let list: Vec<_> = missing
        .iter()
        .map(|missing| format!("{} ({})", missing.what, missing.why))
        .collect();
    format!(
        "; not found in its memory: {}; `vread info` says what each is needed for",
        list.join(", ")
    )
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let result = work();
    (result, start.elapsed())
}
