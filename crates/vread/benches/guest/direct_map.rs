//! Sequential reads of the direct map, against a memcpy of the same bytes of the same file.

use std::time::Instant;

use vread_addr::{FileOffset, PhysAddr};
use vread_guests::Guest;
use vread_iov_iter::IovIter;
use vread_kcore::{EndOfFile, KcoreImage, SegmentKind};
use vread_nofault::UserBuf;
use vread_targets::{Target, View};

use crate::mapped_file::{MappedFile, longest_data};
use crate::rounds::{Side, medians};
use crate::throughput::print_throughput;

const STEP: usize = 1 << 20;
const ROUNDS: usize = 15;

pub(crate) fn bench(guest: &Guest) {
    let target = crate::opened::open(guest);
    let image = target.image(View::Kcore).unwrap();
    let (start, len) = populated(guest);
    let first = position_of(&image, PhysAddr::new(start));
    let file = MappedFile::new(guest.memory_file().unwrap());
    check_same(&target, &image, first, &file, start);

    let mut buffer = vec![0; STEP];
    let mut library = || {
        let begin = Instant::now();
        for at in (0..len).step_by(STEP) {
            read(&target, &image, first + at, &mut buffer);
        }
        begin.elapsed()
    };
    let mut other = vec![0; STEP];
    let mut memcpy = || {
        let begin = Instant::now();
        for at in (0..len).step_by(STEP) {
            file.copy(usize::try_from(start + at).unwrap(), &mut other);
            std::hint::black_box(&mut other);
        }
        begin.elapsed()
    };
    println!(
        "sequential read of {} MiB of the direct map, 1 MiB at a time",
        len >> 20
    );
    let names = ["vread library", "memcpy of the same mapping"];
    let mut sides = [
        Side {
            name: names[0],
            round: &mut library,
        },
        Side {
            name: names[1],
            round: &mut memcpy,
        },
    ];
    let medians = medians(ROUNDS, &mut sides);
    print_throughput(ROUNDS, len, &names, &medians);
}

/// The longest resident part of the guest's RAM, in whole steps. (Below 3 GiB the machine's RAM lies in
/// its file as it lies in its physical memory; `check_same` makes sure.)
pub(crate) fn populated(guest: &Guest) -> (u64, u64) {
    let (start, len) = longest_data(guest.memory_file().unwrap());
    let begin = start.next_multiple_of(STEP as u64);
    let len = (start + len - begin) & !(STEP as u64 - 1);
    assert!(
        len >= 64 << 20,
        "only {len:#x} bytes are resident in one piece"
    );
    (begin, len)
}

/// Where physical memory stands in the image.
pub(crate) fn position_of(image: &KcoreImage, phys: PhysAddr) -> u64 {
    let placed = image.segments().iter().find(|placed| {
        let start = placed
            .segment
            .phys
            .filter(|_| placed.segment.kind == SegmentKind::Ram);
        start
            .and_then(|start| phys.checked_offset_from(start))
            .is_some_and(|into| into < placed.segment.len)
    });
    let placed = placed.unwrap();
    let into = phys
        .checked_offset_from(placed.segment.phys.unwrap())
        .unwrap();
    placed.offset.checked_add(into).unwrap().get()
}

fn read(target: &Target, image: &KcoreImage, at: u64, buffer: &mut [u8]) {
    let len = buffer.len() as u64;
    let mut segment = UserBuf::new(buffer);
    let mut iter = IovIter::ubuf(&mut segment);
    let progress = target.read_at(image, FileOffset::new(at), &mut iter, EndOfFile::Never);
    assert_eq!(progress.unwrap().advanced().get(), len);
}

fn check_same(target: &Target, image: &KcoreImage, first: u64, file: &MappedFile, start: u64) {
    let same = (0..64_u64).filter(|page| {
        let (mut ours, mut theirs) = (vec![0; 4096], vec![0; 4096]);
        read(target, image, first + page * 4096, &mut ours);
        file.copy(usize::try_from(start + page * 4096).unwrap(), &mut theirs);
        ours == theirs
    });
    // The guest runs: a page or two may change between the two.
    assert!(same.count() > 48, "the file is not the direct map");
}
