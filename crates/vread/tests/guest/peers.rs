//! The debuggers and tools that open a kcore, on ours.

use std::fs;
use std::path::Path;
use std::process::Command;

use vread_guests::{FileRange, Guest, ensure_drgn, ensure_packages};

use crate::mounted::{KcoreFile, Mounted};
use crate::program::{stdout, succeed};

/// gdb sees `jiffies` move, in one session, and a string in a module's memory.
pub(crate) fn gdb(guest: &Guest) {
    ensure_packages(&["gdb"]).unwrap();
    let mounted = Mounted::new(guest);
    let symbols = Symbols::of(guest);
    let script = format!(
        "set confirm off\n\
         set language c\n\
         core-file {kcore}\n\
         set $first = *(unsigned long *){jiffies:#x}\n\
         set $next = $first\n\
         set $reads = 1\n\
         while $next == $first && $reads < 100000\n\
           set $next = *(unsigned long *){jiffies:#x}\n\
           set $reads = $reads + 1\n\
         end\n\
         printf \"jiffies %lu %lu\\n\", $first, $next\n\
         printf \"module <%s>\\n\", (char *){module:#x}\n",
        kcore = mounted.kcore().display(),
        jiffies = symbols.addr("jiffies"),
        module = symbols.module_name_at(guest, "dummy"),
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("script");
    fs::write(&file, script).unwrap();
    let out = stdout(
        Command::new("gdb")
            .args(["--nx", "--batch", "--command"])
            .arg(file),
    );
    let jiffies: Vec<u64> = out
        .lines()
        .find_map(|line| line.strip_prefix("jiffies "))
        .unwrap_or_else(|| panic!("no jiffies in\n{out}"))
        .split(' ')
        .map(|word| word.parse().unwrap())
        .collect();
    assert!(jiffies[1] > jiffies[0], "jiffies do not move:\n{out}");
    assert!(
        out.contains("module <dummy>"),
        "no string from vmalloc memory in\n{out}"
    );
}

/// drgn opens the file, reads at three addresses, one of them in vmalloc memory, and sees `jiffies`
/// move.
pub(crate) fn drgn(guest: &Guest) {
    let mounted = Mounted::new(guest);
    let symbols = Symbols::of(guest);
    let banner = symbols.addr("linux_banner");
    let rodata = symbols.addr("__start_rodata");
    let module = symbols.module_name_at(guest, "dummy");
    let script = format!(
        "import drgn, time\n\
         p = drgn.Program()\n\
         p.set_core_dump({kcore:?})\n\
         for address, size in [({banner:#x}, 16), ({rodata:#x}, 64), ({module:#x}, 8)]:\n\
         \x20   print(p.read(address, size).hex())\n\
         until = time.monotonic() + 30\n\
         first = p.read_u64({jiffies:#x})\n\
         while p.read_u64({jiffies:#x}) == first and time.monotonic() < until: pass\n\
         print('moved' if p.read_u64({jiffies:#x}) > first else 'stands')\n",
        kcore = mounted.kcore(),
        jiffies = symbols.addr("jiffies"),
    );
    let out = stdout(Command::new(ensure_drgn().unwrap()).args(["-c", &script]));
    let truth = [(banner, 16), (rodata, 64), (module, 8)]
        .map(|(addr, len)| hex(&guest.kcore_read(addr, len).unwrap()));
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines, [&*truth[0], &truth[1], &truth[2], "moved"]);
}

/// elfutils lists all segments and names all notes.
pub(crate) fn eu_readelf(guest: &Guest) {
    ensure_packages(&["elfutils"]).unwrap();
    let mounted = Mounted::new(guest);
    let segments = guest.kcore_segments().unwrap().len();
    for (file, loads) in [
        (mounted.kcore(), segments),
        (mounted.vmcore(), loads_of(&mounted.vmcore())),
    ] {
        let out = stdout(
            Command::new("eu-readelf")
                .args(["-h", "-l", "-n"])
                .arg(&file),
        );
        assert!(out.contains("CORE (Core file)"), "{out}");
        assert_eq!(out.matches("  LOAD ").count(), loads, "{out}");
        for note in ["PRSTATUS", "PRPSINFO", "TASKSTRUCT", "VMCOREINFO"] {
            assert!(out.contains(note), "no {note} in\n{out}");
        }
    }
}

/// makedumpfile makes a filtered, compressed dump of the live guest, which drgn then reads.
pub(crate) fn makedumpfile(guest: &Guest) {
    ensure_packages(&["makedumpfile"]).unwrap();
    let mounted = Mounted::new(guest);
    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path().join("dump");
    let mut command = Command::new("makedumpfile");
    succeed(
        command
            .args(["-l", "-d", "31"])
            .arg(mounted.vmcore())
            .arg(&dump),
    );
    let banner = Symbols::of(guest).addr("linux_banner");
    let script = format!(
        "import drgn\n\
         p = drgn.Program()\n\
         p.set_core_dump({dump:?})\n\
         print(p.read({banner:#x}, 64).hex())\n",
    );
    let out = stdout(Command::new(ensure_drgn().unwrap()).args(["-c", &script]));
    assert_eq!(out.trim(), hex(&guest.kcore_read(banner, 64).unwrap()));
    let (dump, all) = (
        fs::metadata(&dump).unwrap().len(),
        fs::metadata(mounted.vmcore()).unwrap().len(),
    );
    println!("{} MiB of {} MiB", dump >> 20, all >> 20);
    assert!(
        dump < all / 4,
        "free and user pages are left out: {dump} of {all} bytes"
    );
}

/// dd copies across the end of the text segment: content, then zeros, as inside. What the segment ends
/// with may change between the two readings, so both are made again where they differ.
pub(crate) fn dd(guest: &Guest) {
    const LEN: u64 = 3 << 12;
    const TRIES: usize = 50;
    let mounted = Mounted::new(guest);
    let text = KcoreFile::open(&mounted.kcore()).loads()[0];
    let offset = text.offset + text.size - LEN / 2 - 123;
    let copy = || {
        let out = succeed(Command::new("dd").args([
            &format!("if={}", mounted.kcore().display()),
            "iflag=skip_bytes,count_bytes",
            "status=none",
            "bs=1000",
            &format!("skip={offset}"),
            &format!("count={LEN}"),
        ]));
        assert_eq!(out.stdout.len() as u64, LEN);
        out.stdout
    };
    for _ in 0..TRIES {
        let before = copy();
        let inside = guest
            .read_at("/proc/kcore", FileRange { offset, len: LEN })
            .unwrap();
        if before == inside {
            return;
        }
    }
    panic!("the end of text at offset {offset:#x} never was what the guest reads");
}

fn loads_of(vmcore: &Path) -> usize {
    let loads = KcoreFile::open(vmcore).loads();
    // What crash, drgn and makedumpfile need of the physical view.
    assert!(
        loads
            .iter()
            .all(|load| load.align == 0 && load.paddr != u64::MAX)
    );
    assert!(
        loads[1..]
            .windows(2)
            .all(|pair| pair[0].paddr < pair[1].paddr)
    );
    loads.len()
}

/// The guest's own symbol table.
struct Symbols(String);

impl Symbols {
    fn of(guest: &Guest) -> Self {
        Self(guest.read_text("/proc/kallsyms").unwrap())
    }

    fn addr(&self, name: &str) -> u64 {
        self.line(|words| words.len() == 3 && words[2] == name)
    }

    /// Where module `name` has its name in memory, checked in the guest.
    fn module_name_at(&self, guest: &Guest, name: &str) -> u64 {
        // struct module: state and list go before the name (G42).
        const NAME: u64 = 24;
        let tag = format!("[{name}]");
        let addr = self
            .line(|words| words.last() == Some(&&*tag) && words[2].starts_with("__this_module"))
            + NAME;
        let mut expected = name.as_bytes().to_vec();
        expected.push(0);
        assert_eq!(
            guest.kcore_read(addr, expected.len() as u64).unwrap(),
            expected
        );
        addr
    }

    fn line(&self, matches: impl Fn(&[&str]) -> bool) -> u64 {
        let mut lines = self
            .0
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>());
        let found = lines.find(|words| matches(words));
        let found = found.unwrap_or_else(|| panic!("no such symbol in the guest"));
        u64::from_str_radix(found[0], 16).unwrap()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
