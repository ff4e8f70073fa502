//! What a reader gets of each kind of area: table C.4 of the specification, column 7.2, row by row.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "small numbers of the test's own"
)]

mod model;

use model::{BASE, Model, PAGE, bare, described, read};
use vread_addr::{ByteLen, PageCount};
use vread_vmalloc::{VmFlags, VmapAreaFlags};

/// What is there, page by page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Is {
    Content,
    Zero,
}
use Is::{Content, Zero};

/// Reads the pages from the first on in one piece, then each byte range around each page border, and
/// compares with what is expected of each page.
fn check(model: &Model, expected: &[Is]) {
    let byte = |addr: u64| match expected[usize::try_from((addr - BASE) / PAGE).unwrap()] {
        Content => model.mapped_byte(addr),
        Zero => 0,
    };
    let end = BASE + u64::try_from(expected.len()).unwrap() * PAGE;
    let mut reads = vec![(BASE, end)];
    for border in (BASE..=end).step_by(4096) {
        reads.push((border.saturating_sub(3).max(BASE), (border + 5).min(end)));
        reads.push((border.min(end), (border + PAGE).min(end)));
    }
    for (from, to) in reads {
        let (bytes, progress) = read(model, from, usize::try_from(to - from).unwrap());
        let wanted: Vec<u8> = (from..to).map(byte).collect();
        assert!(bytes == wanted, "[{from:#x}, {to:#x})");
        assert_eq!(progress.stopped, None, "R18");
        let content = wanted.iter().filter(|byte| **byte != 0).count();
        assert_eq!(progress.copied, ByteLen::from_usize(content));
        assert_eq!(progress.zeroed, ByteLen::from_usize(wanted.len() - content));
    }
}

#[test]
fn no_area_is_zeros() {
    // R4
    check(&Model::default(), &[Zero; 3]);
}

#[test]
fn gap_below_an_area_is_zeros() {
    // R5, R15
    let model = Model::default().with(described(2, 3, VmFlags::ALLOC), 2);
    check(&model, &[Zero, Zero, Content, Content, Zero, Zero]);
}

#[test]
fn guard_page_is_zeros() {
    // V6, R12, R14: even where a page is mapped there.
    let model = Model::default().with(described(0, 3, VmFlags::MAP), 3);
    check(&model, &[Content, Content, Zero, Zero]);
}

#[test]
fn no_guard_reads_to_the_end() {
    // V6
    let model = Model::default().with(described(0, 3, VmFlags::MAP | VmFlags::NO_GUARD), 3);
    check(&model, &[Content, Content, Content, Zero]);
}

#[test]
fn ioremap_is_zeros_and_never_touched() {
    // R16 b
    let model = Model::default().with(described(0, 3, VmFlags::IOREMAP), 3);
    check(&model, &[Zero; 3]);
    assert_eq!(*model.read.borrow(), []);
}

#[test]
fn sparse_is_zeros_and_never_touched() {
    // R16 b
    let model = Model::default().with(described(0, 3, VmFlags::SPARSE), 3);
    check(&model, &[Zero; 3]);
    assert_eq!(*model.read.borrow(), []);
}

#[test]
fn uninitialized_is_zeros_and_never_touched() {
    // R8
    let flags = VmFlags::ALLOC | VmFlags::UNINITIALIZED;
    let model = Model::default().with(described(0, 3, flags), 3);
    check(&model, &[Zero; 3]);
    assert_eq!(*model.read.borrow(), []);
}

#[test]
fn uninitialized_then_clear_is_content() {
    // R8, V9
    let flags = VmFlags::ALLOC | VmFlags::UNINITIALIZED;
    let model = Model::default().with(described(0, 3, flags), 2);
    check(&model, &[Zero; 3]);
    model.change(BASE, |area| {
        area.vm
            .as_mut()
            .unwrap()
            .flags
            .remove(VmFlags::UNINITIALIZED);
    });
    check(&model, &[Content, Content, Zero]);
}

#[test]
fn area_in_transition_is_zeros() {
    // V3, R7: neither descriptor nor type flags
    let model = Model::default().with(bare(0, 3, VmapAreaFlags::empty()), 3);
    check(&model, &[Zero; 3]);
    assert_eq!(*model.read.borrow(), []);
}

#[test]
fn described_and_mapped_is_content() {
    let flags = [
        VmFlags::ALLOC,
        VmFlags::MAP,
        VmFlags::MAP | VmFlags::MAP_PUT_PAGES,
        VmFlags::ALLOC | VmFlags::USERMAP,
        VmFlags::DMA_COHERENT | VmFlags::ALLOC,
        VmFlags::ALLOC | VmFlags::KASAN | VmFlags::FLUSH_RESET_PERMS,
        // Unknown bits change nothing (V5: deferred bookkeeping).
        VmFlags::ALLOC | VmFlags::from_bits_retain(0x800),
    ];
    for flags in flags {
        let model = Model::default().with(described(0, 4, flags), 3);
        check(&model, &[Content, Content, Content, Zero]);
    }
}

#[test]
fn described_and_not_mapped_is_zeros() {
    // R21, V27
    let model = Model::default().with(described(0, 5, VmFlags::ALLOC), 4);
    model.unmap(BASE + PAGE);
    model.unmap(BASE + 3 * PAGE);
    check(&model, &[Content, Zero, Content, Zero, Zero]);
}

#[test]
fn huge_leaf_is_content() {
    // V27, V28: a run longer than a page is one copy, in the order of its bytes.
    let contiguous = Model::default().with(described(0, 4, VmFlags::ALLOC), 0);
    for page in 0..3 {
        contiguous.map(BASE + page * PAGE, 0x20_0000 + page * PAGE);
    }
    check(&contiguous, &[Content, Content, Content, Zero]);
    contiguous.copies.set(0);
    let (_bytes, progress) = read(&contiguous, BASE, 3 * 4096);
    assert_eq!(progress.copied, ByteLen::new(3 * PAGE));
    assert_eq!(contiguous.copies.take(), 1, "one run, one copy");
}

#[test]
fn ram_area_without_block_is_content_to_its_end() {
    // R11, R23, V6: no guard page
    let model = Model::default().with(bare(0, 3, VmapAreaFlags::RAM), 3);
    check(&model, &[Content, Content, Content, Zero]);
}

#[test]
fn block_area_is_what_is_mapped_at_each_page() {
    // R26, V26 (the published rule R24 is in block_reader.rs)
    let flags = VmapAreaFlags::RAM | VmapAreaFlags::BLOCK;
    let model = Model::default().with(bare(0, 6, flags), 6);
    for unused in [0, 2, 3] {
        model.unmap(BASE + unused * PAGE);
    }
    check(&model, &[Zero, Content, Zero, Zero, Content, Content]);
}

#[test]
fn block_bit_alone_is_read_as_a_ram_area() {
    // V2: Linux warns only.
    let model = Model::default().with(bare(0, 2, VmapAreaFlags::BLOCK), 2);
    check(&model, &[Content, Content, Zero]);
}

#[test]
fn ram_bit_wins_over_ioremap() {
    // R16: precedence of (a) over (b)
    let mut area = described(0, 3, VmFlags::IOREMAP);
    area.flags = VmapAreaFlags::RAM;
    let model = Model::default().with(area, 2);
    check(&model, &[Content, Content, Zero]);
}

#[test]
fn tail_given_back_by_a_shrink_is_zeros() {
    // R13, V10: the size stays, the number of pages counts; also where the pages are still mapped.
    let model = Model::default().with(described(0, 5, VmFlags::ALLOC), 4);
    model.change(BASE, |area| {
        area.vm.as_mut().unwrap().nr_pages = PageCount::new(2);
    });
    check(&model, &[Content, Content, Zero, Zero, Zero]);
}

#[test]
fn last_page_of_a_per_cpu_area_is_zeros() {
    // V8: no pages of its own and no guard page, and one is subtracted all the same.
    let mut area = described(0, 4, VmFlags::ALLOC);
    area.vm.as_mut().unwrap().nr_pages = PageCount::new(0);
    let model = Model::default().with(area, 4);
    check(&model, &[Content, Content, Content, Zero]);
}

#[test]
fn pages_beyond_the_area_are_not_its_to_give() {
    // A descriptor of a hostile kernel: the next area's bytes stay the next area's.
    for (size, nr_pages) in [(u64::MAX, 0), (0, u64::MAX), (0, 7), (PAGE, 0), (0, 0)] {
        let mut area = described(0, 3, VmFlags::ALLOC);
        let vm = area.vm.as_mut().unwrap();
        vm.size = ByteLen::new(size);
        vm.nr_pages = PageCount::new(nr_pages);
        let uninitialized = described(3, 3, VmFlags::ALLOC | VmFlags::UNINITIALIZED);
        let model = Model::default().with(area, 3).with(uninitialized, 3);
        let first = match size > PAGE || nr_pages > 0 {
            true => Content,
            false => Zero,
        };
        check(&model, &[first, first, first, Zero, Zero, Zero]);
    }
}
