//! Many words at once are what as many reads give.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test on a guest of our own making fails loudly"
)]

use vread_addr::{FileOffset, VirtAddr};
use vread_guests::{Backend, Guest, GuestConfig, KernelRelease, Random};
use vread_iov_iter::{IovIter, SourceFailure, Stop};
use vread_kcore::{EndOfFile, KcoreImage};
use vread_nofault::UserBuf;
use vread_physmem::Access;
use vread_targets::{Target, TargetWord, View};

const WORDS: u64 = 5_000;

fn open(word: &str, access: Access) -> Target {
    Target::open(TargetWord::parse(word.as_ref()).unwrap(), access).unwrap()
}

/// Positions in the head, in and around each segment, and in its areas; few of them whole words of a page.
fn positions(target: &Target, image: &KcoreImage) -> Vec<FileOffset> {
    let mut random = Random::new(1);
    let areas = target.vmallocinfo().unwrap();
    let vmalloc: Vec<u64> = (0..WORDS)
        .map(|_| {
            let which = random.below(areas.len() as u64);
            let range = areas.get(usize::try_from(which).unwrap()).unwrap().range();
            range.start().get() + random.below(range.len().get())
        })
        .collect();
    let mut at: Vec<FileOffset> = vmalloc
        .into_iter()
        .enumerate()
        .map(|(n, addr)| {
            let mask = if n % 8 == 0 { 0 } else { 7 };
            target
                .position_of(image, VirtAddr::new(addr & !mask))
                .unwrap()
        })
        .collect();
    at.extend((0..64).map(|word| FileOffset::new(8 * word)));
    for placed in image.segments() {
        let start = placed.offset.get();
        let len = placed.segment.len.get();
        for into in [0, 1, 8, random.below(len), len - 8, len - 4, len] {
            at.push(FileOffset::new(start + into));
        }
        at.push(FileOffset::new(start - 4));
    }
    at
}

/// One by one, as everybody reads.
fn one_by_one(target: &Target, image: &KcoreImage, at: &[FileOffset]) -> Vec<u64> {
    let word = |at: &FileOffset| {
        let mut bytes = [0xa5; 8];
        let mut segment = UserBuf::new(&mut bytes);
        let mut iter = IovIter::ubuf(&mut segment);
        let progress = target.read_at(image, *at, &mut iter, EndOfFile::Never);
        assert_eq!(progress.unwrap().advanced().get(), 8);
        u64::from_le_bytes(bytes)
    };
    at.iter().map(word).collect()
}

/// How many words were the same before and after, and so must be the same.
fn compare(target: &Target) -> usize {
    let image = target.image(View::Kcore).unwrap();
    let at = positions(target, &image);
    let before = one_by_one(target, &image, &at);
    let mut words = vec![0xa5; at.len()];
    let progress = target.read_words(&image, &at, &mut words).unwrap();
    assert_eq!(progress.stopped, None);
    assert_eq!(progress.advanced().get(), 8 * at.len() as u64);
    let after = one_by_one(target, &image, &at);
    let mut same = 0;
    for (((at, before), word), after) in at.iter().zip(&before).zip(&words).zip(&after) {
        if before == after {
            assert_eq!(word, before, "{at:?}");
            same += 1;
        }
    }
    assert!(same * 100 >= at.len() * 95, "{same} of {}", at.len());
    same
}

#[test]
fn of_a_guest() {
    let config = GuestConfig::new(KernelRelease::V6_12).backend(Backend::Memfd);
    let guest = Guest::boot(&config).unwrap();
    let word = format!("qemu:{}", guest.qmp_path().display());
    println!("mapped: {} words", compare(&open(&word, Access::Mapped)));
    let target = open(&word, Access::VmReadv);
    println!("vm-readv: {} words", compare(&target));
    let mapped = open(&word, Access::Mapped);
    let image = mapped.image(View::Kcore).unwrap();
    let at = positions(&mapped, &image);
    drop(guest);
    for target in [target, mapped] {
        let mut words = vec![0; at.len()];
        let progress = target.read_words(&image, &at, &mut words).unwrap();
        assert_eq!(progress.stopped, Some(Stop::Failed(SourceFailure::Gone)));
    }
}

#[test]
fn of_an_arena() {
    let target = open("arena", Access::default());
    compare(&target);
    let image = target.image(View::Kcore).unwrap();
    // A position behind which no word fits.
    let end = [
        FileOffset::new(0),
        FileOffset::new(i64::MAX.unsigned_abs() - 3),
    ];
    let mut words = [0; 2];
    target.read_words(&image, &end, &mut words).unwrap_err();
    assert_eq!(
        words[0] & 0xffff_ffff,
        u64::from(u32::from_le_bytes(*b"\x7fELF"))
    );
}
