//! What the kernel's memory says, against what the kernel says.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use vread_guests::{FileRange, Guest, KernelRelease};
use vread_linux::Kernel;

use crate::seen::{Seen, Test, attach};

pub(crate) const TESTS: [Test; 9] = [
    ("names_the_kernel", names_the_kernel),
    ("lists_every_symbol_in_order", lists_every_symbol_in_order),
    ("copies_the_types", copies_the_types),
    ("lays_a_resource_out_as_ever", lays_a_resource_out_as_ever),
    ("copies_the_types_of_modules", copies_the_types_of_modules),
    ("lists_the_address_space", lists_the_address_space),
    ("lists_vmalloc_areas", lists_vmalloc_areas),
    ("lays_out_the_same_file", lays_out_the_same_file),
    ("looks_symbols_up_both_ways", looks_symbols_up_both_ways),
];

/// N9, N15.
fn names_the_kernel(guest: &Guest) {
    let kernel = attach(guest);
    println!("attached to {} in {:?}", kernel.release(), kernel.times());
    assert_eq!(kernel.release(), guest.hello().release);
    let note = guest.read_text("/sys/kernel/vmcoreinfo").unwrap();
    let note = note.split(' ').next().unwrap().trim_start_matches("0x");
    let note = u64::from_str_radix(note, 16).unwrap();
    let text = kernel.vmcoreinfo().text().as_bytes();
    let page = kernel.vmcoreinfo_page().get();
    // The note or the text page (N1, N3), whichever lies lower.
    let mut bytes = vec![0; text.len()];
    kernel
        .phys_mem()
        .read(vread_addr::PhysAddr::new(note + 24), &mut bytes)
        .unwrap();
    assert_eq!(bytes, text, "found in {page:#x}, the note is at {note:#x}");
    if let Some(id) = kernel.vmcoreinfo().build_id() {
        let id: Vec<u8> = (0..20)
            .map(|i| u8::from_str_radix(&id[2 * i..2 * i + 2], 16).unwrap())
            .collect();
        let notes = guest.read("/sys/kernel/notes").unwrap();
        assert!(notes.windows(20).any(|bytes| bytes == id));
    }
    let command_line = guest.read_text("/proc/cmdline").unwrap();
    assert_eq!(kernel.command_line(), command_line.trim_end());
}

/// What is taken for granted of `struct resource` where a kernel's types are missing.
fn lays_a_resource_out_as_ever(guest: &Guest) {
    let types = guest.read("/sys/kernel/btf/vmlinux").unwrap();
    let types = vread_linux::Btf::parse(types).unwrap();
    let members = [
        "start", "end", "name", "flags", "parent", "sibling", "child",
    ];
    let offset = |member: &str| types.offset_of(&format!("resource.{member}"));
    let offsets = members.map(|member| offset(member).unwrap().get());
    assert_eq!(offsets, [0, 8, 16, 24, 40, 48, 56]);
    assert_eq!(types.size_of_struct("resource").unwrap().get(), 64);
}

/// G20 to G28, G62: line for line, modules included.
fn lists_every_symbol_in_order(guest: &Guest) {
    let kernel = attach(guest);
    let theirs = guest.read_text("/proc/kallsyms").unwrap();
    let symbols = kernel.symbols().unwrap();
    assert!(symbols.modules().len() > 2, "modules are loaded");
    let mut ours = symbols.iter();
    let mut lines = 0;
    for line in theirs.lines() {
        assert_eq!(
            ours.next().map(|symbol| symbol.to_string()).as_deref(),
            Some(line)
        );
        lines += 1;
    }
    assert_eq!(ours.next(), None);
    assert!(lines > 80_000, "{lines} lines");
}

/// G40.
fn copies_the_types(guest: &Guest) {
    let kernel = attach(guest);
    let btf = kernel.btf().unwrap();
    assert!(btf.bytes() == guest.read("/sys/kernel/btf/vmlinux").unwrap());
    assert!(btf.len() > 70_000, "{} types", btf.len());
}

/// What `/sys/kernel/btf` has of modules, in name and bytes; kernels before 5.11 have nothing there.
fn copies_the_types_of_modules(guest: &Guest) {
    let kernel = attach(guest);
    let listed = guest
        .run(&["/bin/busybox", "ls", "/sys/kernel/btf"])
        .unwrap();
    let theirs: BTreeSet<&str> = listed.stdout.split_whitespace().collect();
    let modules = kernel.module_types().unwrap();
    let mut ours = BTreeSet::from(["vmlinux"]);
    for module in &modules {
        let name = &*module.name;
        let btf = module
            .btf
            .as_ref()
            .unwrap_or_else(|why| panic!("{name}: {why}"));
        let theirs = guest.read(&format!("/sys/kernel/btf/{name}")).unwrap();
        assert!(btf.bytes() == theirs, "{name}");
        assert!(btf.types().count() > 0, "{name}");
        ours.insert(name);
    }
    assert_eq!(ours, theirs);
    let has_some = guest.kernel().release() != KernelRelease::V5_10;
    assert_eq!(!modules.is_empty(), has_some);
}

/// G56.
fn lists_the_address_space(guest: &Guest) {
    let kernel = attach(guest);
    let ours = kernel.iomem().unwrap();
    assert_eq!(ours.to_string(), guest.read_text("/proc/iomem").unwrap());
    assert!(ours.system_ram().count() >= 2);
}

/// V30 to V35: the same lines in the same order, at a moment at which nothing changes.
fn lists_vmalloc_areas(guest: &Guest) {
    let kernel = attach(guest);
    let map = guest.create_bpf_map(16 << 20, 7).unwrap();
    let text = assert_same_vmallocinfo(guest, &kernel);
    // V31: the words of a map for user space, and nodes.
    assert!(text.contains(" user ") && text.contains(" N0="), "{text}");
    guest.close_bpf_map(map).unwrap();
}

/// Compares when nothing changes meanwhile, and returns the guest's text.
pub(crate) fn assert_same_vmallocinfo(guest: &Guest, kernel: &Kernel) -> String {
    let read = || guest.read_text("/proc/vmallocinfo").unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut before = read();
    loop {
        let ours = kernel.vmallocinfo().unwrap();
        let ours: String = ours.iter().map(|line| format!("{line}\n")).collect();
        let after = read();
        if before == after {
            let set = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
            let (ours_only, theirs) = (set(&ours), set(&after));
            let missing: Vec<_> = theirs.difference(&ours_only).collect();
            let made_up: Vec<_> = ours_only.difference(&theirs).collect();
            assert!(
                missing.is_empty() && made_up.is_empty(),
                "-{missing:#?} +{made_up:#?}"
            );
            assert_eq!(ours, after, "the order differs");
            return after;
        }
        assert!(
            Instant::now() < deadline,
            "the guest's areas never stay the same"
        );
        before = after;
    }
}

/// E1 to E24: header, program headers and notes, but for the reading task's own note (E8).
fn lays_out_the_same_file(guest: &Guest) {
    let seen = Seen::new(guest);
    let head = seen.image.head();
    let range = FileRange {
        offset: 0,
        len: seen.image.data_offset().get(),
    };
    let theirs = guest.read_at("/proc/kcore", range).unwrap();
    // Where the notes' descriptor of the task lies (E5).
    let notes = u64::from_le_bytes(theirs[72..80].try_into().unwrap()) as usize;
    let task = notes + 532;
    let task_len = u32::from_le_bytes(theirs[notes + 516..notes + 520].try_into().unwrap());
    let task_end = task + task_len as usize;
    assert!(task_len > 4096, "a task has {task_len} bytes");
    assert_eq!(head[..task], theirs[..task]);
    assert_eq!(head[task_end..], theirs[task_end..head.len()]);
    assert!(theirs[head.len()..].iter().all(|byte| *byte == 0));
}

/// G26: all symbols of one name, and the name of every address that vmallocinfo shows.
fn looks_symbols_up_both_ways(guest: &Guest) {
    let kernel = attach(guest);
    let symbols = kernel.symbols().unwrap();
    let theirs = guest.read_text("/proc/kallsyms").unwrap();
    let lines: Vec<(u64, &str)> = theirs
        .lines()
        .map(|line| {
            let mut words = line.split([' ', '\t']);
            let addr = u64::from_str_radix(words.next().unwrap(), 16).unwrap();
            (addr, words.nth(1).unwrap())
        })
        .collect();
    let step = 997;
    for (_, name) in lines.iter().step_by(step) {
        let expected: Vec<u64> = lines
            .iter()
            .filter(|(_, n)| n == name)
            .map(|(a, _)| *a)
            .collect();
        let found: Vec<u64> = symbols
            .find_all(name)
            .iter()
            .map(|addr| addr.get())
            .collect();
        assert_eq!(found, expected, "{name}");
    }
    let text = kernel.image().unwrap();
    for (addr, _) in lines.iter().step_by(step) {
        let addr = vread_addr::VirtAddr::new(*addr);
        if text.contains(addr) {
            let found = symbols.resolve(addr).unwrap();
            assert_eq!(found.offset.get(), 0, "{found}");
            assert!(symbols.find_all(&found.name).contains(&addr), "{found}");
        }
    }
}
