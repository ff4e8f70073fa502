//! The file itself.

use std::collections::HashSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use vread_guests::{Guest, ensure_packages};

use crate::program::{stdout, succeed, target, vread};

/// What `eu-elflint --gnu-ld` says of a recovered file, and why that is as it should be.
const SAID_BY_ELFLINT: [&str; 5] = [
    // The kernel's own notes, those of the distribution's file too.
    "unknown object file note type",
    // Up to 6.12 these lie at 0, where there is no memory: drgn takes what segments span for the image.
    "'.data..percpu': alloc flag set but section not in any loaded segment",
    // Code that ran once; its memory has been given away, so there are no bytes.
    "'.init.text' has unexpected type 8 for an executable section",
    // Sections without bytes, which crash needs behind the last one with bytes, have no room in the file.
    "not fully contained in segment of program header entry",
    "is writable but contains no writable sections",
];

/// binutils, elfutils and LLVM find nothing wrong, and find their way.
pub(crate) fn elf_and_dwarf_tools_accept_the_file(guest: &Guest) {
    ensure_packages(&["binutils", "elfutils", "llvm"]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = write(guest, folder.path(), &[]);
    let len = fs::metadata(&file).unwrap().len();
    assert!(len <= 60 << 20, "{len} bytes");

    let lint = Command::new("eu-elflint")
        .arg("--gnu-ld")
        .arg(&file)
        .output()
        .unwrap();
    let lint = String::from_utf8(lint.stdout).unwrap();
    let unexpected = |line: &&str| !SAID_BY_ELFLINT.iter().any(|said| line.contains(said));
    let unexpected: Vec<&str> = lint.lines().filter(unexpected).collect();
    assert!(unexpected.is_empty(), "{}", unexpected.join("\n"));

    let verified = stdout(Command::new("llvm-dwarfdump").arg("--verify").arg(&file));
    assert!(verified.contains("No errors."), "{verified}");

    let read = succeed(Command::new("readelf").args(["--all", "--wide"]).arg(&file));
    assert!(
        read.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&read.stderr)
    );
    let symbols = String::from_utf8(read.stdout).unwrap();
    let words = |line: &str| {
        line.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let found = symbols
        .lines()
        .map(words)
        .find(|words| words.len() == 8 && words[7] == "vfs_read" && words[3] == "FUNC");
    let found = found.expect("vfs_read is a function");
    let address = u64::from_str_radix(&found[1], 16).unwrap();

    let code = stdout(
        Command::new("objdump")
            .arg("-d")
            .arg(format!("--start-address={address:#x}"))
            .arg(format!("--stop-address={:#x}", address + 32))
            .arg(&file),
    );
    assert!(code.contains("<vfs_read>:"), "{code}");
    assert!(!code.contains("(bad)"), "{code}");
    let names = stdout(
        Command::new("addr2line")
            .arg("-f")
            .arg("-e")
            .arg(&file)
            .arg(format!("{address:#x}")),
    );
    assert_eq!(names.lines().next(), Some("vfs_read"));
    println!("{} MiB", len >> 20);
}

/// The run-time form has every line of the guest's own `/proc/kallsyms`, modules too.
pub(crate) fn every_symbol_lies_where_kallsyms_has_it(guest: &Guest) {
    ensure_packages(&["binutils"]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = write(guest, folder.path(), &["--runtime-addresses"]);
    let ours = stdout(Command::new("nm").arg(&file));
    let place = |line: &str| {
        let mut words = line.split_whitespace();
        Some((words.next()?.to_owned(), words.nth(1)?.to_owned()))
    };
    let ours: HashSet<(String, String)> = ours.lines().filter_map(place).collect();
    let truth = guest.read_text("/proc/kallsyms").unwrap();
    // Programs of BPF come and go.
    let lasting = truth.lines().filter(|line| !line.ends_with("[bpf]"));
    let truth: Vec<(String, String)> = lasting.filter_map(place).collect();
    assert!(truth.len() > 50_000, "{} symbols", truth.len());
    let missing: Vec<_> = truth
        .iter()
        .filter(|symbol| !ours.contains(*symbol))
        .collect();
    assert!(
        missing.is_empty(),
        "{} missing: {:?}",
        missing.len(),
        missing.first()
    );
    println!("{} symbols", truth.len());
}

/// A kernel whose BTF is no BTF: a file with symbols and text, and a word about it.
pub(crate) fn without_types_there_are_symbols_and_text(guest: &Guest) {
    ensure_packages(&["binutils"]).unwrap();
    let symbols = guest.read_text("/proc/kallsyms").unwrap();
    let btf = symbols
        .lines()
        .find(|line| line.ends_with(" __start_BTF"))
        .unwrap();
    let btf = u64::from_str_radix(btf.split(' ').next().unwrap(), 16).unwrap();
    let segments = guest.kcore_segments().unwrap();
    let text = segments
        .iter()
        .find(|segment| btf.wrapping_sub(segment.vaddr) < segment.size);
    let text = text.expect("BTF is in the segment of the image");
    let at = text.paddr + (btf - text.vaddr);
    let ram = File::options()
        .read(true)
        .write(true)
        .open(guest.memory_file().unwrap())
        .unwrap();
    let mut magic = [0; 2];
    ram.read_exact_at(&mut magic, at).unwrap();
    assert_eq!(magic, [0x9f, 0xeb]);

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("vmlinux");
    ram.write_all_at(&[0, 0], at).unwrap();
    let output = vread()
        .args(["vmlinux", &target(guest), "-o"])
        .arg(&file)
        .output();
    ram.write_all_at(&magic, at).unwrap();
    let output = output.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("symbols and text only, no types"), "{said}");
    let sections = stdout(Command::new("readelf").args(["-SW"]).arg(&file));
    assert!(
        sections.contains(" .text ") && sections.contains(" .symtab "),
        "{sections}"
    );
    assert!(!sections.contains(".debug_info"), "{sections}");
}

/// `vread vmlinux`, into `folder`.
fn write(guest: &Guest, folder: &Path, arguments: &[&str]) -> std::path::PathBuf {
    let file = folder.join("vmlinux");
    let mut command = vread();
    let output = succeed(
        command
            .args(["vmlinux", &target(guest), "-o"])
            .arg(&file)
            .args(arguments),
    );
    assert!(
        output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    file
}
