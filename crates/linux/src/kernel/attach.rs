use std::sync::Arc;

use vread_addr::{ByteLen, PhysRange};
use vread_iov_iter::SourceFailure;
use vread_physmem::PhysMem;

use super::banner;
use super::boot::BootMark;
use super::identify::{Identified, Rejected, Verdict};
use super::parts::Parts;
use super::{AttachError, AttachTimes, CpuPaging, FoundBy, Kernel, Missing};
use crate::areas::{AreaHints, AreaLayout, AreaReader};
use crate::kallsyms::read_kallsyms;
use crate::linear::LinearMap;
use crate::memory::PageFilter;
use crate::virt_mem::VirtMem;
use crate::vmcoreinfo::{self, Candidate, InImage, Meter, ScanProgress};
use crate::{Btf, Kallsyms, LinuxError, VmCoreInfo};

/// How much RAM is scanned page by page in this thread before the rest is shared out: the note lies low
/// in memory nearly always.
const SCAN_ALONE: ByteLen = ByteLen::new(1 << 30);

/// How many processors' words are followed.
const MAX_CPUS: usize = 8;

/// What helps to attach. The default is no help, and finds the kernel all the same.
#[derive(Clone, Copy, Default)]
#[non_exhaustive]
pub struct AttachOptions<'a> {
    /// What the machine's processors use for paging, where the VMM tells. Hints: what is found by them is
    /// checked as all else.
    pub cpus: &'a [CpuPaging],
    /// Who is told how far a scan of RAM is, should one be needed.
    pub progress: Option<&'a dyn ScanProgress>,
}

impl std::fmt::Debug for AttachOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AttachOptions")
            .field("cpus", &self.cpus)
            .finish_non_exhaustive()
    }
}

impl<'a> AttachOptions<'a> {
    /// The same, with what the processors say.
    #[must_use]
    pub fn cpus(self, cpus: &'a [CpuPaging]) -> Self {
        Self { cpus, ..self }
    }

    /// The same, with somebody who waits for the scan.
    #[must_use]
    pub fn progress(self, progress: Option<&'a dyn ScanProgress>) -> Self {
        Self { progress, ..self }
    }
}

/// How many candidates' symbols are read: a hostile guest can have many notes, each with a large table.
const MAX_SYMBOL_TABLES: usize = 8;

/// A kernel that was believed, and its symbols as far as they could be read.
struct Believed {
    kernel: Identified,
    found_by: FoundBy,
    kallsyms: Result<Kallsyms, LinuxError>,
}

impl Kernel {
    /// Finds the kernel in `mem` and reads what it says about itself.
    ///
    /// Only what nothing works without is an error. The rest (symbols, types, areas) is listed by
    /// [`missing`](Kernel::missing) where it cannot be had.
    ///
    /// # Errors
    ///
    /// [`AttachError`].
    pub fn attach(mem: PhysMem) -> Result<Self, AttachError> {
        Self::attach_with(mem, AttachOptions::default())
    }

    /// As [`Kernel::attach`], with help.
    ///
    /// # Errors
    ///
    /// [`AttachError`].
    pub fn attach_with(mem: PhysMem, options: AttachOptions<'_>) -> Result<Self, AttachError> {
        let mut times = AttachTimes::default();
        let Believed {
            kernel,
            found_by,
            kallsyms,
        } = find_kernel(&mem, options, &mut times)?;
        let mut missing = Vec::new();
        let mut keep = |what, consequence, why| {
            missing.push(Missing {
                what,
                consequence,
                why,
            });
        };
        let kallsyms = kallsyms
            .map_err(|why| {
                keep(
                    "symbols",
                    "no names but those of VMCOREINFO, no tasks, no modules",
                    why,
                )
            })
            .ok();

        let virt = VirtMem {
            mem: &mem,
            table: kernel.table,
        };
        let info = &kernel.candidate.info;
        let parts = match &kallsyms {
            Some(kallsyms) => Parts::by_symbols(virt, info, kallsyms, &mut times),
            None => Parts::by_shape(virt, &kernel, &mut times),
        };
        let btf = parts
            .btf
            .map_err(|why| keep("types", "no tasks, no modules, no values by type", why))
            .ok();
        let bases = parts
            .bases
            .map_err(|why| keep("bases", "no direct map, no vmalloc space", why))
            .ok();
        let image = parts
            .image
            .map_err(|why| keep("image range", "no text segment", why))
            .ok();
        let root_resource = parts
            .root_resource
            .map_err(|why| keep("resources", "no list of RAM, no RAM segments", why))
            .ok();
        let linear = bases
            .as_ref()
            .zip(image)
            .and_then(|(bases, image)| LinearMap::new(bases, image, kernel.phys_base))
            .ok_or(LinuxError::Needs {
                what: "bases and the image's range",
            });
        const NO_AREAS: &str = "no vmallocinfo; vmalloc space is read as the page table maps it";
        let areas = times
            .time("areas", || {
                area_reader(info, btf.as_ref(), linear.clone(), kallsyms.as_ref())
            })
            .map_err(|why| keep("areas", NO_AREAS, why))
            .ok();
        let page_filter = bases
            .as_ref()
            .ok_or(LinuxError::Needs { what: "bases" })
            .and_then(|bases| PageFilter::new(info, bases, linear?))
            .map_err(|why| keep("page descriptors", "RAM reads as zeros", why))
            .ok();
        let page = kernel.candidate.page;
        let boot_mark = BootMark::read(virt, page, kallsyms.as_ref(), btf.as_ref());
        Ok(Self {
            boot_mark,
            table: kernel.table,
            phys_base: kernel.phys_base,
            release: kernel.release,
            vmcoreinfo_page: kernel.candidate.page,
            info: kernel.candidate.info,
            found_by,
            mem,
            kallsyms,
            btf: btf.map(Arc::new),
            bases,
            image,
            root_resource,
            areas,
            hints: AreaHints::default(),
            page_filter,
            missing,
            times,
        })
    }
}

/// What became of the candidates so far.
#[derive(Default)]
struct Survey {
    /// How many were looked at.
    seen: usize,
    /// Those that passed all but N9 (d), which needs symbols.
    survivors: Vec<Believed>,
    /// Why the first of the others was rejected.
    rejected: Option<AttachError>,
    /// How often symbols were read.
    symbol_tables: usize,
}

fn find_kernel(
    mem: &PhysMem,
    options: AttachOptions<'_>,
    times: &mut AttachTimes,
) -> Result<Believed, AttachError> {
    const FOLLOW: &str = "follow a vCPU";
    const SCAN: &str = "scan for VMCOREINFO";
    let mut survey = Survey::default();
    for cpu in options.cpus.iter().take(MAX_CPUS) {
        for root in cpu.roots() {
            let search = times.time(FOLLOW, || InImage::new(mem, root, cpu.levels));
            let mut search = search.map_err(source)?;
            while !survey.is_full()
                && let Some(candidate) = times.time(FOLLOW, || search.next()).map_err(source)?
            {
                if let Some(kernel) = survey.consider(mem, candidate, FoundBy::Processor, times)? {
                    return Ok(kernel);
                }
            }
        }
    }
    let meter = Meter::new(options.progress, mem.ranges());
    let (near, far) = split(mem.ranges(), SCAN_ALONE);
    for range in near {
        let mut scan = vmcoreinfo::Scan::new(mem, range, &meter);
        while !survey.is_full()
            && let Some(candidate) = times.time(SCAN, || scan.next()).map_err(source)?
        {
            if let Some(kernel) = survey.consider(mem, candidate, FoundBy::LowMemory, times)? {
                return Ok(kernel);
            }
        }
    }
    let candidates = match far.is_empty() {
        true => Vec::new(),
        false => times
            .time(SCAN, || vmcoreinfo::scan_in_parallel(mem, &far, &meter))
            .map_err(source)?,
    };
    for candidate in candidates {
        if let Some(kernel) = survey.consider(mem, candidate, FoundBy::WholeScan, times)? {
            return Ok(kernel);
        }
    }
    survey.decide(mem)
}

impl Survey {
    /// Whether more candidates would only be passed over.
    fn is_full(&self) -> bool {
        self.seen >= vmcoreinfo::MAX_CANDIDATES
    }

    /// Looks at one candidate; the kernel, if there can be no doubt.
    fn consider(
        &mut self,
        mem: &PhysMem,
        candidate: Candidate,
        found_by: FoundBy,
        times: &mut AttachTimes,
    ) -> Result<Option<Believed>, AttachError> {
        self.seen = self.seen.saturating_add(1);
        if self.seen > vmcoreinfo::MAX_CANDIDATES {
            return Ok(None);
        }
        let at = candidate.page;
        let release = candidate.info.os_release().unwrap_or_default().to_owned();
        tracing::debug!(%at, %release, "VMCOREINFO candidate");
        let checked = times.time("check of the page table", || {
            Identified::check(mem, candidate)
        });
        let kernel = match checked {
            Ok(kernel) => kernel,
            Err(Rejected::Failed(error)) => return Err(source(error)),
            Err(Rejected::Unsupported(why)) => {
                self.reject(AttachError::Unsupported { release, why });
                return Ok(None);
            }
            Err(Rejected::Stale(why)) => {
                self.reject(AttachError::Stale { at, release, why });
                return Ok(None);
            }
        };
        let virt = VirtMem {
            mem,
            table: kernel.table,
        };
        let info = &kernel.candidate.info;
        // The note and the text page of one kernel (N1, N3) are one candidate.
        let known = |other: &Believed| other.kernel.candidate.info == *info;
        if self.survivors.iter().any(known) {
            return Ok(None);
        }
        self.symbol_tables = self.symbol_tables.saturating_add(1);
        if self.symbol_tables > MAX_SYMBOL_TABLES {
            let why = "too many other candidates came before it".to_owned();
            self.reject(AttachError::Stale { at, release, why });
            return Ok(None);
        }
        let kallsyms = times.time("symbols", || read_kallsyms(virt, info));
        if let Err(LinuxError::Source(failure)) = kallsyms {
            return Err(failure.into());
        }
        let verdict = match &kallsyms {
            Ok(kallsyms) => kernel.verdict(mem, kallsyms),
            Err(_) => Verdict::Open,
        };
        let believed = Believed {
            kernel,
            found_by,
            kallsyms,
        };
        match verdict {
            Verdict::Confirmed => return Ok(Some(believed)),
            // The image that a processor runs points to it, and it describes that image.
            Verdict::Open if found_by == FoundBy::Processor => return Ok(Some(believed)),
            Verdict::Open => self.survive(believed),
            Verdict::Refuted(why) => {
                let why = why.to_owned();
                self.reject(AttachError::Stale { at, release, why });
            }
        }
        Ok(None)
    }

    fn survive(&mut self, believed: Believed) {
        self.survivors.push(believed);
        // Of several, none is believed: only their names are needed, and symbols are large.
        if self.survivors.len() > 1 {
            for survivor in &mut self.survivors {
                survivor.kallsyms = Err(LinuxError::Needs {
                    what: "a kernel that is the only one",
                });
            }
        }
    }

    fn reject(&mut self, error: AttachError) {
        tracing::debug!(%error, "candidate rejected");
        self.rejected.get_or_insert(error);
    }

    /// The only survivor, or why there is none.
    fn decide(mut self, mem: &PhysMem) -> Result<Believed, AttachError> {
        match (self.survivors.len(), self.survivors.pop()) {
            (1, Some(kernel)) => Ok(kernel),
            (_, Some(last)) => {
                self.survivors.push(last);
                let name =
                    |believed: &Believed| (believed.kernel.release.clone(), believed.kernel.page());
                Err(AttachError::Ambiguous {
                    candidates: self.survivors.iter().map(name).collect(),
                })
            }
            (_, None) => match self.rejected {
                Some(error) => Err(error),
                None => Err(banner::explain_absence(mem)),
            },
        }
    }
}

fn area_reader(
    info: &VmCoreInfo,
    btf: Option<&Btf>,
    linear: Result<LinearMap, LinuxError>,
    kallsyms: Option<&Kallsyms>,
) -> Result<AreaReader, LinuxError> {
    let needs = |what| LinuxError::Needs { what };
    let layout = AreaLayout::from_btf(btf.ok_or(needs("types"))?)?;
    AreaReader::new(layout, linear?, info, kallsyms)
}

/// The first `len` bytes of RAM, and the rest.
fn split(ranges: &[PhysRange], len: ByteLen) -> (Vec<PhysRange>, Vec<PhysRange>) {
    let mut left = len;
    let (mut near, mut far) = (Vec::new(), Vec::new());
    for range in ranges {
        let border = range
            .start()
            .checked_add(left)
            .map_or(range.end(), |border| border.min(range.end()));
        near.extend(PhysRange::new(range.start(), border).filter(|part| !part.is_empty()));
        far.extend(PhysRange::new(border, range.end()).filter(|part| !part.is_empty()));
        left = left.saturating_sub(range.len());
    }
    (near, far)
}

fn source(error: LinuxError) -> AttachError {
    match error {
        LinuxError::Source(failure) => failure.into(),
        // The scan reports nothing else; what it cannot read, it passes over.
        _ => SourceFailure::Torn.into(),
    }
}

#[cfg(test)]
mod tests;
