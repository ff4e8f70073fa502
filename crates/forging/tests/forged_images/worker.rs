//! The process that works: it may die of an image, and its supervisor then starts another one.

use std::fs::{self, File};
use std::io::Write as _;
use std::ops::Range;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use vread_addr::{ByteLen, FileOffset, PhysAddr, PhysRange};
use vread_iov_iter::IovIter;
use vread_kcore::EndOfFile;
use vread_linux::Kernel;
use vread_nofault::UserBuf;
use vread_physmem::{Access, PhysMem, trace};
use vread_targets::{Target, TargetWord, View};

use crate::clean::Clean;
use crate::figures::Figures;
use crate::forge::forge;
use crate::image::Image;
use crate::{MEMORY, judge, number};

/// The most processor time that one step may take.
const MAX_TIME: Duration = Duration::from_secs(2);
/// How often a step that took more is tried again, since others on this machine lengthen even processor time: what
/// the image makes of a step is the least of them.
const TRIES: usize = 4;
/// When a step is ended that has no end.
const HANG: Duration = Duration::from_secs(20);
/// The most memory that may be allocated at once.
const MAX_MEMORY: usize = 256 << 20;
/// What cannot be allocated at all: a limit for the process, with all that it maps.
const MAX_ADDRESS_SPACE: u64 = 16 << 30;
/// How much is read of each segment of the mount's files.
const SEGMENT_START: usize = 64 << 10;
/// How many segments of a forged image are read.
const MAX_SEGMENTS: usize = 64;
/// Of how many areas a word is read.
const MAX_WORDS: usize = 64;

/// The variable that makes a worker of this program, and what it has to do.
const VARIABLE: &str = "VREAD_FORGING_WORKER";

/// The file of types and symbols for Volatility: the one that is text, without xz around it, which knows nothing
/// of what it compresses.
const ISF: &str = "recovered.json";

/// Every command on every image; what follows the target's word.
const COMMANDS: [&[&str]; 20] = [
    &["info"],
    &["version"],
    &["cmdline"],
    &["iomem"],
    &["lsmod"],
    &["ps", "--threads"],
    &["ps", "--tree"],
    &["dmesg"],
    &["mounts"],
    &["net"],
    &["vmallocinfo"],
    &["vmallocinfo", "--totals"],
    &["symbols"],
    &["symbols", "init_task"],
    &["symbols", "0xffffffffc0000100"],
    &["read", "linux_banner", "256"],
    &["read", "init_task", "--type", "struct task_struct"],
    &["read", "init_task.real_parent->comm"],
    &["read", "init_task", "4K", "--json"],
    &["read", "init_task", "64K", "--raw"],
];
/// Those that write all that is known into a file, and take three quarters of the time; on each image too, unless
/// [`FILES_SHARE`] asks for fewer.
const FILES: [&[&str]; 2] = [
    &["vmlinux", "--output", "recovered"],
    &["isf", "--output", ISF],
];
/// The variable with a number: [`FILES`] are run on one image of so many.
const FILES_SHARE: &str = "VREAD_FORGED_FILES";
/// The same in other words, one of them on each image.
const VARIANTS: [&[&str]; 17] = [
    &["info", "--json"],
    &["version", "--json"],
    &["cmdline", "--json"],
    &["iomem", "--json"],
    &["lsmod", "--json"],
    &["vmallocinfo", "--json"],
    &["ps", "--json", "--threads"],
    &["dmesg", "--json"],
    &["dmesg", "--raw"],
    &[
        "read",
        "init_task",
        "--type",
        "struct task_struct",
        "--json",
    ],
    &["read", "init_task.tasks"],
    &["mounts", "--json"],
    &["net", "--json"],
    &["vmlinux", "--output", "recovered", "--runtime-addresses"],
    &["symbols", "__kmalloc*"],
    &["symbols", "0xffffffff81001234", "--json"],
    &["symbols", "--json"],
];

/// What a worker has to do.
#[derive(Debug)]
pub(crate) struct Work {
    /// The image that it may write to.
    pub(crate) image: PathBuf,
    /// The target that has it as its memory.
    pub(crate) target: String,
    /// Where it says what happens.
    pub(crate) report: PathBuf,
    pub(crate) seeds: Range<u64>,
}

impl Work {
    pub(crate) fn from_env() -> Option<Self> {
        let text = std::env::var(VARIABLE).ok()?;
        let mut lines = text.lines();
        let mut next = || lines.next().expect("a line");
        Some(Self {
            image: next().into(),
            target: next().into(),
            report: next().into(),
            seeds: next().parse().expect("a seed")..next().parse().expect("a seed"),
        })
    }

    pub(crate) fn set_env(&self, command: &mut Command) {
        let Self {
            image,
            target,
            report,
            seeds,
        } = self;
        let (image, report) = (image.display(), report.display());
        let (start, end) = (seeds.start, seeds.end);
        command.env(
            VARIABLE,
            format!("{image}\n{target}\n{report}\n{start}\n{end}"),
        );
    }

    /// Does it.
    pub(crate) fn run(self) -> ExitCode {
        let limit = Rlimit {
            current: Some(MAX_ADDRESS_SPACE),
            maximum: Some(MAX_ADDRESS_SPACE),
        };
        setrlimit(Resource::As, limit).expect("a limit for ourselves");
        vread_nofault::install().expect("the handlers");
        vread::log_to_stderr(2);
        let report = File::options()
            .append(true)
            .open(&self.report)
            .expect("the report");
        let mut worker = Worker {
            image: Image::open(&self.image).expect("the image"),
            clean: Clean::default(),
            watch: Watch::start(report.try_clone().expect("the report")),
            report,
            output: ["stdout", "stderr"].map(|name| self.report.with_file_name(name)),
            target: self.target,
            figures: Figures::default(),
            own_memory: 0,
            files_share: number(FILES_SHARE).unwrap_or(1).max(1),
        };
        worker.look_at_clean(&self.image);
        let count = self.seeds.end - self.seeds.start;
        for seed in self.seeds {
            worker.one_image(seed);
        }
        let figures = std::mem::take(&mut worker.figures);
        worker.say(&format!("figure {count} images, {figures}"));
        worker.say(&format!("figure {}", figures.shares()));
        worker.say("end");
        ExitCode::SUCCESS
    }
}

struct Worker {
    image: Image,
    clean: Clean,
    watch: Arc<Watch>,
    report: File,
    /// The files that our standard output and standard error are.
    output: [PathBuf; 2],
    target: String,
    figures: Figures,
    /// What is allocated where no target is open.
    own_memory: usize,
    /// Files are written of one image of so many.
    files_share: u64,
}

/// What a step did.
struct Step {
    code: Option<ExitCode>,
    defects: Vec<String>,
}

impl Worker {
    /// Watches every command on the clean image, where each must succeed.
    fn look_at_clean(&mut self, path: &Path) {
        let ram = PhysRange::from_len(PhysAddr::new(0), ByteLen::new(self.image.len));
        let ranges = [(ram.expect("a range"), FileOffset::new(0))];
        let mem = PhysMem::from_file(path, &ranges).expect("the image");
        let kernel = Kernel::attach(mem).expect("the clean image has a kernel");
        self.own_memory = MEMORY.current_usage();
        trace::begin();
        let target = Arc::new(self.open().expect("the clean image opens"));
        self.add_reads();
        for words in all_commands() {
            trace::begin();
            let step = self.command(&target, words);
            self.add_reads();
            let said = fs::read_to_string(&self.output[1]).unwrap_or_default();
            // The address of a module may have none.
            let may_miss = ["symbols", "info", "ps", "read", "vmlinux"].contains(&words[0]);
            let good = step.code == Some(ExitCode::SUCCESS)
                || may_miss && step.code == Some(ExitCode::from(1));
            assert!(
                good && step.defects.is_empty(),
                "{words:?}: {:?} {said}",
                step.defects
            );
        }
        trace::begin();
        let step = self.files(&target);
        self.add_reads();
        assert!(
            step.code.is_some() && step.defects.is_empty(),
            "{:?}",
            step.defects
        );
        self.clean.look_up(&self.image, &kernel);
        self.figures = Figures::default();
    }

    fn add_reads(&mut self) {
        let reads = trace::end();
        let reads: Vec<_> = reads.into_iter().map(|(at, len)| (at.get(), len)).collect();
        self.clean.add(&self.image, &reads);
    }

    fn open(&self) -> Result<Target, vread_targets::TargetError> {
        Target::open(TargetWord::parse(self.target.as_ref())?, Access::Mapped)
    }

    /// Forges the image of `seed`, runs everything, and puts it back.
    fn one_image(&mut self, seed: u64) {
        self.say(&format!("begin {seed}"));
        let forgeries = forge(seed, &mut self.image, &self.clean);
        self.own_memory = MEMORY.current_usage();
        let mut target = None;
        let opening = self.step("open", |this| match this.open() {
            Ok(opened) => {
                target = Some(Arc::new(opened));
                ExitCode::SUCCESS
            }
            // Once more, so that it is said as a user would read it.
            Err(_) => vread::main_with(["vread", "info", &this.target, "--access", "mapped"]),
        });
        let mut defects = opening.defects;
        if let Some(target) = target {
            self.figures.opened += 1;
            let variant = VARIANTS[(seed % VARIANTS.len() as u64) as usize];
            let with_files = seed.is_multiple_of(self.files_share);
            let files = FILES.into_iter().filter(|_| with_files);
            for words in COMMANDS.into_iter().chain([variant]).chain(files) {
                defects.extend(self.command(&target, words).defects);
            }
            defects.extend(self.files(&target).defects);
            defects.extend(self.words(&target).defects);
        }
        self.image.undo();
        for defect in defects {
            let forged: Vec<_> = forgeries.iter().map(ToString::to_string).collect();
            self.say(&format!(
                "fail seed {seed}: {defect}; forged: {}",
                forged.join(", ")
            ));
        }
    }

    /// Words of the areas, many at once and one by one: nobody changes the image, so they are the same.
    fn words(&mut self, target: &Arc<Target>) -> Step {
        self.step("words", |_| {
            let (Ok(image), Ok(areas)) = (target.image(View::Kcore), target.vmallocinfo()) else {
                return ExitCode::from(2);
            };
            let starts = areas.iter().map(|area| area.range().start());
            let at: Vec<FileOffset> = starts
                .filter_map(|start| target.position_of(&image, start).ok())
                .take(MAX_WORDS)
                .collect();
            let mut words = vec![0; at.len()];
            let read = target.read_words(&image, &at, &mut words);
            let read = read.expect("the start of an area is in the file");
            let arrived = read.advanced().get() / 8;
            for (at, word) in at.iter().zip(words).take(arrived as usize) {
                let mut bytes = [0; 8];
                let mut segment = UserBuf::new(&mut bytes);
                let mut iter = IovIter::ubuf(&mut segment);
                let read = target.read_at(&image, *at, &mut iter, EndOfFile::Never);
                let read = read.expect("a word that was read is in the file");
                assert!(
                    read.stopped.is_some() || bytes == word.to_le_bytes(),
                    "{at:?}: {word:#x} among others, alone {bytes:x?}"
                );
            }
            ExitCode::SUCCESS
        })
    }

    fn command(&mut self, target: &Arc<Target>, words: &'static [&'static str]) -> Step {
        let (name, rest) = words.split_first().expect("a command");
        let mut step = self.step(&words.join(" "), |this| {
            let words = ["vread", name, &this.target].into_iter();
            vread::main_on(target, words.chain(rest.iter().copied()))
        });
        // A text like what is printed, where there is one.
        if let Some(written) = words.contains(&ISF).then(|| fs::read(ISF).ok()).flatten() {
            let why = judge::obeyed(&written);
            step.defects
                .extend(why.map(|why| format!("{name}: wrote {why}")));
            fs::remove_file(ISF).expect("our file goes");
        }
        step
    }

    /// The files of the mount: header and notes, and the start of each segment.
    fn files(&mut self, target: &Arc<Target>) -> Step {
        self.step("mounted files", |_| {
            let mut code = vread::print_mounted_texts(target);
            for view in [View::Kcore, View::Vmcore] {
                let image = match target.image(view) {
                    Ok(image) => image,
                    Err(error) => {
                        eprintln!("{}", error.to_string().escape_debug());
                        code = ExitCode::from(2);
                        continue;
                    }
                };
                let starts = image.segments().iter().map(|placed| placed.offset);
                let mut buffer = vec![0; SEGMENT_START];
                for at in [FileOffset::new(0)]
                    .into_iter()
                    .chain(starts.take(MAX_SEGMENTS))
                {
                    let mut segment = UserBuf::new(&mut buffer);
                    let mut iter = IovIter::ubuf(&mut segment);
                    let read = target.read_at(&image, at, &mut iter, EndOfFile::Never);
                    let _ = read.expect("the start of a segment is in the file");
                }
            }
            code
        })
    }

    /// Does one thing and judges what it did.
    fn step(&mut self, name: &str, mut run: impl FnMut(&mut Self) -> ExitCode) -> Step {
        for path in &self.output {
            File::options()
                .write(true)
                .open(path)
                .and_then(|file| file.set_len(0))
                .expect("a file");
        }
        PANICS
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        MEMORY.reset_peak_usage();
        let (mut code, mut time) = (None, Duration::MAX);
        for _ in 0..TRIES {
            let start = self.watch.begin();
            code = panic::catch_unwind(AssertUnwindSafe(|| run(self))).ok();
            let _ = std::io::stdout().flush();
            time = time.min(self.watch.end(start));
            if time <= MAX_TIME || code.is_none() {
                break;
            }
        }
        let memory = MEMORY.peak_usage().saturating_sub(self.own_memory);
        let mut defects = Vec::new();
        let panics = std::mem::take(&mut *PANICS.lock().unwrap_or_else(PoisonError::into_inner));
        defects.extend(
            panics
                .into_iter()
                .map(|panic| format!("{name}: panicked: {panic}")),
        );
        if time > MAX_TIME {
            defects.push(format!("{name}: took {time:.2?} of processor time"));
        }
        if memory > MAX_MEMORY {
            defects.push(format!("{name}: took {} MiB", memory >> 20));
        }
        for path in &self.output {
            let raw = name.contains("--raw") && path == &self.output[0];
            let output = fs::read(path).expect("our output");
            if let Some(why) = judge::obeyed(&output).filter(|_| !raw) {
                defects.push(format!("{name}: printed {why}"));
            }
        }
        *self.figures.steps.entry(name.to_owned()).or_default() += time;
        if time > self.figures.time {
            (self.figures.time, self.figures.time_of) = (time, name.to_owned());
        }
        if memory > self.figures.memory {
            (self.figures.memory, self.figures.memory_of) = (memory, name.to_owned());
        }
        match code == Some(ExitCode::from(2)) {
            true => self.figures.bad += 1,
            false => self.figures.good += 1,
        }
        Step { code, defects }
    }

    fn say(&mut self, line: &str) {
        let line = line.replace('\n', " ");
        writeln!(self.report, "{line}").expect("the report");
    }
}

fn all_commands() -> impl Iterator<Item = &'static [&'static str]> {
    COMMANDS.iter().chain(&FILES).chain(&VARIANTS).copied()
}

/// What panicked since the step began, in any thread.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Ends this process where a step has no end.
struct Watch {
    /// When the step began, in nanoseconds of processor time; 0 between steps.
    began: AtomicU64,
}

impl Watch {
    fn start(mut report: File) -> Arc<Self> {
        let watch = Arc::new(Self {
            began: AtomicU64::new(0),
        });
        let between = Arc::clone(&watch);
        let said = report.try_clone().expect("the report");
        panic::set_hook(Box::new(move |info| {
            let text = info.to_string().replace('\n', " ");
            if between.began.load(Ordering::Relaxed) == 0 {
                // One of our own, which ends this worker.
                let _ = writeln!(&said, "fail {text}");
            }
            PANICS
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(text);
        }));
        let watched = Arc::clone(&watch);
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(Duration::from_millis(200));
                let began = watched.began.load(Ordering::Relaxed);
                if began != 0 && processor_time() > Duration::from_nanos(began) + HANG {
                    let _ = writeln!(report, "fail a step without an end, of the seed named next");
                    std::process::abort();
                }
            }
        });
        watch
    }

    fn begin(&self) -> Duration {
        let now = processor_time();
        self.began.store(now.as_nanos() as u64, Ordering::Relaxed);
        now
    }

    fn end(&self, began: Duration) -> Duration {
        self.began.store(0, Ordering::Relaxed);
        processor_time() - began
    }
}

/// What all threads of this process have had of a processor.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
