//! The file's header, and where segments stand in it, against what real kernels showed.
#![expect(clippy::unwrap_used, reason = "small numbers of the test's own")]

use object::LittleEndian;
use object::elf::{FileHeader64, PT_LOAD, PT_NOTE, ProgramHeader64};
use object::read::elf::{FileHeader, ProgramHeader};
use vread_addr::{ByteLen, FileOffset, PhysAddr, VirtAddr};
use vread_kcore::{
    ElfMachine, KcoreError, KcoreImage, KcoreSegment, NT_PRPSINFO, NT_PRSTATUS, NT_TASKSTRUCT,
    NT_VMCOREINFO, Note, OffsetRule, Place, SegmentKind,
};

fn segment(kind: SegmentKind, start: u64, len: u64, phys: Option<u64>) -> KcoreSegment {
    KcoreSegment {
        kind,
        start: VirtAddr::new(start),
        len: ByteLen::new(len),
        phys: phys.map(PhysAddr::new),
    }
}

/// The notes of the reference boots: zeros, in their real sizes (E4).
fn notes(task: usize, vmcoreinfo: usize) -> Vec<Note> {
    vec![
        Note::new("CORE", NT_PRSTATUS, vec![0; 336]),
        Note::new("CORE", NT_PRPSINFO, vec![0; 136]),
        Note::new("CORE", NT_TASKSTRUCT, vec![0; task]),
        Note::new("VMCOREINFO", NT_VMCOREINFO, vec![b'x'; vmcoreinfo]),
    ]
}

/// The segments of a real 5.10 guest with 1 GiB, and the file offsets that its kernel gave them (E24).
fn reference_5_10() -> ([KcoreSegment; 7], [u64; 7]) {
    use SegmentKind::{Ram, Text, Vmalloc, Vmemmap};
    let segments = [
        segment(Text, 0xffff_ffff_b220_0000, 0x222_c000, Some(0x3540_0000)),
        segment(Vmalloc, 0xffff_af70_0000_0000, 0x1fff_ffff_ffff, None),
        segment(Vmalloc, 0xffff_ffff_c000_0000, 0x3f00_0000, None),
        segment(Ram, 0xffff_8c25_4000_1000, 0x9_e000, Some(0x1000)),
        segment(Vmemmap, 0xffff_fb85_8000_0000, 0x3000, None),
        segment(Ram, 0xffff_8c25_4010_0000, 0x3fee_0000, Some(0x10_0000)),
        segment(Vmemmap, 0xffff_fb85_8000_4000, 0xff_c000, None),
    ];
    let offsets = [
        0x7fff_b220_3000,
        0x2f70_0000_3000,
        0x7fff_c000_3000,
        0xc25_4000_4000,
        0x7b85_8000_3000,
        0xc25_4010_3000,
        0x7b85_8000_7000,
    ];
    (segments, offsets)
}

fn kcore_5_10() -> KcoreImage {
    let (segments, _offsets) = reference_5_10();
    let rule = OffsetRule::X86_64_4_LEVEL;
    KcoreImage::kcore(ElfMachine::X86_64, rule, &segments, &notes(7944, 2920)).unwrap()
}

type Phdr = ProgramHeader64<LittleEndian>;

/// The header as an independent reader of ELF files sees it, made as long as the file's beginning is.
fn parse(image: &KcoreImage) -> (Vec<u8>, FileHeader64<LittleEndian>, Vec<Phdr>) {
    let mut bytes = image.head().to_vec();
    let end = usize::try_from(image.data_offset().get()).unwrap();
    bytes.resize(end, 0);
    let header = FileHeader64::<LittleEndian>::parse(bytes.as_slice()).unwrap();
    let phdrs = header.program_headers(LittleEndian, bytes.as_slice());
    let (header, phdrs) = (*header, phdrs.unwrap().to_vec());
    (bytes, header, phdrs)
}

#[test]
fn elf_header_is_the_kernels() {
    // E1, byte by byte
    let image = kcore_5_10();
    let mut expected = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    expected.extend([4, 0, 62, 0, 1, 0, 0, 0]);
    expected.extend([0; 8]);
    expected.extend([64, 0, 0, 0, 0, 0, 0, 0]);
    expected.extend([0; 8]);
    expected.extend([0, 0, 0, 0, 64, 0, 56, 0, 8, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(image.head()[..64], expected);
    let arm = KcoreImage::kcore(ElfMachine::Aarch64, OffsetRule::LowBits(48), &[], &[]).unwrap();
    assert_eq!(arm.head()[18..20], [183, 0]);
}

#[test]
fn first_program_header_is_the_notes() {
    // E2, and nothing else is set in it
    let (_bytes, header, phdrs) = parse(&kcore_5_10());
    assert_eq!(phdrs.len(), 8);
    assert_eq!(header.e_phoff(LittleEndian), 64);
    let le = LittleEndian;
    let note = &phdrs[0];
    assert_eq!(note.p_type(le), PT_NOTE);
    assert_eq!(note.p_offset(le), 64 + 56 * 8);
    assert_eq!(note.p_filesz(le), 11_420);
    assert_eq!(
        (
            note.p_flags(le).0,
            note.p_vaddr(le),
            note.p_paddr(le),
            note.p_memsz(le),
            note.p_align(le)
        ),
        (0, 0, 0, 0, 0)
    );
}

#[test]
fn load_headers_are_those_of_a_real_5_10() {
    // E3, E9, E10, E24; E14: the size of vmalloc space is one byte short
    let (segments, offsets) = reference_5_10();
    let image = kcore_5_10();
    let (_bytes, _header, phdrs) = parse(&image);
    let le = LittleEndian;
    for ((phdr, segment), offset) in phdrs[1..].iter().zip(segments).zip(offsets) {
        assert_eq!(phdr.p_type(le), PT_LOAD);
        assert_eq!(phdr.p_flags(le).0, 7);
        assert_eq!(phdr.p_offset(le), offset);
        assert_eq!(phdr.p_vaddr(le), segment.start.get());
        assert_eq!(
            phdr.p_paddr(le),
            segment.phys.map_or(u64::MAX, PhysAddr::get)
        );
        assert_eq!(phdr.p_filesz(le), segment.len.get());
        assert_eq!(phdr.p_memsz(le), segment.len.get());
        assert_eq!(phdr.p_align(le), 4096);
        assert_eq!(
            image.offset_of(segment.start),
            Some(FileOffset::new(offset))
        );
    }
    assert_eq!(phdrs[2].p_filesz(le), (1 << 45) - 1);
}

#[test]
fn data_offset_and_size_are_those_of_real_kernels() {
    // E5, E7, E11, E24: four boots with eight program headers each
    let boots = [
        (OffsetRule::X86_64_4_LEVEL, 7944, 2920, 11_420, 0x3000),
        (OffsetRule::X86_64_5_LEVEL, 8328, 3264, 12_148, 0x4000),
        (OffsetRule::X86_64_5_LEVEL, 8392, 3264, 12_212, 0x4000),
        (OffsetRule::X86_64_5_LEVEL, 8904, 3266, 12_728, 0x4000),
    ];
    let (segments, _offsets) = reference_5_10();
    for (rule, task, vmcoreinfo, notes_end, data) in boots {
        let notes = notes(task, vmcoreinfo);
        let image = KcoreImage::kcore(ElfMachine::X86_64, rule, &segments, &notes).unwrap();
        assert_eq!(image.head().len(), 64 + 56 * 8 + notes_end);
        assert_eq!(image.data_offset(), FileOffset::new(data));
        // The modules' range ends highest, at 0xffffffffff000000.
        let top = match rule {
            OffsetRule::X86_64_4_LEVEL => 0x7fff_ff00_0000,
            _ => 0xff_ffff_ff00_0000,
        };
        assert_eq!(image.size(), ByteLen::new(top + data));
    }
}

#[test]
fn vsyscall_segment_raises_the_size() {
    // E11, E13
    let (mut segments, _offsets) = reference_5_10();
    segments[0] = segment(SegmentKind::User, 0xffff_ffff_ff60_0000, 0x1000, None);
    let rule = OffsetRule::X86_64_4_LEVEL;
    let image = KcoreImage::kcore(ElfMachine::X86_64, rule, &segments, &[]).unwrap();
    assert_eq!(image.size(), ByteLen::new(0x7fff_ff60_1000 + 0x1000));
}

#[test]
fn notes_stand_where_a_real_5_10_has_them() {
    // E4, E5: offsets 0, 356, 512, 8476 from the end of the program headers
    let image = kcore_5_10();
    let (bytes, _header, phdrs) = parse(&image);
    let mut found = Vec::new();
    let mut iter = phdrs[0]
        .notes(LittleEndian, bytes.as_slice())
        .unwrap()
        .unwrap();
    while let Some(note) = iter.next().unwrap() {
        let (name, kind) = (note.name().to_vec(), note.n_type(LittleEndian).0);
        found.push((name, kind, note.desc().len()));
    }
    let core = b"CORE".to_vec();
    let expected = [
        (core.clone(), 1, 336),
        (core.clone(), 3, 136),
        (core, 4, 7944),
        (b"VMCOREINFO".to_vec(), 0, 2920),
    ];
    assert_eq!(found, expected);
    let starts = [(0, 5, 336), (356, 5, 136), (512, 5, 7944), (8476, 11, 2920)];
    for (at, name_len, descriptor_len) in starts {
        let at = 64 + 56 * 8 + at;
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        assert_eq!((word(at), word(at + 4)), (name_len, descriptor_len));
    }
}

#[test]
fn notes_are_padded_to_words_with_zeros() {
    // E4, E5: names of 1 to 8 bytes with their NUL, descriptors of 0 to 8 bytes
    for name in ["", "a", "ab", "abc", "abcd", "abcdefg"] {
        for len in 0..9 {
            let first = Note::new(name, 7, vec![0xff; len]);
            let second = Note::new("X", 9, vec![0xee]);
            let rule = OffsetRule::X86_64_4_LEVEL;
            let image = KcoreImage::kcore(ElfMachine::X86_64, rule, &[], &[first, second]).unwrap();
            let mut expected = Vec::new();
            let padded = |len: usize| len.next_multiple_of(4);
            let mut push = |name: &str, kind: u32, descriptor: &[u8]| {
                for word in [name.len() + 1, descriptor.len()] {
                    expected.extend(u32::try_from(word).unwrap().to_le_bytes());
                }
                expected.extend(kind.to_le_bytes());
                let base = expected.len();
                expected.extend(name.bytes());
                expected.resize(base + padded(name.len() + 1), 0);
                expected.extend(descriptor);
                expected.resize(base + padded(name.len() + 1) + padded(descriptor.len()), 0);
            };
            push(name, 7, &vec![0xff; len]);
            push("X", 9, &[0xee]);
            assert_eq!(image.head()[64 + 56..], expected, "{name:?} {len}");
        }
    }
}

#[test]
fn data_offset_is_the_next_page_border() {
    // E7: also where the notes end exactly on one
    for slack in [4, 0, 2048] {
        let room = 4096 - 64 - 56 - 12 - 4 - slack;
        let note = Note::new("abc", 0, vec![0; room]);
        let rule = OffsetRule::X86_64_4_LEVEL;
        let build = |notes: &[Note]| KcoreImage::kcore(ElfMachine::X86_64, rule, &[], notes);
        let image = build(&[note]).unwrap();
        assert_eq!(image.head().len(), 4096 - slack);
        assert_eq!(image.data_offset(), FileOffset::new(4096));
        assert_eq!(
            image.size(),
            ByteLen::new(4096),
            "no segment: the header alone"
        );
    }
}

#[test]
fn offset_rules_are_the_kernels() {
    // E9: x86_64 by a mask chosen at run time, arm64 by the configured base
    let cases = [
        (
            OffsetRule::X86_64_4_LEVEL,
            0xffff_8880_0000_0000,
            0x0880_0000_0000,
        ),
        (
            OffsetRule::X86_64_4_LEVEL,
            0xffff_ffff_ffff_ffff,
            0x7fff_ffff_ffff,
        ),
        (
            OffsetRule::X86_64_5_LEVEL,
            0xff11_0000_0000_0000,
            0x0011_0000_0000_0000,
        ),
        (
            OffsetRule::FromBase(VirtAddr::new(0xffff_0000_0000_0000)),
            0xffff_8000_1234_5678,
            0x8000_1234_5678,
        ),
        (
            OffsetRule::FromBase(VirtAddr::new(0xfff0_0000_0000_0000)),
            0xffff_8000_0000_0000,
            0xf_8000_0000_0000,
        ),
    ];
    for (rule, addr, offset) in cases {
        assert_eq!(rule.to_offset(VirtAddr::new(addr)), ByteLen::new(offset));
        assert_eq!(rule.to_vaddr(ByteLen::new(offset)), VirtAddr::new(addr));
    }
    // A user address is no kernel address: the way back sets the upper bits.
    let rule = OffsetRule::X86_64_4_LEVEL;
    let offset = rule.to_offset(VirtAddr::new(0x1000));
    assert_eq!(rule.to_vaddr(offset), VirtAddr::new(0xffff_8000_0000_1000));
    // Widths that shift out of range neither panic nor wrap.
    assert_eq!(
        OffsetRule::LowBits(64).to_offset(VirtAddr::new(5)),
        ByteLen::new(5)
    );
    assert_eq!(
        OffsetRule::LowBits(0).to_offset(VirtAddr::new(5)),
        ByteLen::ZERO
    );
}

#[test]
fn first_segment_in_the_list_wins() {
    // E12, K10: on arm64 text lies inside vmalloc space, and stands before it in the list.
    let rule = OffsetRule::FromBase(VirtAddr::new(0xffff_0000_0000_0000));
    let text = segment(
        SegmentKind::Text,
        0xffff_8000_0801_0000,
        0x2_0000,
        Some(0x4001_0000),
    );
    let vmalloc = segment(
        SegmentKind::Vmalloc,
        0xffff_8000_0800_0000,
        0x1000_0000,
        None,
    );
    let image = KcoreImage::kcore(ElfMachine::Aarch64, rule, &[text, vmalloc], &[]).unwrap();
    let place = |addr: u64| {
        let offset = rule.to_offset(VirtAddr::new(addr));
        match image.place(image.data_offset().checked_add(offset).unwrap()) {
            Place::Memory { segment, addr, len } => Some((segment.kind, addr.get(), len.get())),
            Place::Hole { .. } => None,
        }
    };
    assert_eq!(
        place(0xffff_8000_0801_0010),
        Some((SegmentKind::Text, 0xffff_8000_0801_0010, 0x1_fff0))
    );
    // A read that begins below keeps the segment that it is in.
    assert_eq!(
        place(0xffff_8000_0800_fff0),
        Some((SegmentKind::Vmalloc, 0xffff_8000_0800_fff0, 0xfff_0010))
    );
    assert_eq!(place(0xffff_8000_07ff_ffff), None);
}

#[test]
fn vmcore_is_what_debuggers_ask_for() {
    // debuggers: p_align 0, one NOTE and it is first, physical addresses, text before RAM, RAM ascending,
    // small offsets one after another, p_filesz = p_memsz, e_phoff 64
    let (mut segments, _offsets) = reference_5_10();
    segments.reverse();
    let image = KcoreImage::vmcore(ElfMachine::X86_64, &segments, &notes(7944, 2920)).unwrap();
    let (_bytes, _header, phdrs) = parse(&image);
    let le = LittleEndian;
    let loads: Vec<_> = phdrs[1..]
        .iter()
        .map(|p| {
            (
                p.p_type(le),
                p.p_offset(le),
                p.p_vaddr(le),
                p.p_paddr(le),
                p.p_memsz(le),
                p.p_align(le),
            )
        })
        .collect();
    assert_eq!(phdrs[0].p_type(le), PT_NOTE);
    let data = image.data_offset().get();
    assert!(data.is_multiple_of(4096) && data < 0x10_0000);
    let (low, high) = (data + 0x222_c000, data + 0x222_c000 + 0x9_e000);
    let expected = [
        (
            PT_LOAD,
            data,
            0xffff_ffff_b220_0000,
            0x3540_0000,
            0x222_c000,
            0,
        ),
        (PT_LOAD, low, 0xffff_8c25_4000_1000, 0x1000, 0x9_e000, 0),
        (
            PT_LOAD,
            high,
            0xffff_8c25_4010_0000,
            0x10_0000,
            0x3fee_0000,
            0,
        ),
    ];
    assert_eq!(loads, expected);
    assert!(
        phdrs
            .iter()
            .skip(1)
            .all(|p| p.p_filesz(le) == p.p_memsz(le))
    );
    assert_eq!(
        image.size(),
        ByteLen::new(high + 0x3fee_0000),
        "st_size reaches the last byte"
    );
}

#[test]
fn vmcore_has_bytes_behind_the_notes() {
    // debuggers: 64 of them, wherever the notes end in their page and with no segment at all
    for len in (3800..4100).step_by(4) {
        let note = Note::new("abc", 0, vec![0; len]);
        let image = KcoreImage::vmcore(ElfMachine::X86_64, &[], &[note]).unwrap();
        let head = ByteLen::from_usize(image.head().len());
        assert!(
            image.size().checked_sub(head).unwrap() >= ByteLen::new(64),
            "{len}"
        );
        assert!(image.data_offset().is_page_aligned());
    }
}

#[test]
fn vmcore_places_follow_the_offsets() {
    let (segments, _offsets) = reference_5_10();
    let image = KcoreImage::vmcore(ElfMachine::X86_64, &segments, &[]).unwrap();
    for placed in image.segments() {
        let (first, len) = (placed.segment.start, placed.segment.len);
        let last = first
            .checked_add(len)
            .unwrap()
            .checked_sub(ByteLen::new(1))
            .unwrap();
        for (addr, rest) in [(first, len.get()), (last, 1)] {
            let at = image.offset_of(addr).unwrap();
            let expected = Place::Memory {
                segment: &placed.segment,
                addr,
                len: ByteLen::new(rest),
            };
            assert_eq!(image.place(at), expected);
        }
    }
    let end = FileOffset::new(image.size().get());
    assert_eq!(
        image.place(end),
        Place::Hole {
            len: end.bytes_to_top()
        }
    );
}

#[test]
fn vmcore_pads_a_segment_that_ends_inside_a_page() {
    let odd = segment(SegmentKind::Ram, 0xffff_8880_0000_0000, 0x1801, Some(0));
    let next = segment(
        SegmentKind::Ram,
        0xffff_8880_0010_0000,
        0x1000,
        Some(0x10_0000),
    );
    let image = KcoreImage::vmcore(ElfMachine::X86_64, &[next, odd], &[]).unwrap();
    let at = |into: u64| image.data_offset().checked_add(ByteLen::new(into)).unwrap();
    assert_eq!(
        image.place(at(0x1801)),
        Place::Hole {
            len: ByteLen::new(0x7ff)
        }
    );
    assert!(matches!(image.place(at(0x2000)), Place::Memory { segment, .. } if *segment == next));
}

#[test]
fn more_segments_than_a_header_can_count_are_refused() {
    // E1: the count has 16 bits, and 0xffff is an escape.
    let one = segment(SegmentKind::Ram, 0xffff_8880_0000_0000, 0x1000, Some(0));
    let rule = OffsetRule::X86_64_4_LEVEL;
    let build = |count: usize| KcoreImage::kcore(ElfMachine::X86_64, rule, &vec![one; count], &[]);
    let (_bytes, header, _phdrs) = parse(&build(0xfffd).unwrap());
    assert_eq!(header.e_phnum(LittleEndian), 0xfffe);
    let error = build(0xfffe).unwrap_err();
    assert_eq!(
        error,
        KcoreError::TooManySegments {
            segments: 0xfffe,
            limit: 0xfffd
        }
    );
    assert_eq!(
        error.to_string(),
        "65534 segments are more than the 65533 that an ELF header can count"
    );
}

#[test]
fn segments_that_no_file_can_hold_are_refused() {
    let huge = segment(SegmentKind::Ram, 0, u64::MAX, Some(0));
    let two = [huge, huge];
    let vmcore = KcoreImage::vmcore(ElfMachine::X86_64, &two, &[]);
    assert_eq!(vmcore.unwrap_err(), KcoreError::TooLarge);
    let rule = OffsetRule::LowBits(64);
    let high = segment(SegmentKind::Ram, u64::MAX - 10, 5, Some(0));
    let kcore = KcoreImage::kcore(ElfMachine::X86_64, rule, &[high], &[]);
    assert_eq!(kcore.unwrap_err(), KcoreError::TooLarge);
}
