//! Reading the file: regions, segments, ends, refusals.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    reason = "small numbers of the test's own"
)]

mod tell;

use proptest::prelude::*;
use tell::{BASE, RULE, Tell, image, offset, read, read_with, segment, told};
use vread_addr::{ByteLen, FileOffset};
use vread_iov_iter::scripted::{Granularity, UserSpace};
use vread_iov_iter::{IovIter, Progress};
use vread_kcore::{
    ElfMachine, EndOfFile, KcoreImage, KcoreSegment, NT_PRSTATUS, Note, ReadOptions, SegmentKind,
    read_kcore_iter,
};

/// The file's bytes from `at`, worked out one by one (K2, K8, K10).
fn expected(image: &KcoreImage, at: FileOffset, len: usize) -> Vec<u8> {
    let mut out = Vec::new();
    // K10: the segment that the chunk before left behind, and where this chunk ends.
    let mut current: Option<(KcoreSegment, u64)> = None;
    let mut chunk_end = 0;
    for at in (at.get()..).take(len) {
        let data = image.data_offset().get();
        if at < data {
            let head = image.head().get(usize::try_from(at).unwrap());
            out.push(head.copied().unwrap_or(0));
            continue;
        }
        let addr = RULE.to_vaddr(ByteLen::new(at - data));
        if addr.get() >= chunk_end {
            chunk_end = addr.get() / 4096 * 4096 + 4096;
            let segments = image.segments().iter().map(|placed| placed.segment);
            let kept = current
                .map(|(segment, _)| segment)
                .filter(|s| s.contains(addr));
            let mut candidates = kept.into_iter().chain(segments);
            current = candidates
                .find(|s| s.contains(addr))
                .map(|s| (s, chunk_end));
        }
        out.push(current.map_or(0, |(segment, _)| told(segment.kind, addr.get())));
    }
    out
}

#[test]
fn crosses_header_notes_padding_and_data() {
    // K2: one read from the first byte into the first segment.
    let image = image();
    let data = usize::try_from(image.data_offset().get()).unwrap();
    // The file's data begins with the hole below the direct map; the first segment is far behind.
    let first = offset(&image, BASE);
    assert!(first > image.data_offset());
    let (bytes, progress) = read(&image, FileOffset::new(0), data + 8192);
    assert_eq!(progress.stopped, None);
    assert_eq!(bytes[..image.head().len()], *image.head());
    assert!(bytes[image.head().len()..].iter().all(|byte| *byte == 0));
    assert_eq!(progress.copied, ByteLen::from_usize(image.head().len()));

    // In the other layout the data follows at once.
    let vmcore = KcoreImage::vmcore(
        ElfMachine::X86_64,
        &[segment(SegmentKind::Ram, BASE, 0x3000)],
        &[Note::new("CORE", NT_PRSTATUS, vec![1; 336])],
    )
    .unwrap();
    let data = usize::try_from(vmcore.data_offset().get()).unwrap();
    let (bytes, progress) = read(&vmcore, FileOffset::new(0), data + 0x3000 + 5);
    assert_eq!(progress.stopped, None);
    assert_eq!(bytes[..vmcore.head().len()], *vmcore.head());
    assert!(
        bytes[vmcore.head().len()..data]
            .iter()
            .all(|byte| *byte == 0)
    );
    let ram: Vec<u8> = (0..0x3000)
        .map(|at| told(SegmentKind::Ram, BASE + at))
        .collect();
    assert!(bytes[data..data + 0x3000] == ram);
    assert_eq!(bytes[data + 0x3000..], [0; 5]);
}

#[test]
fn every_kind_is_read_its_own_way() {
    // K14: vmalloc space through vread_iter, the others directly, Remap never, holes as zeros.
    let image = image();
    let memory = Tell::default();
    let at = offset(&image, BASE);
    let (bytes, progress) = read_with(&image, &memory, at, 18 * 4096, ReadOptions::default());
    assert_eq!(progress.stopped, None);
    assert!(bytes == expected(&image, at, 18 * 4096));
    let calls: Vec<_> = memory
        .calls
        .borrow()
        .iter()
        .map(|(kind, addr, _)| (*kind, (addr - BASE) / 4096))
        .collect();
    use SegmentKind::{Ram, Text, User, Vmalloc, Vmemmap};
    let wanted = [
        (Ram, 0),
        (Vmalloc, 5),
        (Vmemmap, 9),
        (User, 10),
        (Ram, 12),
        (Text, 15),
    ];
    assert_eq!(calls, wanted);
    let zeros = bytes.iter().filter(|byte| **byte == 0).count();
    assert_eq!(
        progress.zeroed,
        ByteLen::from_usize(zeros),
        "holes are counted as holes"
    );
}

#[test]
fn segment_is_read_to_the_end_of_its_last_page() {
    // K10, E14: vmalloc space is a byte short of a page, and that byte is read through it all the same
    let image = image();
    let last = BASE + 8 * 4096 - 1;
    let (bytes, _progress) = read(&image, offset(&image, last - 1), 3);
    assert_eq!(
        bytes,
        [
            told(SegmentKind::Vmalloc, last - 1),
            told(SegmentKind::Vmalloc, last),
            0
        ]
    );
    // A read that begins at that byte is in no segment: zeros, as in Linux.
    let (bytes, progress) = read(&image, offset(&image, last), 3);
    assert_eq!(bytes, [0; 3]);
    assert_eq!(progress.zeroed, ByteLen::new(3));
}

#[test]
fn segment_that_begins_inside_a_page_is_met_at_its_own_bytes_only() {
    // K8, K10: a chunk that begins in the hole before it is zeros to the end of the page; one that begins
    // in it is content.
    let image = image();
    let start = BASE + 14 * 4096 + 0x800;
    let (bytes, _progress) = read(&image, offset(&image, start - 1), 0x802);
    assert!(bytes[..0x801].iter().all(|byte| *byte == 0));
    assert_eq!(bytes[0x801], told(SegmentKind::Text, BASE + 15 * 4096));
    let (bytes, _progress) = read(&image, offset(&image, start), 2);
    assert_eq!(
        bytes,
        [
            told(SegmentKind::Text, start),
            told(SegmentKind::Text, start + 1)
        ]
    );
}

#[test]
fn first_chunk_ends_with_its_page() {
    // K8: reads that start anywhere in a page
    let image = image();
    for into in [0, 1, 2047, 4095, 4096, 5000] {
        for len in [1, 4095, 4096, 4097, 20_000] {
            let at = offset(&image, BASE + 4 * 4096 + into);
            assert!(
                read(&image, at, len).0 == expected(&image, at, len),
                "{into} {len}"
            );
        }
    }
}

#[test]
fn start_inside_the_padding() {
    // K9: zeros up to the data, then the data
    let image = image();
    let at = image.data_offset().checked_sub(ByteLen::new(10)).unwrap();
    let (bytes, progress) = read(&image, at, 100);
    assert_eq!(bytes, [0; 100]);
    assert_eq!(progress.zeroed, ByteLen::new(100));
}

#[test]
fn no_end_of_file_unless_asked_for() {
    // K4: zeros for as long as one asks, also far behind the advertised size.
    let image = image();
    let size = FileOffset::new(image.size().get());
    for at in [
        size,
        FileOffset::new(0x0700_0000_0000_0000),
        FileOffset::new(0x7000_0000_0000_0000),
    ] {
        let (bytes, progress) = read(&image, at, 5000);
        assert_eq!(bytes, [0; 5000]);
        assert_eq!(progress, Progress::zeroed(ByteLen::new(5000)));
    }
}

#[test]
fn file_repeats_behind_its_end_as_linux_does() {
    // E9, K4: an offset's upper bits play no part on x86_64, so that every 2^47 bytes the same memory
    // comes again. (A real 5.10 with 4 levels and a real 6.12 with 5 do so: tests/guests.)
    let image = image();
    let at = offset(&image, BASE);
    for bit in [47, 48, 55, 62] {
        let again = at.checked_add(ByteLen::new(1 << bit)).unwrap();
        assert_eq!(read(&image, again, 5000), read(&image, at, 5000), "{bit}");
    }
    let options = ReadOptions {
        end: EndOfFile::AtSize,
        cancelled: None,
    };
    let again = at.checked_add(ByteLen::new(1 << 47)).unwrap();
    let (_bytes, progress) = read_with(&image, &Tell::default(), again, 5000, options);
    assert_eq!(
        progress,
        Progress::default(),
        "a file with an end has no second copy"
    );
}

#[test]
fn end_of_file_at_the_size_where_asked_for() {
    let image = image();
    let options = || ReadOptions {
        end: EndOfFile::AtSize,
        cancelled: None,
    };
    let size = image.size().get();
    for (back, len, wanted) in [
        (10, 100, 10),
        (0, 100, 0),
        (100, 100, 100),
        (4096, 100, 100),
    ] {
        let at = FileOffset::new(size - back);
        let (bytes, progress) = read_with(&image, &Tell::default(), at, len, options());
        assert_eq!(progress.advanced(), ByteLen::new(wanted));
        assert_eq!(progress.stopped, None);
        let wanted = usize::try_from(wanted).unwrap();
        assert!(bytes[wanted..].iter().all(|byte| *byte == 0xa5));
    }
    let beyond = FileOffset::new(size + 1);
    let (_bytes, progress) = read_with(&image, &Tell::default(), beyond, 5, options());
    assert_eq!(progress.advanced(), ByteLen::ZERO);
}

#[test]
fn read_stays_in_the_segment_that_it_is_in() {
    // K10: where two segments hold the same bytes, the one that the read came with goes on.
    let text = segment(SegmentKind::Text, BASE + 0x2000, 0x1000);
    let around = segment(SegmentKind::Vmalloc, BASE, 8 << 20);
    let image = KcoreImage::kcore(ElfMachine::X86_64, RULE, &[text, around], &[]).unwrap();
    let memory = Tell::default();
    let at = offset(&image, BASE);
    let (bytes, _progress) = read_with(&image, &memory, at, 8 << 20, ReadOptions::default());
    let only_vmalloc = |(kind, _, _): &(SegmentKind, u64, u64)| *kind == SegmentKind::Vmalloc;
    assert!(memory.calls.borrow().iter().all(only_vmalloc));
    assert_eq!(bytes[0x2000], told(SegmentKind::Vmalloc, BASE + 0x2000));
    let (bytes, _progress) = read(&image, offset(&image, BASE + 0x2000), 0x1001);
    assert_eq!(bytes[0], told(SegmentKind::Text, BASE + 0x2000));
    assert_eq!(bytes[0x1000], told(SegmentKind::Vmalloc, BASE + 0x3000));
}

/// Segments whose borders lie on pages, so that the bytes of the file do not depend on where a read
/// begins (K10).
fn aligned_image() -> KcoreImage {
    use SegmentKind::{Ram, Remap, Text, Vmalloc};
    let page = |page: u64| BASE + page * 4096;
    let segments = [
        segment(Text, page(7), 0x2000),
        segment(Ram, BASE, 0x2000),
        segment(Vmalloc, page(2), 0x2000),
        segment(Remap, page(5), 0x1000),
    ];
    KcoreImage::kcore(ElfMachine::X86_64, RULE, &segments, &[]).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Any split of a read, under any schedule of destination faults, gives the same bytes as one read.
    #[test]
    fn any_split_under_any_faults_equals_one_read(
        from in 0..10 * 4096_u64,
        in_head in any::<bool>(),
        lens in prop::collection::vec(prop_oneof![Just(0_usize), 1..6000_usize], 1..10),
        splits in prop::collection::vec(0..9000_usize, 0..8),
        schedule in prop::collection::vec(any::<u64>(), 0..16),
        piece in any::<bool>(),
        vmcore in any::<bool>(),
    ) {
        let kcore = aligned_image();
        let image = match vmcore {
            true => {
                let segments: Vec<_> = kcore.segments().iter().map(|placed| placed.segment).collect();
                KcoreImage::vmcore(ElfMachine::X86_64, &segments, &[]).unwrap()
            }
            false => kcore,
        };
        let start = match (in_head, vmcore) {
            (true, _) => FileOffset::new(from % 5000),
            (false, true) => FileOffset::new(from),
            (false, false) => offset(&image, BASE + from),
        };
        let total: usize = lens.iter().sum();
        let (wanted, progress) = read(&image, start, total);
        prop_assert_eq!(progress.advanced(), ByteLen::from_usize(total));
        if !vmcore {
            prop_assert!(wanted == expected(&image, start, total));
        }

        let space = UserSpace::new(&[1000; 60], 0xa5)
            .schedule(&schedule)
            .granularity(if piece { Granularity::Piece } else { Granularity::Byte });
        let mut segments = space.segments(&lens);
        let mut iter = IovIter::iovec(&mut segments);
        let (mut at, mut sum) = (start, Progress::default());
        for split in splits.into_iter().chain([usize::MAX]) {
            let rest = iter.count();
            iter.truncate(split);
            let asked = iter.count();
            let memory = Tell::default();
            let progress =
                read_kcore_iter(&image, &memory, &mut iter, at, ReadOptions::default()).unwrap();
            prop_assert_eq!(progress.stopped, None);
            prop_assert_eq!(progress.advanced(), ByteLen::from_usize(asked));
            at = at.checked_add(progress.advanced()).unwrap();
            sum = sum.then(progress);
            iter.reexpand(rest - asked);
        }
        prop_assert_eq!(sum, progress);
        prop_assert!(space.bytes()[..total] == wanted);
        prop_assert!(space.bytes()[total..].iter().all(|byte| *byte == 0xa5));
    }
}
