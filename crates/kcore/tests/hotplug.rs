//! Segments and notes that change between two opens (K64, K6, E6): every open has the layout of its moment.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    reason = "small numbers of the test's own"
)]

mod tell;

use tell::{BASE, RULE, Tell, offset, read, segment, told};
use vread_addr::FileOffset;
use vread_iov_iter::{IovIter, Plain};
use vread_kcore::{
    ElfMachine, EndOfFile, KcoreImage, NT_VMCOREINFO, Note, ReadOptions, SegmentKind,
    read_kcore_iter,
};

const PAGE: u64 = 4096;

/// The image of a machine with so many runs of RAM, 16 pages apart and 4 pages long, and notes of this
/// length.
fn opened(runs: u64, note: usize) -> KcoreImage {
    let segments: Vec<_> = (0..runs)
        .map(|run| segment(SegmentKind::Ram, BASE + run * 16 * PAGE, 4 * PAGE))
        .collect();
    let notes = [Note::new("VMCOREINFO", NT_VMCOREINFO, vec![b'x'; note])];
    KcoreImage::kcore(ElfMachine::X86_64, RULE, &segments, &notes).unwrap()
}

fn ram(addr: u64) -> Vec<u8> {
    (addr..addr + PAGE)
        .map(|addr| told(SegmentKind::Ram, addr))
        .collect()
}

#[test]
fn memory_that_is_plugged_in_shows_at_the_next_open() {
    // K64. (In Linux an older descriptor sees the new list too, and from 7.2 on its data move under it. Here it
    // keeps what its header says.)
    let plugged = BASE + 16 * PAGE;
    let before = opened(1, 100);
    let head = before.head().to_vec();
    let after = opened(2, 100);
    assert_eq!(after.segments().len(), before.segments().len() + 1);
    assert_eq!(after.head().len(), head.len() + 56);
    let page = usize::try_from(PAGE).unwrap();
    for (image, want) in [(&before, vec![0; page]), (&after, ram(plugged))] {
        let (bytes, progress) = read(image, offset(image, plugged), page);
        assert!(bytes == want && progress.stopped.is_none());
        let (bytes, _) = read(image, offset(image, BASE), page);
        assert!(bytes == ram(BASE), "what was there stays where it was");
    }
    assert_eq!(before.head(), head, "and the older header with it");
    // Unplugged again: the next open does not have it, and those before still do.
    let (bytes, _) = read(&opened(1, 100), offset(&before, plugged), page);
    assert!(bytes.iter().all(|byte| *byte == 0));
    let (bytes, _) = read(&after, offset(&after, plugged), page);
    assert!(bytes == ram(plugged));
}

#[test]
fn header_that_outgrows_a_page_moves_the_data_of_later_opens_only() {
    // K64, E7: one more program header is enough.
    let mut runs = 1;
    while opened(runs + 1, 100).data_offset() == opened(runs, 100).data_offset() {
        runs += 1;
        assert!(runs < 100, "the data never move");
    }
    let (before, after) = (opened(runs, 100), opened(runs + 1, 100));
    assert_eq!(after.data_offset().get(), before.data_offset().get() + PAGE);
    for image in [&before, &after] {
        let at = image.segments()[0].offset;
        assert_eq!(at, offset(image, BASE));
        let (bytes, _) = read(image, at, 4096);
        assert!(bytes == ram(BASE));
    }
    // The same position is another byte in the other open's file: nothing is kept of it between them.
    let (bytes, _) = read(&after, before.segments()[0].offset, 4096);
    assert!(bytes.iter().all(|byte| *byte == 0));
}

#[test]
fn note_that_grows_is_whole_at_the_next_open_and_cut_in_none() {
    // E6, K6: sizes are worked out with the bytes, so that neither is without the other. (Linux 7.2 keeps sizes
    // and cuts what has grown meanwhile; before, it works them out at every read.)
    let mut last_end = 0;
    for len in [0, 1, 3, 4, 100, 3264, 5000] {
        let image = opened(1, len);
        let head = image.head();
        // Header, two program headers, the note's header and its padded name: then its bytes.
        let start = 64 + 2 * 56 + 12 + 12;
        assert_eq!(head.len(), start + len.next_multiple_of(4));
        assert!(head[start..start + len].iter().all(|byte| *byte == b'x'));
        assert!(head[start + len..].iter().all(|byte| *byte == 0));
        assert!(image.data_offset().get() >= u64::try_from(head.len()).unwrap());
        assert!(head.len() >= last_end);
        last_end = head.len();
    }
}

#[test]
fn end_of_the_file_is_that_of_its_own_open() {
    // K4, K64: where an end is asked for, it moves with the segments.
    let at = |image: &KcoreImage| {
        let mut buffer = [0xa5; 16];
        let mut part = Plain::new(&mut buffer);
        let mut iter = IovIter::ubuf(&mut part);
        let end = FileOffset::new(image.size().get() - 4);
        let options = ReadOptions {
            end: EndOfFile::AtSize,
            ..ReadOptions::default()
        };
        let progress = read_kcore_iter(image, &Tell::default(), &mut iter, end, options);
        progress.unwrap().advanced().get()
    };
    let (before, after) = (opened(1, 100), opened(2, 100));
    assert_eq!(after.size().get(), before.size().get() + 16 * PAGE);
    assert_eq!((at(&before), at(&after)), (4, 4));
}
