use std::os::unix::fs::FileExt as _;

use super::*;
use crate::PagingLevels;
use crate::forged::ForgedRam;

/// Where the image is mapped.
const IMAGE: u64 = 0xffff_ffff_8100_0000;

/// A kernel without symbols, in the 64 KiB of RAM from `at` on: its image, which holds the name of its
/// release and its page table, and the page of its VMCOREINFO.
fn put_kernel(ram: ForgedRam, at: u64, release: &str) -> ForgedRam {
    let image = at + 0x1_0000;
    let root = image + 0x2000;
    let phys_base = image.wrapping_sub(0x0100_0000).cast_signed();
    let mut ram = ram.with_root(root);
    for page in 0..3 {
        ram.map(IMAGE + page * 4096, image + page * 4096);
    }
    ram.put(image + 0x1000 + 130, release.as_bytes());
    let text = format!(
        "OSRELEASE={release}\nPAGESIZE=4096\nSYMBOL(init_uts_ns)={:x}\nOFFSET(uts_namespace.name)=0\n\
         SYMBOL(swapper_pg_dir)={:x}\nSYMBOL(_stext)={IMAGE:x}\nNUMBER(phys_base)={phys_base}\n\
         NUMBER(pgtable_l5_enabled)=0\nKERNELOFFSET=0\n",
        IMAGE + 0x1000,
        IMAGE + 0x2000,
    );
    ram.put(at, text.as_bytes());
    ram
}

fn blank() -> ForgedRam {
    ForgedRam::new(256)
}

fn refused(ram: &ForgedRam) -> AttachError {
    Kernel::attach(ram.open()).unwrap_err()
}

#[test]
fn attaches_to_a_kernel_without_symbols_and_says_what_is_missing() {
    let kernel = Kernel::attach(put_kernel(blank(), 0x1_0000, "6.1.0-forged").open()).unwrap();
    assert_eq!(kernel.release(), "6.1.0-forged");
    let missing: Vec<&str> = kernel
        .missing()
        .iter()
        .map(|missing| missing.what)
        .collect();
    assert_eq!(
        missing,
        [
            "symbols",
            "types",
            "bases",
            "image range",
            "resources",
            "areas",
            "page descriptors"
        ]
    );
    assert!(kernel.symbols().is_err());
    assert!(kernel.iomem().is_err());
    // What there is works.
    let segments = kernel.segments().unwrap();
    let kinds: Vec<_> = segments.iter().map(|segment| segment.kind).collect();
    assert_eq!(
        kinds,
        [vread_kcore::SegmentKind::Vmalloc],
        "that of modules"
    );
    assert_eq!(
        kernel.find_symbol("_stext").unwrap(),
        [vread_addr::VirtAddr::new(IMAGE)]
    );
    assert!(kernel.find_symbol("linux_banner").is_err());
    let stext = kernel.vmcoreinfo().symbol("_stext").unwrap();
    let found = kernel.page_table().translate(kernel.phys_mem(), stext);
    assert_eq!(found, Ok(Some(vread_addr::PhysAddr::new(0x2_0000))));
}

#[test]
fn tells_its_own_boot_from_another() {
    let (mem, file) = put_kernel(blank(), 0x1_0000, "6.1.0-forged").open_live();
    let kernel = Kernel::attach(mem).unwrap();
    assert_eq!(kernel.is_in_memory(), Ok(true));
    file.write_all_at(b"OSRELEASE=6.1.1-f", 0x1_0000).unwrap();
    assert_eq!(kernel.is_in_memory(), Ok(false));
}

#[test]
fn a_table_that_maps_another_image_does_not_run_the_kernel() {
    let ram = put_kernel(blank(), 0x1_0000, "6.1.0-first");
    let mut ram = ram.with_root(0x8_0000);
    ram.map(IMAGE, 0x9_0000);
    let kernel = Kernel::attach(ram.open()).unwrap();
    let runs = |cr3| {
        let levels = PagingLevels::Four;
        kernel.is_run_by(CpuPaging { cr3, levels }).unwrap()
    };
    assert!(runs(0x2_2000 | 0x5));
    // User space's table is the second of a pair.
    assert!(runs(0x2_3000));
    assert!(!runs(0x8_0000));
    assert!(!runs(0), "a firmware's");
}

#[test]
fn follows_a_processor_to_the_kernel_that_it_runs() {
    // Nothing else tells which of two it is.
    let ram = put_kernel(blank(), 0x1_0000, "6.1.0-first");
    let mut ram = put_kernel(ram, 0x4_0000, "6.12.0-second");
    let direct = 0xffff_8880_0000_0000;
    ram.map(direct, 0x4_0000);
    ram.put_u64(0x5_0800, direct);
    let cpus = [CpuPaging {
        cr3: 0x5_2000,
        levels: PagingLevels::Four,
    }];
    let kernel = Kernel::attach_with(ram.open(), AttachOptions::default().cpus(&cpus)).unwrap();
    assert_eq!(kernel.release(), "6.12.0-second");
    assert_eq!(kernel.found_by(), FoundBy::Processor);
}

#[test]
fn takes_note_and_text_page_of_one_kernel_for_one() {
    // N1, N3: both are in memory.
    let mut ram = put_kernel(blank(), 0x1_0000, "6.1.0-forged");
    let text: Vec<u8> = (0x1_0000..)
        .map(|at| ram.get_u64(at))
        .map(|word| word.to_le_bytes()[0])
        .take_while(|byte| *byte != 0)
        .collect();
    let len = u32::try_from(text.len()).unwrap();
    let mut note = Vec::new();
    for word in [11, len, 0] {
        note.extend_from_slice(&word.to_le_bytes());
    }
    note.extend_from_slice(b"VMCOREINFO\0\0");
    note.extend_from_slice(&text);
    ram.put(0x5000, &note);
    let kernel = Kernel::attach(ram.open()).unwrap();
    assert_eq!(kernel.vmcoreinfo_page(), vread_addr::PhysAddr::new(0x5000));
}

#[test]
fn refuses_to_choose_between_two_kernels() {
    // N9: several survivors are an ambiguity, and are listed.
    let ram = put_kernel(blank(), 0x1_0000, "6.1.0-first");
    let ram = put_kernel(ram, 0x4_0000, "6.12.0-second");
    let AttachError::Ambiguous { candidates } = refused(&ram) else {
        panic!("{:?}", refused(&ram));
    };
    let names: Vec<&str> = candidates.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["6.1.0-first", "6.12.0-second"]);
    assert!(
        refused(&ram)
            .to_string()
            .contains("6.12.0-second at 0x40000")
    );
}

#[test]
fn passes_over_a_copy_that_matches_nothing() {
    // N8, N9 (c): the page cache may hold somebody's VMCOREINFO.
    let mut ram = put_kernel(blank(), 0x1_0000, "6.1.0-forged");
    ram.put(0x3000, b"OSRELEASE=4.4.4\nPAGESIZE=4096\nSYMBOL(init_uts_ns)=ffffffff81000000\n\
        SYMBOL(swapper_pg_dir)=ffffffff81000000\nSYMBOL(_stext)=ffffffff81000000\nNUMBER(phys_base)=0\n");
    assert_eq!(
        Kernel::attach(ram.open()).unwrap().release(),
        "6.1.0-forged"
    );
}

#[test]
fn calls_a_kernel_whose_memory_says_otherwise_stale() {
    let mut ram = put_kernel(blank(), 0x1_0000, "6.1.0-forged");
    ram.put(0x2_0000 + 0x1000 + 130, b"6.1.1");
    let error = refused(&ram);
    assert!(
        matches!(&error, AttachError::Stale { release, .. } if release == "6.1.0-forged"),
        "{error}"
    );
}

#[test]
fn refuses_a_kernel_with_other_pages() {
    let mut ram = blank();
    ram.put(
        0x1_0000,
        b"OSRELEASE=6.1.0-arm\nPAGESIZE=65536\nSYMBOL(init_uts_ns)=ffffffff81000000\n\
        SYMBOL(swapper_pg_dir)=ffffffff81000000\nSYMBOL(_stext)=ffffffff81000000\n",
    );
    assert!(matches!(refused(&ram), AttachError::Unsupported { .. }));
}

#[test]
fn tells_no_linux_from_one_that_still_boots() {
    let mut ram = blank();
    let none = AttachError::NotLinux {
        scanned: ByteLen::new(1 << 20),
    };
    assert_eq!(refused(&ram), none);
    ram.put(0x8_0123, b"Linux version %s");
    assert_eq!(refused(&ram), none, "a format is no banner");
    let mut booting = ram.clone();
    booting.put(0x9_0123, b"Linux version 6.1.0-50-cloud-amd64 (debian)\n");
    let error = refused(&booting);
    assert!(
        matches!(error, AttachError::StillBooting { at, .. } if at.get() == 0x9_0123),
        "{error}"
    );
    ram.put(0x1_01fe, &[0x55, 0xaa, 0xeb, 0x6a]);
    ram.put(0x1_0202, b"HdrS");
    assert!(matches!(refused(&ram), AttachError::StillBooting { .. }));
}

#[test]
fn looks_at_a_bounded_number_of_candidates() {
    // G73: a copy in every page.
    let mut ram = blank();
    for page in 0..256 {
        ram.put(page * 4096, b"OSRELEASE=4.4.4\nPAGESIZE=4096\nSYMBOL(init_uts_ns)=ffffffff81000000\n\
            SYMBOL(swapper_pg_dir)=ffffffff81000000\nSYMBOL(_stext)=ffffffff81000000\nNUMBER(phys_base)=0\n");
    }
    assert!(matches!(refused(&ram), AttachError::Stale { .. }));
}
