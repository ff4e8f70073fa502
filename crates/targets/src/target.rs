use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use vread_addr::{FileOffset, VirtAddr};
use vread_iov_iter::{IovIter, Progress, SourceFailure};
use vread_kcore::{EndOfFile, KcoreError, KcoreImage, OffsetRule, ReadOptions, read_kcore_iter};
use vread_linux::{Kernel, LinuxError, ScanProgress, Symbol};
use vread_nofault::UserBuf;
use vread_physmem::Access;

use crate::{
    AreaLine, Paused, TargetError, TargetInfo, TargetWord, View,
    arena::{self, ArenaTarget},
    guest::Guest,
    info::{MissingInfo, SegmentInfo},
    qemu::OnTheLine,
};

/// Something with memory, opened: a guest, or an arena.
///
/// All reading is done at positions of an image ([`Target::image`]) and looks at memory as it is then.
/// Any number of threads may read at once.
#[derive(Debug)]
pub struct Target {
    word: TargetWord,
    source: Source,
    access: Access,
    /// The guest was seen to have started anew: what is known of it is of a kernel that is gone.
    restarted: AtomicBool,
    open_time: Duration,
}

#[derive(Debug)]
enum Source {
    Guest(Box<Guest>),
    Arena(Box<ArenaTarget>),
}

/// What a [glance](Target::glance) at a target's memory showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Glance {
    /// All is where it was.
    Unchanged {
        /// The kernel's count of ticks, where it has one.
        jiffies: Option<u64>,
    },
    /// Something else is there.
    Restarted,
}

/// How to open a target.
#[derive(Clone, Copy, Default)]
pub struct OpenOptions<'a> {
    /// How a guest's RAM is to be reached.
    pub access: Access,
    /// Who is told how far a scan of its RAM is, should one be needed to find the kernel.
    pub progress: Option<&'a dyn ScanProgress>,
}

impl fmt::Debug for OpenOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenOptions")
            .field("access", &self.access)
            .finish_non_exhaustive()
    }
}

impl Target {
    /// Finds and opens what `word` names. `access` says how a guest's RAM is to be reached.
    ///
    /// # Errors
    ///
    /// [`TargetError`], one for each thing that can be in the way.
    pub fn open(word: TargetWord, access: Access) -> Result<Self, TargetError> {
        let options = OpenOptions {
            access,
            progress: None,
        };
        Self::open_with(word, options)
    }

    /// As [`Target::open`], with more to choose.
    ///
    /// # Errors
    ///
    /// [`TargetError`], one for each thing that can be in the way.
    pub fn open_with(word: TargetWord, options: OpenOptions<'_>) -> Result<Self, TargetError> {
        let start = Instant::now();
        let source = match &word {
            TargetWord::Arena => Source::Arena(Box::new(ArenaTarget::new()?)),
            TargetWord::QemuSocket(path) => {
                let guest = Guest::attach(|| OnTheLine::call(path), options)?;
                Source::Guest(Box::new(guest))
            }
            TargetWord::QemuPid(pid) => {
                let guest = Guest::attach(|| OnTheLine::call_pid(*pid), options)?;
                Source::Guest(Box::new(guest))
            }
        };
        Ok(Self {
            word,
            source,
            access: options.access,
            restarted: AtomicBool::new(false),
            open_time: start.elapsed(),
        })
    }

    /// Whether the kernel that was found when opening still runs, by the word of the machine's VMM and by
    /// what is in memory; once it does not, all reading fails with [`SourceFailure::Restarted`].
    ///
    /// # Errors
    ///
    /// [`TargetError`] where that cannot be found out: another client holds the VMM's socket, or the
    /// machine is gone.
    pub fn is_current(&self) -> Result<bool, TargetError> {
        let runs = match &self.source {
            Source::Guest(guest) => guest.runs(),
            Source::Arena(_) => Ok(true),
        };
        self.note(runs)
    }

    /// As [`Target::is_current`], by what is in memory alone, which shows a restart later or not at all;
    /// and how far the kernel's clock is, if it has one. Costs next to nothing.
    ///
    /// # Errors
    ///
    /// [`SourceFailure`] where memory as a whole can no longer be read.
    pub fn glance(&self) -> Result<Glance, SourceFailure> {
        let Source::Guest(guest) = &self.source else {
            return Ok(Glance::Unchanged { jiffies: None });
        };
        let kernel = guest.kernel();
        match self.note(kernel.is_in_memory())? {
            true => Ok(Glance::Unchanged {
                jiffies: kernel.jiffies(),
            }),
            false => Ok(Glance::Restarted),
        }
    }

    /// Opens again what the word names.
    ///
    /// # Errors
    ///
    /// As [`Target::open`].
    pub fn reopen(&self) -> Result<Self, TargetError> {
        Self::open(self.word.clone(), self.access)
    }

    fn note<E>(&self, runs: Result<bool, E>) -> Result<bool, E> {
        if let Ok(false) = runs {
            self.restarted.store(true, Ordering::Relaxed);
        }
        Ok(runs? && !self.restarted.load(Ordering::Relaxed))
    }

    /// The word that names it.
    #[must_use]
    pub fn word(&self) -> &TargetWord {
        &self.word
    }

    /// What is known about it.
    #[must_use]
    pub fn info(&self) -> TargetInfo {
        let mut info = TargetInfo {
            target: self.word.to_string(),
            kind: match &self.source {
                Source::Guest(_) => "Linux guest of QEMU",
                Source::Arena(_) => "vmalloc arena in this process",
            },
            qemu: None,
            kernel: None,
            access: None,
            ram: Vec::new(),
            segments: Vec::new(),
            missing: Vec::new(),
            open_time: self.open_time,
            steps: Vec::new(),
        };
        if let Source::Guest(guest) = &self.source {
            guest.describe(&mut info);
        }
        match self.image(View::Kcore) {
            Ok(image) => {
                let segments = image.segments().iter();
                let segments = segments.map(|placed| SegmentInfo::from(&placed.segment));
                info.segments = segments.collect();
            }
            Err(error) => info.missing.push(MissingInfo {
                what: "segments".into(),
                why: error.to_string(),
                consequence: "nothing can be read or mounted".into(),
            }),
        }
        info
    }

    /// The target's memory as a file, with a header of now.
    ///
    /// # Errors
    ///
    /// [`TargetError::Kernel`] where the kernel's segments cannot be had, [`TargetError::Image`].
    pub fn image(&self, view: View) -> Result<KcoreImage, TargetError> {
        match (&self.source, view) {
            (Source::Guest(guest), View::Kcore) => guest.ask(Kernel::kcore_image),
            (Source::Guest(guest), View::Vmcore) => {
                let cpus = guest.cpu_registers();
                guest.ask(|kernel| kernel.vmcore_image(&cpus))
            }
            (Source::Guest(guest), View::VmcoreLive) => {
                let cpus = guest.cpu_registers();
                guest.ask(|kernel| kernel.vmcore_live_image(&cpus))
            }
            (Source::Arena(arena), View::Kcore) => Ok(arena.kcore()?),
            (Source::Arena(arena), View::Vmcore | View::VmcoreLive) => Ok(arena.vmcore()?),
        }
    }

    /// Fills `iter` from position `at` of `image`, which is one of this target's.
    ///
    /// # Errors
    ///
    /// [`KcoreError::PositionOverflow`], before the first byte.
    pub fn read_at(
        &self,
        image: &KcoreImage,
        at: FileOffset,
        iter: &mut IovIter<'_, UserBuf<'_>>,
        end: EndOfFile,
    ) -> Result<Progress, KcoreError> {
        let options = ReadOptions {
            end,
            cancelled: None,
        };
        if self.restarted.load(Ordering::Relaxed) {
            return Ok(Progress::failed(SourceFailure::Restarted));
        }
        match &self.source {
            Source::Guest(guest) => read_kcore_iter(image, guest.kernel(), iter, at, options),
            Source::Arena(arena) => read_kcore_iter(image, arena.as_ref(), iter, at, options),
        }
    }

    /// The kernel that reads come from, if there is one and it has not been seen to be gone.
    pub(crate) fn kernel_now(&self) -> Option<&Kernel> {
        match &self.source {
            Source::Guest(guest) if !self.restarted.load(Ordering::Relaxed) => Some(guest.kernel()),
            _ => None,
        }
    }

    /// Where the kernel address `addr` stands in `image`, an image of [`View::Kcore`], whether or not a
    /// segment holds it.
    ///
    /// # Errors
    ///
    /// [`TargetError::NotCanonical`] and [`TargetError::UserAddress`] for what is no kernel address.
    pub fn position_of(
        &self,
        image: &KcoreImage,
        addr: VirtAddr,
    ) -> Result<FileOffset, TargetError> {
        let rule = self.offset_rule();
        let lowest = rule.to_vaddr(vread_addr::ByteLen::ZERO);
        if addr >= lowest {
            let offset = rule.to_offset(addr);
            let position = image.data_offset().checked_add(offset);
            return position.ok_or(TargetError::NotCanonical { addr, lowest });
        }
        // The lower half is as large as the upper one.
        match addr.get() <= !lowest.get() {
            true => Err(TargetError::UserAddress { addr, lowest }),
            false => Err(TargetError::NotCanonical { addr, lowest }),
        }
    }

    /// Allocates, resizes, maps and frees areas until `stop` is set, for others to read meanwhile. Returns
    /// how many rounds that were.
    ///
    /// Each 8 bytes that the areas show say where they belong: bits 0 to 38 are their place in the arena's
    /// window, in words; bit 39 says that their page may have been mapped elsewhere since; and bits 40 to
    /// 63 count the rounds.
    ///
    /// # Errors
    ///
    /// [`TargetError::NoAreasToChange`] for all targets but an arena.
    pub fn churn(&self, stop: &AtomicBool) -> Result<u64, TargetError> {
        match &self.source {
            Source::Guest(_) => {
                let target = self.word.to_string();
                Err(TargetError::NoAreasToChange { target })
            }
            Source::Arena(arena) => Ok(arena.churn(stop)?),
        }
    }

    /// Every symbol, in the order of `/proc/kallsyms`.
    ///
    /// # Errors
    ///
    /// The target has no symbol table.
    pub fn symbols(&self) -> Result<Vec<Symbol>, TargetError> {
        match &self.source {
            Source::Guest(guest) => Ok(guest.ask(Kernel::symbols)?.iter().collect()),
            Source::Arena(arena) => Ok(arena.symbols().to_vec()),
        }
    }

    /// The addresses of all symbols called `name`: names are not unique.
    ///
    /// # Errors
    ///
    /// The target has no symbol table.
    pub fn find_symbol(&self, name: &str) -> Result<Vec<VirtAddr>, TargetError> {
        match &self.source {
            Source::Guest(guest) => guest.ask(|kernel| kernel.find_symbol(name)),
            Source::Arena(arena) => {
                let symbols = arena.symbols().iter();
                let named = symbols.filter(|symbol| symbol.name == name);
                Ok(named.map(|symbol| symbol.addr).collect())
            }
        }
    }

    /// The symbol that covers `addr`, as the kernel prints addresses: `name+0x10/0x80 [module]`.
    ///
    /// # Errors
    ///
    /// The target has no symbol table.
    pub fn resolve(&self, addr: VirtAddr) -> Result<Option<String>, TargetError> {
        match &self.source {
            Source::Guest(guest) => {
                let covering = guest.ask(Kernel::symbols)?.resolve(addr);
                Ok(covering.map(|covering| covering.to_string()))
            }
            Source::Arena(arena) => Ok(arena.resolve(addr)),
        }
    }

    /// The areas of vmalloc space.
    ///
    /// # Errors
    ///
    /// The target's areas cannot be read.
    pub fn vmallocinfo(&self) -> Result<Vec<AreaLine>, TargetError> {
        match &self.source {
            Source::Guest(guest) => {
                let lines = guest.ask(Kernel::vmallocinfo)?;
                Ok(lines.iter().map(AreaLine::from).collect())
            }
            Source::Arena(arena) => Ok(arena.vmallocinfo()),
        }
    }

    /// What `ask` gets of the target's kernel.
    ///
    /// # Errors
    ///
    /// [`TargetError::NoKernel`] for a target without a kernel; otherwise what the kernel lacks.
    pub fn ask_kernel<'t, T>(
        &'t self,
        ask: impl FnOnce(&'t Kernel) -> Result<T, LinuxError>,
    ) -> Result<T, TargetError> {
        match &self.source {
            Source::Guest(guest) => guest.ask(ask),
            Source::Arena(_) => Err(TargetError::NoKernel {
                target: self.word.to_string(),
            }),
        }
    }

    /// Stops the guest's processors until the [`Paused`] that is returned is resumed or dropped.
    ///
    /// # Errors
    ///
    /// [`TargetError::NoPause`] for a target that is no guest of QEMU; otherwise what QMP lacks.
    pub fn pause(&self) -> Result<Paused, TargetError> {
        match &self.source {
            Source::Guest(guest) => Paused::stop(guest.qmp_socket()),
            Source::Arena(_) => Err(TargetError::NoPause {
                target: self.word.to_string(),
            }),
        }
    }

    fn offset_rule(&self) -> OffsetRule {
        match &self.source {
            Source::Guest(guest) => guest.kernel().offset_rule(),
            Source::Arena(_) => arena::RULE,
        }
    }
}
