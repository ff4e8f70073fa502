//! The kinds of backing that a kernel brings: `kvec`, `bvec`, `folioq`, `xarray`. The ranges are those
//! of the kernel's own unit test (A.8 of the specification).
#![expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "small numbers of the test's own"
)]

use vread_iov_iter::scripted::{PageKind, UserSpace};
use vread_iov_iter::{
    BioVec, Destination, FOLIOS_PER_BATCH, FolioBatch, IndexedFolio, IovIter, IovIterSource, Plain,
    PlainSource, Source,
};

const PAGE: usize = 4096;
const LEN: usize = 1 << 20;

const RANGES: [(usize, usize); 8] = [
    (2, 2),
    (27, 0x3000),
    (0x5193, 0x18794),
    (0x20000, 0x20000),
    (0x20000, 0x24000),
    (0x24000, 0x27001),
    (0x29000, 0xffffb),
    (0xffffd, 0xffffe),
];

fn pattern(x: usize) -> u8 {
    let bytes = x.to_le_bytes();
    bytes[0].wrapping_add(bytes[1]).wrapping_add(bytes[2])
}

fn source(len: usize) -> Vec<u8> {
    (0..len).map(pattern).collect()
}

/// Cuts a buffer into the parts that `ranges` name, which do not overlap and are sorted.
fn parts<'b>(mut rest: &'b mut [u8], ranges: &[(usize, usize)]) -> Vec<&'b mut [u8]> {
    let mut base = 0;
    let mut parts = Vec::new();
    for (from, to) in ranges {
        let (_gap, tail) = rest.split_at_mut(from - base);
        let (part, tail) = tail.split_at_mut(to - from);
        parts.push(part);
        (rest, base) = (tail, *to);
    }
    parts
}

/// What the buffer holds when the pattern went into the ranges one after another.
fn filled(ranges: &[(usize, usize)]) -> Vec<u8> {
    let mut expected = vec![0x5a; LEN];
    let mut taken = 0;
    for (from, to) in ranges {
        for slot in &mut expected[*from..*to] {
            *slot = pattern(taken);
            taken += 1;
        }
    }
    expected
}

fn total(ranges: &[(usize, usize)]) -> usize {
    ranges.iter().map(|(from, to)| to - from).sum()
}

#[test]
fn kvec_takes_the_kernels_ranges_and_no_gap() {
    // I3, I14, I18, I20, I26
    let mut buffer = vec![0x5a; LEN];
    let mut segments: Vec<_> = parts(&mut buffer, &RANGES)
        .into_iter()
        .map(Plain::new)
        .collect();
    let mut iter = IovIter::kvec(&mut segments);
    assert_eq!(iter.count(), total(&RANGES));
    assert_eq!(iter.copy_to_iter(&source(LEN)), total(&RANGES));
    assert_eq!(iter.count(), 0);
    assert!(buffer == filled(&RANGES));
}

#[test]
fn kvec_gives_the_kernels_ranges() {
    let buffer = source(LEN);
    let mut segments: Vec<_> = RANGES
        .iter()
        .map(|(from, to)| PlainSource::new(&buffer[*from..*to]))
        .collect();
    let mut iter = IovIterSource::kvec(&mut segments);
    let mut got = vec![0; LEN];
    assert_eq!(iter.copy_from_iter(&mut got), total(&RANGES));
    let expected: Vec<u8> = RANGES
        .iter()
        .flat_map(|(from, to)| &buffer[*from..*to])
        .copied()
        .collect();
    assert_eq!(got[..expected.len()], expected);
}

/// Page by page, as the kernel's test has them; full pages that lie side by side are one segment.
const RUNS: [(usize, usize); 7] = [
    (2, 2),
    (PAGE + 27, PAGE + 0x893),
    (2 * PAGE + 0x193, 2 * PAGE + 0x794),
    (3 * PAGE, 6 * PAGE),
    (6 * PAGE, 6 * PAGE + 0xffb),
    (6 * PAGE + 0xffd, 6 * PAGE + 0xffe),
    (7 * PAGE + 5, 9 * PAGE + 5),
];

/// The runs' pages whole, each page once, and where in them a run lies. (Runs that share a page have it
/// split between them, since two mutable borrows cannot.)
fn runs(buffer: &mut [u8]) -> Vec<BioVec<Plain<'_>>> {
    let mut starts: Vec<usize> = RUNS.iter().map(|(from, _)| from / PAGE * PAGE).collect();
    starts[5] = 6 * PAGE + 0xffc;
    let mut rest = buffer;
    let mut base = 0;
    let mut runs = Vec::new();
    for (index, (from, to)) in RUNS.into_iter().enumerate() {
        let start = starts[index];
        let end = starts.get(index + 1).copied().unwrap_or(10 * PAGE);
        let (_gap, tail) = rest.split_at_mut(start - base);
        let (pages, tail) = tail.split_at_mut(end - start);
        runs.push(BioVec::new(Plain::new(pages), from - start, to - from));
        (rest, base) = (tail, end);
    }
    runs
}

#[test]
fn bvec_takes_the_kernels_runs_and_no_gap() {
    let mut buffer = vec![0x5a; LEN];
    let mut segments = runs(&mut buffer);
    let mut iter = IovIter::bvec(&mut segments);
    assert_eq!(iter.count(), total(&RUNS));
    assert_eq!(iter.copy_to_iter(&source(LEN)), total(&RUNS));
    assert_eq!(iter.count(), 0);
    assert!(buffer == filled(&RUNS));
}

#[test]
fn bvec_pieces_end_at_page_borders_and_empty_ones_are_steps() {
    // I14, I18: a step for the empty segment in mid-walk, and two for a run across a border.
    let mut buffer = vec![0; 4 * PAGE];
    let (first, second) = buffer.split_at_mut(2 * PAGE);
    let mut segments = [
        BioVec::new(Plain::new(first), PAGE - 3, 5),
        BioVec::new(Plain::new(&mut []), 0, 0),
        BioVec::new(Plain::new(second), 1, 2 * PAGE - 1),
    ];
    let mut iter = IovIter::bvec(&mut segments);
    let mut pieces = Vec::new();
    let done = iter.walk(usize::MAX, |piece| {
        pieces.push((piece.done, piece.at, piece.len));
        piece.len
    });
    assert_eq!(done, 5 + 2 * PAGE - 1);
    let expected = [
        (0, PAGE - 3, 3),
        (3, PAGE, 2),
        (5, 0, 0),
        (5, 1, PAGE - 1),
        (PAGE + 4, PAGE, PAGE),
    ];
    assert_eq!(pieces, expected);
}

#[test]
fn short_step_ends_the_walk_of_every_kind() {
    // I15, I16, I20: after accounting the bytes done, with byte granularity.
    for done in 0..8 {
        let mut buffer = vec![0; 3 * PAGE];
        let (first, second) = buffer.split_at_mut(PAGE);
        let mut bvec = [
            BioVec::new(Plain::new(first), 0, 8),
            BioVec::new(Plain::new(second), 0, 8),
        ];
        check_short(IovIter::bvec(&mut bvec), done);
        let mut buffer = [0; 16];
        let mut batches = [batch(buffer.chunks_mut(8).map(Plain::new))];
        check_short(IovIter::folioq(&mut batches, 16), done);
        let mut buffer = vec![0; 2 * PAGE];
        let mut folios = [IndexedFolio::new(0, Plain::new(&mut buffer))];
        check_short(IovIter::xarray(&mut folios, 4088, 16), done);
        let mut buffer = [0; 16];
        let mut segments: Vec<_> = buffer.chunks_mut(8).map(Plain::new).collect();
        check_short(IovIter::kvec(&mut segments), done);
    }
}

/// 16 bytes in two pieces of 8: the second step does `done` of them.
fn check_short(mut iter: IovIter<'_, Plain<'_>>, done: usize) {
    let mut steps = 0;
    let walked = iter.walk(16, |piece| {
        steps += 1;
        assert_eq!((piece.done, piece.len), (8 * (steps - 1), 8), "{steps}");
        if steps == 2 { done } else { 8 }
    });
    assert_eq!((walked, steps), (8 + done, 2));
    assert_eq!(iter.count(), 8 - done);
    // And goes on at that byte.
    let mut next = None;
    iter.walk(1, |piece| {
        next = Some(piece.len);
        piece.len
    });
    assert_eq!(next, Some(1));
    assert_eq!(iter.count(), 7 - done);
    assert_eq!(iter.revert(9 + done), Ok(()), "I9, I11");
    assert_eq!(iter.count(), 16);
    assert_eq!(iter.copy_to_iter(&[1; 20]), 16);
}

fn batch<'m>(folios: impl Iterator<Item = Plain<'m>>) -> FolioBatch<Plain<'m>> {
    let mut folios = folios.fuse();
    FolioBatch::new(std::array::from_fn(|_slot| folios.next()))
}

#[test]
fn folioq_takes_each_of_the_kernels_ranges() {
    // For each range: over [0, to), advanced to `from`; ends at `to`.
    let src = source(LEN);
    for (from, to) in RANGES {
        let mut buffer = vec![0x5a; LEN];
        let mut pages = buffer.chunks_mut(PAGE).map(Plain::new);
        let mut batches: Vec<_> = (0..LEN / PAGE / FOLIOS_PER_BATCH + 1)
            .map(|_batch| batch(pages.by_ref().take(FOLIOS_PER_BATCH)))
            .collect();
        let mut iter = IovIter::folioq(&mut batches, to);
        iter.advance(from);
        assert_eq!(iter.copy_to_iter(&src), to - from);
        assert_eq!(iter.count(), 0);
        let mut expected = vec![0x5a; LEN];
        expected[from..to].copy_from_slice(&src[..to - from]);
        assert!(buffer == expected, "{from:#x}");
    }
}

#[test]
fn folio_that_is_missing_ends_the_walk() {
    // I3: of a queue, and of a file's pages.
    let mut buffer = vec![0x5a; 4 * PAGE];
    let mut folios: Vec<_> = buffer
        .chunks_mut(PAGE)
        .map(|page| Some(Plain::new(page)))
        .collect();
    folios[2] = None;
    let mut folios = folios.into_iter();
    let mut batches = [FolioBatch::new(std::array::from_fn(|_slot| {
        folios.next().flatten()
    }))];
    let mut iter = IovIter::folioq(&mut batches, 4 * PAGE);
    assert_eq!(iter.copy_to_iter(&vec![1; 4 * PAGE]), 2 * PAGE);
    assert_eq!(iter.count(), 2 * PAGE, "what the caller said");
    assert_eq!(iter.copy_to_iter(&[1]), 0);
    assert_eq!(iter.zero(1), 0);

    let mut buffer = vec![0x5a; 3 * PAGE];
    let (first, second) = buffer.split_at_mut(2 * PAGE);
    let mut folios = [
        IndexedFolio::new(7, Plain::new(first)),
        IndexedFolio::new(10, Plain::new(second)),
    ];
    let page = |page: u64| page * 4096;
    for (start, count, want) in [
        (page(6), 1, 0),
        (page(7) + 1, 3 * PAGE, 2 * PAGE - 1),
        (page(9), 1, 0),
        (page(10), PAGE, PAGE),
        (page(10) + 5, PAGE, PAGE - 5),
        (page(11), 1, 0),
        (u64::MAX - 3, 4, 0),
    ] {
        let mut iter = IovIter::xarray(&mut folios, start, count);
        assert_eq!(iter.zero(usize::MAX), want, "{start:#x}");
        assert_eq!(iter.count(), count - want);
    }
}

#[test]
fn xarray_takes_each_of_the_kernels_ranges() {
    let src = source(LEN);
    for (from, to) in RANGES {
        let mut buffer = vec![0x5a; LEN];
        // Folios of 1, 2, 4 and 8 pages, so that starts lie inside some.
        let mut folios = Vec::new();
        let (mut rest, mut page) = (buffer.as_mut_slice(), 0_u64);
        for order in (0..4).cycle() {
            let len = (PAGE << order).min(rest.len());
            if len == 0 {
                break;
            }
            let (folio, tail) = rest.split_at_mut(len);
            folios.push(IndexedFolio::new(page, Plain::new(folio)));
            rest = tail;
            page += u64::try_from(len / PAGE).expect("small");
        }
        let start = u64::try_from(from).expect("small");
        let mut iter = IovIter::xarray(&mut folios, start, to - from);
        assert_eq!(iter.copy_to_iter(&src), to - from);
        assert_eq!(iter.count(), 0);
        let mut expected = vec![0x5a; LEN];
        expected[from..to].copy_from_slice(&src[..to - from]);
        assert!(buffer == expected, "{from:#x}");
    }
}

#[test]
fn position_of_a_file_only_grows_and_is_not_undone_below_its_start() {
    // I8, I9: an xarray's revert ends at its start; a queue's and a bvec's steps back over segments.
    let mut buffer = vec![0; 2 * PAGE];
    let mut folios = [IndexedFolio::new(0, Plain::new(&mut buffer))];
    let mut iter = IovIter::xarray(&mut folios, 100, 200);
    iter.advance(150);
    assert_eq!(iter.single_seg_count(), 50, "I5: the count");
    assert!(iter.revert(151).is_err());
    assert_eq!(iter.revert(150), Ok(()));
    assert_eq!(iter.count(), 200);

    let mut buffer = [0; 40];
    let mut batches = [batch(buffer.chunks_mut(10).map(Plain::new))];
    let mut iter = IovIter::folioq(&mut batches, 40);
    iter.advance(35);
    assert_eq!(iter.revert(30), Ok(()));
    assert!(iter.revert(6).is_err());
    assert_eq!(iter.copy_to_iter(&[7; 40]), 35);
    assert_eq!(buffer, [[0; 5].as_slice(), &[7; 35]].concat()[..]);
}

#[test]
fn queues_single_segment_is_the_whole_folio() {
    // I5: the position in the folio is not subtracted; 0 when nothing is left.
    let mut buffer = [0; 40];
    let mut batches = [batch(buffer.chunks_mut(10).map(Plain::new))];
    let mut iter = IovIter::folioq(&mut batches, 40);
    iter.advance(4);
    assert_eq!(iter.single_seg_count(), 10);
    iter.truncate(7);
    assert_eq!(iter.single_seg_count(), 7);
    iter.advance(7);
    assert_eq!(iter.single_seg_count(), 0);
}

#[test]
fn save_and_restore_work_for_every_kind() {
    // I10: Linux warns and does nothing for a queue, an xarray and a discard.
    let mut buffer = vec![0; 2 * PAGE];
    let mut segments = [BioVec::new(Plain::new(&mut buffer), 5, 5000)];
    check_restore(IovIter::bvec(&mut segments));
    let mut buffer = vec![0; 6000];
    let mut segments: Vec<_> = buffer.chunks_mut(100).map(Plain::new).collect();
    check_restore(IovIter::kvec(&mut segments));
    let mut buffer = vec![0; 6000];
    let mut batches = [batch(buffer.chunks_mut(1000).map(Plain::new))];
    check_restore(IovIter::folioq(&mut batches, 5500));
    let mut buffer = vec![0; 2 * PAGE];
    let mut folios = [IndexedFolio::new(0, Plain::new(&mut buffer))];
    check_restore(IovIter::xarray(&mut folios, 100, 6000));
    check_restore(IovIter::discard(6000));
}

fn check_restore(mut iter: IovIter<'_, Plain<'_>>) {
    iter.advance(50);
    let (state, count) = (iter.save(), iter.count());
    assert_eq!(iter.copy_to_iter(&[1; 4500]), 4500);
    iter.restore(state);
    assert_eq!(iter.count(), count);
    assert_eq!(iter.zero(usize::MAX), count);
}

#[test]
fn memory_that_is_not_a_users_is_never_faulted_in() {
    // I34: 0, whatever is asked for, and the segments are not asked; a refusal ends the copy.
    let space = UserSpace::new(&[16; 4], 0xff).page_kind(1, PageKind::Denied);
    let mut segments = space.segments(&[16, 16]);
    let mut iter = IovIter::kvec(&mut segments);
    assert!(!iter.is_user_backed());
    assert_eq!(iter.fault_in_writeable(usize::MAX), 0);
    assert_eq!(iter.copy_to_iter(&[1; 32]), 0);
    assert_eq!(space.counts().fault_ins, 0);

    let mut buffer = [0; 16];
    let mut batches = [batch(std::iter::once(Plain::new(&mut buffer)))];
    assert_eq!(IovIter::folioq(&mut batches, 16).fault_in_writeable(17), 0);
    let mut buffer = [0; 16];
    let mut folios = [IndexedFolio::new(0, Plain::new(&mut buffer))];
    assert_eq!(
        IovIter::xarray(&mut folios, 0, 16).fault_in_writeable(17),
        0
    );
    let mut segments = [BioVec::new(Plain::new(&mut buffer), 0, 16)];
    assert_eq!(IovIter::bvec(&mut segments).fault_in_writeable(17), 0);
    let mut one = Plain::new(&mut buffer);
    assert!(IovIter::ubuf(&mut one).is_user_backed());
}

/// Memory that begins somewhere in a page.
struct Skewed(usize, [u8; 10_000]);

impl Destination for Skewed {
    fn len(&self) -> usize {
        self.1.len()
    }

    fn offset_in_page(&self) -> usize {
        self.0
    }

    fn copy_nofault(&mut self, at: usize, src: &[u8]) -> usize {
        Plain::new(&mut self.1).copy_nofault(at, src)
    }

    fn zero_nofault(&mut self, at: usize, len: usize) -> usize {
        Plain::new(&mut self.1).zero_nofault(at, len)
    }

    fn fault_in_writeable(&mut self, _at: usize, _len: usize) -> usize {
        0
    }
}

#[test]
fn pages_are_counted_by_their_borders() {
    let mut one = Skewed(4095, [0; 10_000]);
    let mut iter = IovIter::ubuf(&mut one);
    assert_eq!(iter.npages(usize::MAX), 4, "1 + 4096 + 4096 + 1807");
    assert_eq!(iter.npages(2), 2);
    iter.advance(1);
    assert_eq!(iter.npages(usize::MAX), 3);
    iter.truncate(4097);
    assert_eq!(iter.npages(usize::MAX), 2);
    iter.truncate(0);
    assert_eq!(iter.npages(usize::MAX), 0);

    let mut several = [Skewed(0, [0; 10_000]), Skewed(4000, [0; 10_000])];
    let mut iter = IovIter::iovec(&mut several);
    assert_eq!(iter.npages(usize::MAX), 3 + 4);
    iter.advance(9_999);
    assert_eq!(iter.npages(usize::MAX), 1 + 4);
    iter.truncate(2);
    assert_eq!(iter.npages(usize::MAX), 2);

    let mut buffer = vec![0; 3 * PAGE];
    let mut runs = [BioVec::new(Plain::new(&mut buffer), 4000, 5000)];
    let mut iter = IovIter::bvec(&mut runs);
    assert_eq!(iter.npages(usize::MAX), 3);
    iter.advance(96);
    assert_eq!(iter.npages(usize::MAX), 2);
    let mut folios = [IndexedFolio::new(0, Plain::new(&mut buffer))];
    let mut iter = IovIter::xarray(&mut folios, 4095, 4098);
    assert_eq!(iter.npages(usize::MAX), 3);
    iter.advance(1);
    assert_eq!(iter.npages(usize::MAX), 2);
    let mut batches = [batch(buffer.chunks_mut(PAGE).map(Plain::new))];
    assert_eq!(
        IovIter::folioq(&mut batches, PAGE + 1).npages(usize::MAX),
        2
    );
    assert_eq!(IovIter::<Plain<'_>>::discard(10).npages(usize::MAX), 0);
}

#[test]
fn run_ends_with_its_pages() {
    // I1: a segment that claims more than there is.
    let mut buffer = [0; 100];
    let mut segments = [BioVec::new(Plain::new(&mut buffer), 90, 50)];
    let mut iter = IovIter::bvec(&mut segments);
    assert_eq!(iter.count(), 10);
    assert_eq!(iter.zero(usize::MAX), 10);
    let mut segments = [BioVec::new(PlainSource::new(&buffer), 101, 1)];
    assert_eq!(IovIterSource::bvec(&mut segments).count(), 0);
    assert_eq!(PlainSource::new(&buffer).len(), 100);
}
