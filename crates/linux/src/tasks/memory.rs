use std::cell::Cell;

use vread_addr::{ByteLen, VirtAddr};

use super::{CommandLine, Memory};
use crate::record::{Field, Record, Shape, little_endian};
use crate::virt_mem::VirtMem;
use crate::{Btf, LinuxError};

/// The most bytes of one command line.
const MAX_COMMAND_LINE_LEN: usize = 1 << 20;
/// A program that writes its own command line has at most so much room for it.
const MAX_TITLE_LEN: usize = 4096;
/// The most processors whose part of a count is added.
const MAX_CPUS: u64 = 8192;
/// The most parts of counts that are added, of all processes together; beyond, counts are what processors
/// have handed in. A hostile target has as many processors as it likes.
const MAX_PARTS: usize = 1 << 21;
/// `MM_FILEPAGES`, `MM_ANONPAGES` and `MM_SHMEMPAGES` of Linux's `rss_stat`: what counts as in RAM.
const RESIDENT: [usize; 3] = [0, 1, 3];
const PAGE_SHIFT: u32 = 12;

/// Where the members of `mm_struct` lie, from BTF.
#[derive(Debug)]
pub(crate) struct MemoryLayout {
    mm: Shape,
    pgd: Field,
    arg_start: Field,
    arg_end: Field,
    env_start: Field,
    env_end: Field,
    total_vm: Field,
    rss_stat: Field,
    counter: Counter,
}

/// How pages are counted.
#[derive(Debug)]
enum Counter {
    /// One number for each kind (before 6.2).
    Plain,
    /// A number, and one more for each processor.
    PerCpu {
        stride: usize,
        count: usize,
        parts: usize,
    },
}

/// Where each processor's variables lie.
#[derive(Debug, Clone)]
pub(crate) struct PerCpu {
    offsets: Vec<u64>,
    /// How many more parts are added up.
    parts_left: Cell<usize>,
}

impl PerCpu {
    /// Reads `count` offsets from the array at `offsets`.
    pub(crate) fn read(
        virt: VirtMem<'_>,
        offsets: VirtAddr,
        count: u64,
    ) -> Result<Self, LinuxError> {
        let count = usize::try_from(count.min(MAX_CPUS)).unwrap_or_default();
        let bytes = virt.read_vec(offsets, count.saturating_mul(8))?;
        Ok(Self {
            offsets: bytes.chunks_exact(8).map(little_endian).collect(),
            parts_left: Cell::new(MAX_PARTS),
        })
    }

    /// The sum of a signed 32-bit variable over all processors; those without memory for it count nothing.
    fn sum_i32(&self, virt: VirtMem<'_>, variable: u64) -> i64 {
        let Some(left) = self.parts_left.get().checked_sub(self.offsets.len()) else {
            return 0;
        };
        self.parts_left.set(left);
        let part = |offset: &u64| {
            // WRAP: offsets of processors may be negative.
            let at = VirtAddr::new(variable.wrapping_add(*offset));
            let value = virt.read_u32(at).unwrap_or_default();
            i64::from(value.cast_signed())
        };
        let parts = self.offsets.iter().map(part);
        parts.fold(0, i64::saturating_add)
    }
}

impl MemoryLayout {
    pub(crate) fn from_btf(btf: &Btf) -> Result<Self, LinuxError> {
        let mut mm = Shape::new("a process's memory");
        let moving = |shape: &mut Shape, name: &'static str| {
            let found = shape.find_moving(btf, name);
            found.ok_or(LinuxError::NoType { name })
        };
        let offset = |name: &'static str| {
            let at = btf.offset_of(name).and_then(ByteLen::to_usize);
            at.ok_or(LinuxError::NoType { name })
        };
        let counter = match btf.offset_of("mm_struct.rss_stat.count") {
            Some(_) => Counter::Plain,
            None => Counter::PerCpu {
                stride: btf
                    .size_of_struct("percpu_counter")
                    .and_then(ByteLen::to_usize)
                    .ok_or(LinuxError::NoType {
                        name: "percpu_counter",
                    })?,
                count: offset("percpu_counter.count")?,
                parts: offset("percpu_counter.counters")?,
            },
        };
        Ok(Self {
            pgd: mm.need(btf, "mm_struct.pgd")?,
            arg_start: mm.need(btf, "mm_struct.arg_start")?,
            arg_end: mm.need(btf, "mm_struct.arg_end")?,
            env_start: mm.need(btf, "mm_struct.env_start")?,
            env_end: mm.need(btf, "mm_struct.env_end")?,
            total_vm: moving(&mut mm, "mm_struct.total_vm")?,
            rss_stat: moving(&mut mm, "mm_struct.rss_stat")?,
            counter,
            mm,
        })
    }

    pub(super) fn read(&self, virt: VirtMem<'_>, at: VirtAddr) -> Result<Record, LinuxError> {
        self.mm.read(virt, at)
    }

    /// How much memory there is.
    pub(super) fn usage(&self, virt: VirtMem<'_>, per_cpu: Option<&PerCpu>, mm: &Record) -> Memory {
        let stat = mm.bytes(self.rss_stat);
        let word = |at: usize| {
            let bytes = stat.get(at..).unwrap_or_default();
            little_endian(bytes).cast_signed()
        };
        let (mut handed_in, mut exact) = (0_i64, 0_i64);
        for kind in RESIDENT {
            let (count, parts) = match self.counter {
                Counter::Plain => (word(kind.saturating_mul(8)), 0),
                Counter::PerCpu {
                    stride,
                    count,
                    parts,
                } => {
                    let base = kind.saturating_mul(stride);
                    let variable = word(base.saturating_add(parts)).cast_unsigned();
                    let parts = per_cpu.map_or(0, |cpus| cpus.sum_i32(virt, variable));
                    (word(base.saturating_add(count)), parts)
                }
            };
            // A count that lags behind may be below zero: nothing then, as in the kernel.
            handed_in = handed_in.saturating_add(count.max(0));
            exact = exact.saturating_add(count.saturating_add(parts).max(0));
        }
        let pages = |count: i64| {
            let bytes = count.cast_unsigned().checked_shl(PAGE_SHIFT);
            ByteLen::new(bytes.unwrap_or_default())
        };
        Memory {
            rss: pages(exact),
            rss_handed_in: pages(handed_in),
            size: pages(mm.number(self.total_vm).cast_signed()),
        }
    }

    /// The command line, out of the process's own memory, through its own page table. `budget` is how many
    /// bytes all command lines together may still have.
    pub(super) fn command_line(
        &self,
        virt: VirtMem<'_>,
        mm: &Record,
        budget: &mut usize,
    ) -> Result<CommandLine, LinuxError> {
        let pgd = mm.pointer(self.pgd);
        let root = virt.table.translate(virt.mem, pgd)?;
        let root = root.ok_or(LinuxError::NotMapped { addr: pgd })?;
        let user = VirtMem {
            mem: virt.mem,
            table: virt.table.with_root(root),
        };
        let (start, end) = (mm.pointer(self.arg_start), mm.pointer(self.arg_end));
        let Some(len) = end.checked_offset_from(start) else {
            return Ok(CommandLine::None);
        };
        if !virt.table.levels().is_user(start) || !virt.table.levels().is_user(end) {
            return Ok(CommandLine::None);
        }
        let mut bytes = Vec::new();
        let limit = MAX_COMMAND_LINE_LEN.min(*budget);
        let len = len.to_usize_clamped().min(limit);
        if let Some(missing) = read_pieces(user, start, len, &mut bytes)? {
            return Ok(CommandLine::NotResident(missing));
        }
        // A program that writes another text over its arguments leaves no NUL at their end, and may go on
        // into its environment.
        let (env_start, env_end) = (mm.pointer(self.env_start), mm.pointer(self.env_end));
        let is_title = bytes.last().is_some_and(|last| *last != 0) && env_start == end;
        if is_title && let Some(room) = env_end.checked_offset_from(start) {
            let room = room.to_usize_clamped().min(MAX_TITLE_LEN).min(limit);
            let title = user.read_string(start, room)?;
            bytes = title;
        }
        *budget = budget.saturating_sub(bytes.len());
        Ok(CommandLine::Arguments(bytes))
    }
}

/// Appends the `len` bytes at `start`, or says which page of them is not in RAM.
fn read_pieces(
    user: VirtMem<'_>,
    start: VirtAddr,
    len: usize,
    bytes: &mut Vec<u8>,
) -> Result<Option<VirtAddr>, LinuxError> {
    while bytes.len() < len {
        let Some(at) = start.checked_add(ByteLen::from_usize(bytes.len())) else {
            break;
        };
        // To the end of a page at most, so that no more is set aside than is there.
        let rest_of_page = 4096_usize.saturating_sub(at.page_offset().to_usize_clamped());
        let piece = rest_of_page.min(len.saturating_sub(bytes.len()));
        match user.read_vec(at, piece) {
            Ok(piece) => bytes.extend_from_slice(&piece),
            Err(LinuxError::NotMapped { addr }) => return Ok(Some(addr)),
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}
