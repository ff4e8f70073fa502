//! `docs/kernels.md`: what works on which kernel, and what still works where a kernel does not say all
//! about itself. The table is what this test finds; the file only keeps it.
//!
//! With `VREAD_WRITE_DOCS=1` in the environment the test writes its kernel's columns, otherwise it compares.

use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use serde_json::{Value, json};
use vread_guests::{Backend, Guest, GuestConfig, KernelRelease, QmpClient};

use crate::by_address;
use crate::mounted::{KcoreFile, Mounted};
use crate::program::{target, vread, vread_stdout};

const WRITE: &str = "VREAD_WRITE_DOCS";
/// Where the vsyscall page lies.
const VSYSCALL: u64 = 0xffff_ffff_ff60_0000;
/// The most bytes between the end of the image's data and the symbol of its end.
const MAX_UNKNOWN_END: u64 = 1 << 20;

/// What is tried, as on the command line. (`vmlinux` and `isf` take long, and have tests of their own.)
const COMMANDS: [&str; 13] = [
    "info",
    "version",
    "cmdline",
    "symbols linux_banner",
    "read linux_banner 16",
    "read ADDRESS 16",
    "read init_uts_ns 16",
    "vmallocinfo",
    "iomem",
    "lsmod",
    "dmesg",
    "ps",
    "mount",
];

/// The start of the digits in the table of tokens, which every build has (G30): without it no name can be
/// put together.
const DIGITS: &[u8] = b"0\x001\x002\x003\x004\x005\x006\x007\x008\x009\0";

/// Tries all, then with the types hidden from vread, then the symbols, then both.
pub(crate) fn what_works_is_what_the_table_says(release: KernelRelease) {
    let config = GuestConfig::new(release)
        .backend(Backend::File)
        .qmp_sockets(2);
    let guest = Guest::boot(&config).unwrap();
    let memory = Memory::of(&guest);
    let facts = facts(&guest);
    let whole = tried(&guest, memory.banner, None);
    assert!(
        whole.iter().all(|(_, cell)| cell == "yes"),
        "all works on a kernel that hides nothing: {whole:?}"
    );
    let areas = by_address::contents_of_areas(&guest);
    let no_types = vec![(memory.types, &[0_u8; 24][..])];
    let no_digits = |at| (at, &[0xff_u8; DIGITS.len()][..]);
    let no_symbols: Vec<_> = memory.digits().into_iter().map(no_digits).collect();
    let without = |what, lies: &[_]| {
        let hidden = Hidden {
            what,
            guest: &guest,
            memory: &memory,
            lies,
            areas: &areas,
        };
        tried(&guest, memory.banner, Some(&hidden))
    };
    let without_types = without("types", &no_types);
    let without_symbols = without("symbols", &no_symbols);
    let without_both = without("symbols, types", &[no_types, no_symbols].concat());
    for (columns, hidden) in [
        (&without_types, "types"),
        (&without_symbols, "symbols"),
        (&without_both, "symbols, types"),
    ] {
        let info = columns.iter().find(|(row, _)| row == "info");
        let (_, cell) = info.unwrap();
        assert!(cell.contains(hidden), "info lists what is missing: {cell}");
    }
    let mut table = Table::read();
    let sections = [
        ("What it is", &facts),
        ("A kernel as it is", &whole),
        ("Its types (BTF) hidden", &without_types),
        ("Its symbols (kallsyms) hidden", &without_symbols),
        ("Both hidden", &without_both),
    ];
    for (section, cells) in sections {
        for (row, cell) in cells {
            table.set(section, row, release, cell);
        }
    }
    table.keep();
}

/// A row's name, and what was found.
type Cells = Vec<(String, String)>;

/// What a kernel does not say while vread looks.
struct Hidden<'a> {
    what: &'a str,
    guest: &'a Guest,
    memory: &'a Memory,
    /// What stands where, instead of the truth.
    lies: &'a [(u64, &'a [u8])],
    /// The content of the guest's areas.
    areas: &'a [Range<u64>],
}

impl Hidden<'_> {
    /// The guest stands still meanwhile, and has all back before it goes on: a kernel that needs a name and
    /// cannot put it together does not live long.
    fn meanwhile<T>(&self, look: impl FnOnce() -> T) -> T {
        // The first socket is vread's.
        let mut qmp = QmpClient::connect(&self.guest.qmp_paths()[1]).unwrap();
        qmp.execute("stop", json!({})).unwrap();
        let lie = |(addr, bytes): &(u64, &[u8])| (*addr, self.memory.overwrite(*addr, bytes));
        let truth: Vec<_> = self.lies.iter().map(lie).collect();
        let seen = look();
        for (addr, bytes) in truth {
            self.memory.overwrite(addr, &bytes);
        }
        qmp.execute("cont", json!({})).unwrap();
        seen
    }
}

/// What `look` sees of a guest of which something may be hidden.
fn seen<T>(hidden: Option<&Hidden<'_>>, look: impl FnOnce() -> T) -> T {
    match hidden {
        Some(hidden) => hidden.meanwhile(look),
        None => look(),
    }
}

/// `yes`, `in part` with what is missing, or `no` for each command.
fn tried(guest: &Guest, banner: u64, hidden: Option<&Hidden<'_>>) -> Cells {
    let try_one = |command: &str| {
        let mut words = command.split(' ');
        let name = words.next().unwrap();
        if name == "mount" {
            return match seen(hidden, || Mounted::try_with_access(guest, "auto")) {
                Ok(mounted) => {
                    let cell = segments_equal(guest, &mounted);
                    if let Some(hidden) = hidden {
                        by_address::bytes_equal(guest, &mounted, hidden.areas, hidden.what);
                    }
                    cell.to_owned()
                }
                Err(refusal) => {
                    assert!(refusal.contains("exit status: 2"), "{refusal}");
                    "no".to_owned()
                }
            };
        }
        let mut program = vread();
        program.arg(name).arg(target(guest));
        for word in words {
            match word {
                "ADDRESS" => program.arg(format!("{banner:#x}")),
                word => program.arg(word),
            };
        }
        if name == "info" {
            program.arg("--json");
        }
        let output = seen(hidden, || program.output().unwrap());
        let stderr = String::from_utf8_lossy(&output.stderr);
        match output.status.code() {
            Some(0) => {
                if let Some(path) = own_file(command) {
                    let theirs = guest.read_text(path).unwrap();
                    let ours = String::from_utf8_lossy(&output.stdout);
                    let what = hidden.map_or("nothing", |hidden| hidden.what);
                    assert_eq!(ours.trim_end(), theirs.trim_end(), "{path}, without {what}");
                }
                "yes".to_owned()
            }
            Some(1) if name == "info" => {
                let info: Value = serde_json::from_slice(&output.stdout).unwrap();
                let missing = info["missing"].as_array().unwrap().iter();
                let missing = missing.map(|entry| entry["what"].as_str().unwrap().to_owned());
                format!("lists {}", missing.collect::<Vec<_>>().join(", "))
            }
            Some(1) => "in part".to_owned(),
            Some(2) => {
                assert_eq!(stderr.lines().count(), 1, "{command}: {stderr}");
                "no".to_owned()
            }
            other => panic!("{command}: {other:?}: {stderr}"),
        }
    };
    let cell = |command: &&str| (command.to_string(), try_one(command));
    COMMANDS.iter().map(cell).collect()
}

/// The guest's own file that a command's words must equal, whatever is hidden.
fn own_file(command: &str) -> Option<&'static str> {
    match command {
        "version" => Some("/proc/version"),
        "cmdline" => Some("/proc/cmdline"),
        "iomem" => Some("/proc/iomem"),
        _ => None,
    }
}

/// `yes` where all segments are those of the guest's own file; only the text may end earlier, where its end
/// is no symbol.
fn segments_equal(guest: &Guest, mounted: &Mounted) -> &'static str {
    let ours = KcoreFile::open(&mounted.kcore()).loads();
    let theirs = guest.kcore_segments().unwrap();
    // A page for vsyscalls may come first (5.10), which lies above all else.
    let theirs: Vec<_> = theirs.iter().filter(|one| one.vaddr < VSYSCALL).collect();
    let equal = ours.len() == theirs.len()
        && ours.iter().zip(&theirs).enumerate().all(|(index, pair)| {
            let (ours, theirs) = pair;
            let len = match index {
                0 => ours.size <= theirs.size && theirs.size - ours.size < MAX_UNKNOWN_END,
                _ => ours.size == theirs.size,
            };
            (ours.vaddr, ours.paddr) == (theirs.vaddr, theirs.paddr) && len
        });
    match equal {
        true => "yes",
        false => "in part",
    }
}

/// What differs from kernel to kernel, by what `info` and VMCOREINFO say.
fn facts(guest: &Guest) -> Cells {
    let info = vread_stdout(["info", "--json", &target(guest)]);
    let info: Value = serde_json::from_str(&info).unwrap_or(Value::Null);
    let notes = guest.read_at(
        "/proc/kcore",
        vread_guests::FileRange {
            offset: 0,
            len: 1 << 14,
        },
    );
    let notes = String::from_utf8_lossy(&notes.unwrap()).into_owned();
    let has = |key: &str, yes: &str, no: &str| match notes.contains(key) {
        true => yes.to_owned(),
        false => no.to_owned(),
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    vec![
        ("found by".to_owned(), text(&info["kernel"]["found_by"])),
        (
            "levels of page tables".to_owned(),
            info["kernel"]["paging_levels"].to_string(),
        ),
        (
            "symbol table found by".to_owned(),
            has("SYMBOL(kallsyms_names)", "VMCOREINFO", "search"),
        ),
        (
            "areas of vmalloc space in".to_owned(),
            has("SYMBOL(vmap_area_list)", "one list", "nodes"),
        ),
        (
            "poisoned pages are told".to_owned(),
            has("NUMBER(PG_hwpoison)", "yes", "no"),
        ),
    ]
}

/// The memory of a running guest, to write to behind its back.
struct Memory {
    file: File,
    /// Of the image: where it begins, and where that lies in physical memory.
    start: u64,
    phys: u64,
    len: u64,
    banner: u64,
    types: u64,
}

impl Memory {
    fn of(guest: &Guest) -> Self {
        let info = vread_stdout(["info", "--json", &target(guest)]);
        let info: Value = serde_json::from_str(&info).unwrap();
        let segments = info["segments"].as_array().unwrap();
        let text = segments.iter().find(|one| one["kind"] == "text").unwrap();
        let number = |value: &Value| {
            let hex = value.as_str().unwrap().trim_start_matches("0x");
            u64::from_str_radix(hex, 16).unwrap()
        };
        let symbol = |name: &str| {
            let line = vread_stdout(["symbols", &target(guest), name]);
            u64::from_str_radix(line.split(' ').next().unwrap(), 16).unwrap()
        };
        let mut options = File::options();
        let file = options
            .read(true)
            .write(true)
            .open(guest.memory_file().unwrap());
        Self {
            file: file.unwrap(),
            start: number(&text["start"]),
            phys: number(&text["phys"]),
            len: text["len"].as_u64().unwrap(),
            banner: symbol("linux_banner"),
            types: symbol("__start_BTF"),
        }
    }

    /// Writes `bytes` at an address of the image, and gives back what was there.
    fn overwrite(&self, addr: u64, bytes: &[u8]) -> Vec<u8> {
        // The memory file of a machine this small is its physical memory.
        let at = addr - self.start + self.phys;
        let mut before = vec![0; bytes.len()];
        self.file.read_exact_at(&mut before, at).unwrap();
        self.file.write_all_at(bytes, at).unwrap();
        before
    }

    /// The addresses of all that looks like the table of tokens.
    fn digits(&self) -> Vec<u64> {
        let mut image = vec![0; self.len as usize];
        self.file.read_exact_at(&mut image, self.phys).unwrap();
        let found = image.windows(DIGITS.len()).enumerate();
        let found = found.filter_map(|(at, window)| (window == DIGITS).then_some(at as u64));
        let found: Vec<u64> = found.map(|at| self.start + at).collect();
        assert!(!found.is_empty(), "no table of tokens in the image");
        found
    }
}

/// A row's name, and a cell for each kernel.
type Row = (String, Vec<String>);

/// The file, by section, row and kernel.
struct Table {
    sections: Vec<(String, Vec<Row>)>,
    text: String,
}

const HEAD: &str = "# What works on which kernel

Written by the tests of `crates/vread/tests/guest/kernels_table.rs` from what they find on Debian's cloud
kernels, and compared by them ever after; not by hand. `in part` is exit code 1, `no` is exit code 2 with one
line that says what is missing. A kernel that is not listed is treated by the same rules: what it does not
say about itself is listed by `vread info`, with what needs it.

`yes` is more than an exit code: `version`, `cmdline` and `iomem` equal the guest's own files, and the mounted
`kcore` has the segments of the guest's own (without symbols its text ends with its data, up to 1 MiB early) and,
where something is hidden, the same bytes in some 300 ranges of text, vmalloc space, modules, RAM and page
descriptors. Without areas vmalloc space is read as the page table maps it: what the kernel has ioremapped of its
own RAM, and the last page of an area, are then no zeros.
";

impl Table {
    fn path() -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/kernels.md")
    }

    fn read() -> Self {
        let text = fs::read_to_string(Self::path()).unwrap_or_default();
        let mut sections: Vec<(String, Vec<Row>)> = Vec::new();
        for line in text.lines() {
            if let Some(title) = line.strip_prefix("## ") {
                sections.push((title.to_owned(), Vec::new()));
            } else if let Some((_, rows)) = sections.last_mut()
                && let Some(cells) = line.strip_prefix("| `")
            {
                let (row, cells) = cells.split_once("` | ").unwrap();
                let cells = cells.trim_end_matches(" |").split(" | ");
                rows.push((row.to_owned(), cells.map(str::to_owned).collect()));
            }
        }
        Self { sections, text }
    }

    fn set(&mut self, section: &str, row: &str, release: KernelRelease, cell: &str) {
        let column = KernelRelease::ALL.iter().position(|one| *one == release);
        if !self.sections.iter().any(|(title, _)| title == section) {
            self.sections.push((section.to_owned(), Vec::new()));
        }
        let mut sections = self.sections.iter_mut();
        let (_, rows) = sections.find(|(title, _)| title == section).unwrap();
        if !rows.iter().any(|(name, _)| name == row) {
            rows.push((
                row.to_owned(),
                vec!["?".to_owned(); KernelRelease::ALL.len()],
            ));
        }
        let (_, cells) = rows.iter_mut().find(|(name, _)| name == row).unwrap();
        cell.clone_into(&mut cells[column.unwrap()]);
    }

    fn keep(&self) {
        let mut text = HEAD.to_owned();
        for (title, rows) in &self.sections {
            let releases = KernelRelease::ALL.map(KernelRelease::series).join(" | ");
            text += &format!("\n## {title}\n\n| | {releases} |\n| --- | --- | --- | --- | --- |\n");
            for (row, cells) in rows {
                text += &format!("| `{row}` | {} |\n", cells.join(" | "));
            }
        }
        if std::env::var_os(WRITE).is_some() {
            let beside = Self::path().with_extension("new");
            fs::write(&beside, &text).unwrap();
            fs::rename(&beside, Self::path()).unwrap();
            return;
        }
        let differ = self.text.lines().zip(text.lines()).find(|(a, b)| a != b);
        assert_eq!(
            differ, None,
            "docs/kernels.md says | found; {WRITE}=1 writes it"
        );
        assert_eq!(self.text, text, "{WRITE}=1 writes docs/kernels.md");
    }
}
