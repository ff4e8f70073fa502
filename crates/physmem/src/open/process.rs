use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::sync::Arc;

use rustix::process::Pid;
use vread_addr::{ByteLen, FileOffset, PhysRange, VirtAddr, VirtRange};

use super::{behind_vma, map_file};
use crate::OpenError;
use crate::backing_file::BackingFile;
use crate::liveness::Liveness;
use crate::pagemap::Pagemap;
use crate::phys_mem::Access;
use crate::proc_maps::{self, MappedFile, Sharing, Vma};
use crate::process_ram::{ProcessRam, Teller};
use crate::region::{Place, Region};
use crate::system_read::ProcessVm;

/// Finds out how each range can be reached, and opens it that way.
pub(super) fn open(
    pid: u32,
    ranges: &[(PhysRange, VirtAddr)],
    access: Access,
) -> Result<(Vec<Region>, Arc<Liveness>), OpenError> {
    let number = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .ok_or(OpenError::NoProcess { pid })?;
    // First of all, so that whatever is opened below is checked to be this process's at the end.
    let liveness = Liveness::of(number).map_err(|error| refused(pid, "watch it", error))?;
    let liveness = Arc::new(liveness);
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))
        .map_err(|error| refused(pid, "read its memory map", error))?;
    let vmas = proc_maps::parse(&maps);
    let mut opener = Opener {
        pid,
        process: ProcessVm::new(number),
        liveness: liveness.clone(),
        access,
        files: HashMap::new(),
        pagemap: None,
        may_read: None,
    };
    let mut regions = Vec::new();
    for &(range, addr) in ranges.iter().filter(|(range, _)| !range.is_empty()) {
        let result = opener.open_range(&vmas, range, addr, &mut regions);
        if liveness.ask() {
            return Err(OpenError::NoProcess { pid });
        }
        result?;
    }
    Ok((regions, liveness))
}

struct Opener {
    pid: u32,
    process: ProcessVm,
    liveness: Arc<Liveness>,
    access: Access,
    /// By device and inode; the reason where it cannot be opened.
    files: HashMap<(u32, u32, u64), Result<Arc<BackingFile>, String>>,
    pagemap: Option<Arc<File>>,
    /// Whether `process_vm_readv` was found to be permitted.
    may_read: Option<()>,
}

/// What the kernel calls the file of huge pages that are anonymous.
const ANONYMOUS_HUGE: &str = "/anon_hugepage";

/// A part of a range that lies in one mapping of the process, or in several that follow on each other.
struct Part<'v> {
    range: PhysRange,
    /// Where it starts in the process.
    addr: VirtAddr,
    first: &'v Vma,
    last: &'v Vma,
}

impl Part<'_> {
    /// The position of its first byte in the file, if there is one.
    fn offset(&self) -> FileOffset {
        // WRAP: the part starts in this mapping, which shows a piece of a file.
        let into = self.addr.wrapping_offset_from(self.first.range.start());
        self.first.offset.wrapping_add(into)
    }
}

impl Opener {
    fn open_range(
        &mut self,
        vmas: &[Vma],
        range: PhysRange,
        addr: VirtAddr,
        regions: &mut Vec<Region>,
    ) -> Result<(), OpenError> {
        for part in self.split(vmas, range, addr)? {
            regions.push(self.open_part(&part)?);
        }
        Ok(())
    }

    /// Cuts a range where the process's mappings change. Neighbours that show one piece of one file (as
    /// advice to the kernel tears a mapping) stay together.
    fn split<'v>(
        &self,
        vmas: &'v [Vma],
        range: PhysRange,
        addr: VirtAddr,
    ) -> Result<Vec<Part<'v>>, OpenError> {
        let whole = VirtRange::from_len(addr, range.len()).ok_or(OpenError::Wraps {
            range,
            at: addr.get(),
        })?;
        let mut parts: Vec<Part<'_>> = Vec::new();
        let mut cursor = addr;
        while cursor < whole.end() {
            let vma = vmas
                .get(vmas.partition_point(|vma| vma.range.end() <= cursor))
                .filter(|vma| vma.range.contains(cursor))
                .ok_or(OpenError::NotMapped {
                    pid: self.pid,
                    addr: cursor,
                    range,
                })?;
            let end = vma.range.end().min(whole.end());
            // WRAP: both lie in `whole`, whose length is that of `range`.
            let at = |position: VirtAddr| {
                let into = position.wrapping_offset_from(addr);
                range.start().wrapping_add(into)
            };
            let part = PhysRange::new(at(cursor), at(end));
            match (part, parts.last_mut()) {
                (Some(part), Some(before)) if follows(before.last, vma) => {
                    before.range =
                        PhysRange::new(before.range.start(), part.end()).unwrap_or(before.range);
                    before.last = vma;
                }
                (Some(range), _) => parts.push(Part {
                    range,
                    addr: cursor,
                    first: vma,
                    last: vma,
                }),
                (None, _) => {}
            }
            cursor = end;
        }
        Ok(parts)
    }

    fn open_part(&mut self, part: &Part<'_>) -> Result<Region, OpenError> {
        let file = match &part.first.file {
            Some(file) => self.file_behind(part, file),
            None => Err("it is anonymous memory".to_owned()),
        };
        if self.access != Access::VmReadv {
            match (self.map_part(part, file.clone())?, self.access) {
                (Ok(region), _) => return Ok(region),
                (Err(reason), Access::Mapped) => {
                    return Err(OpenError::CannotMap {
                        pid: self.pid,
                        range: part.range,
                        reason,
                    });
                }
                (Err(_), _) => {}
            }
        }
        self.check_may_read()?;
        let head = part.addr.page_offset();
        let len = part
            .range
            .len()
            .checked_add(head)
            .and_then(ByteLen::to_usize)
            .ok_or(OpenError::Wraps {
                range: part.range,
                at: part.addr.get(),
            })?;
        let ram = ProcessRam::new(
            self.process,
            self.liveness.clone(),
            part.addr.page_start(),
            len,
            self.teller(part, file.ok())?,
        );
        // Less than a page.
        let head = head.to_usize_clamped();
        Ok(Region::new(part.range, head, Place::Process(ram)))
    }

    /// The part, mapped, or why that cannot be.
    fn map_part(
        &mut self,
        part: &Part<'_>,
        file: Result<Arc<BackingFile>, String>,
    ) -> Result<Result<Region, String>, OpenError> {
        if part.first.sharing == Sharing::Private && part.first.file.is_some() {
            return Ok(Err("its file is mapped privately".to_owned()));
        }
        let file = match file {
            Ok(file) => file,
            Err(reason) => return Ok(Err(reason)),
        };
        let pagemap = if file.is_huge() {
            Some(self.pagemap()?)
        } else {
            None
        };
        let owner = |head| Some(Pagemap::new(pagemap?, part.addr.checked_sub(head)?));
        let region = map_file(&file, part.range, part.offset(), owner);
        Ok(region.map_err(|error| error.to_string()))
    }

    /// Who knows which pages of the part are populated.
    fn teller(
        &mut self,
        part: &Part<'_>,
        file: Option<Arc<BackingFile>>,
    ) -> Result<Teller, OpenError> {
        let is_huge = match (&file, &part.first.file) {
            (Some(file), _) => file.is_huge(),
            (None, Some(file)) => file.name.starts_with(ANONYMOUS_HUGE),
            (None, None) => false,
        };
        Ok(match (&part.first.file, file) {
            // The process may not have touched what another one has written to the file.
            (Some(_), Some(file)) if part.first.sharing == Sharing::Shared && !is_huge => {
                Teller::File {
                    file,
                    first: part.offset().page_start(),
                }
            }
            // A page that is not there comes from the file.
            (Some(_), _) if !is_huge => Teller::Nobody,
            _ => Teller::Pagemap(Pagemap::new(self.pagemap()?, part.addr.page_start())),
        })
    }

    /// The file behind a mapping.
    fn file_behind(
        &mut self,
        part: &Part<'_>,
        file: &MappedFile,
    ) -> Result<Arc<BackingFile>, String> {
        let pid = self.pid;
        self.files
            .entry((file.dev_major, file.dev_minor, file.inode))
            .or_insert_with(|| {
                behind_vma::open(pid, part.first, file).map(|file| Arc::new(BackingFile::new(file)))
            })
            .clone()
    }

    fn pagemap(&mut self) -> Result<Arc<File>, OpenError> {
        if let Some(pagemap) = &self.pagemap {
            return Ok(pagemap.clone());
        }
        let pagemap = File::open(format!("/proc/{}/pagemap", self.pid))
            .map_err(|error| refused(self.pid, "read its page map", error))?;
        Ok(self.pagemap.insert(Arc::new(pagemap)).clone())
    }

    fn check_may_read(&mut self) -> Result<(), OpenError> {
        if self.may_read.is_some() {
            return Ok(());
        }
        // Nothing is ever mapped at address 0; a permitted read of it is a fault.
        match self.process.read_byte(VirtAddr::new(0)) {
            Ok(_) | Err(libc::EFAULT) => {
                self.may_read = Some(());
                Ok(())
            }
            Err(errno) => Err(refused(
                self.pid,
                "read its memory",
                io::Error::from_raw_os_error(errno),
            )),
        }
    }
}

/// Whether `next` shows what comes after `last`, in memory and in the file.
fn follows(last: &Vma, next: &Vma) -> bool {
    let same_file = match (&last.file, &next.file) {
        (None, None) => true,
        (Some(last_file), Some(next_file)) => {
            last_file == next_file && last.offset.checked_add(last.range.len()) == Some(next.offset)
        }
        _ => false,
    };
    same_file && last.sharing == next.sharing && last.range.end() == next.range.start()
}

fn refused(pid: u32, verb: &'static str, source: io::Error) -> OpenError {
    match (source.kind(), source.raw_os_error()) {
        (ErrorKind::NotFound, _) | (_, Some(libc::ESRCH)) => OpenError::NoProcess { pid },
        _ => OpenError::NotPermitted {
            pid,
            verb,
            advice: advice(),
            source,
        },
    }
}

/// What the user can do about a refusal.
fn advice() -> String {
    let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
    match scope.trim() {
        "" | "0" => "run as the user that runs it, or as root (CAP_SYS_PTRACE)".to_owned(),
        scope => format!(
            "kernel.yama.ptrace_scope is {scope}, so only root (CAP_SYS_PTRACE) may read another \
             process; run as root, or set it to 0"
        ),
    }
}
