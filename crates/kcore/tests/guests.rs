//! What only a real kernel can say about its `/proc/kcore`.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    reason = "a test on a guest of our own making fails loudly; without a harness clippy does not know it"
)]

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use vread_addr::{ByteLen, FileOffset, PhysAddr, VirtAddr};
use vread_guests::{FileRange, Guest, GuestConfig, KernelRelease, SharedGuest};
use vread_iov_iter::{Destination, IovIter, Plain, Progress};
use vread_kcore::{
    ElfMachine, KcoreImage, KcoreSegment, KernelMemory, OffsetRule, ReadOptions, SegmentKind,
    read_kcore_iter,
};

type Test = fn(&Guest);
const TESTS: [(&str, Test); 2] = [
    ("file_repeats_behind_its_end", file_repeats_behind_its_end),
    (
        "places_addresses_like_the_kernel",
        places_addresses_like_the_kernel,
    ),
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // One guest at a time: this machine may have two processors.
    arguments.test_threads = Some(1);
    let mut trials = Vec::new();
    for release in KernelRelease::under_test() {
        let guest = SharedGuest::new(GuestConfig::new(release));
        for (name, test) in TESTS {
            let guest = guest.clone();
            trials.push(Trial::test(format!("{release}::{name}"), move || {
                test(guest.get());
                Ok(())
            }));
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// The guest's own memory, as its own kernel hands it out by virtual address.
struct Theirs<'g>(&'g Guest);

impl<D: Destination> KernelMemory<D> for Theirs<'_> {
    fn vread_iter(&self, iter: &mut IovIter<'_, D>, addr: VirtAddr, len: ByteLen) -> Progress {
        let bytes = self.0.kcore_read(addr.get(), len.get()).unwrap();
        Progress::copied(ByteLen::from_usize(iter.copy_to_iter_nofault(&bytes)))
    }

    fn copy_segment_to_iter_nofault(
        &self,
        _segment: &KcoreSegment,
        iter: &mut IovIter<'_, D>,
        addr: VirtAddr,
        len: ByteLen,
    ) -> Progress {
        self.vread_iter(iter, addr, len)
    }
}

/// An image with the guest's segments, the rule that its kernel places them by, and how far its data lie
/// behind ours, whose header is shorter.
fn image(guest: &Guest) -> (KcoreImage, u32, u64) {
    let theirs = guest.kcore_segments().unwrap();
    let segments: Vec<KcoreSegment> = theirs
        .iter()
        .map(|segment| KcoreSegment {
            kind: SegmentKind::Ram,
            start: VirtAddr::new(segment.vaddr),
            len: ByteLen::new(segment.size),
            phys: Some(PhysAddr::new(segment.paddr)),
        })
        .collect();
    let placed = |bits: u32| {
        let rule = OffsetRule::LowBits(bits);
        let image = KcoreImage::kcore(ElfMachine::X86_64, rule, &segments, &[]).unwrap();
        let mut shifts = theirs
            .iter()
            .zip(image.segments())
            .map(|(theirs, ours)| theirs.offset.checked_sub(ours.offset.get()));
        let first = shifts.next().flatten()?;
        shifts
            .all(|shift| shift == Some(first))
            .then_some((image, bits, first))
    };
    [47, 56].into_iter().find_map(placed).unwrap()
}

/// E9, E10: one rule and one shift for all segments, and the size of the file.
fn places_addresses_like_the_kernel(guest: &Guest) {
    let (image, _bits, shift) = image(guest);
    assert!(
        shift.is_multiple_of(4096) && shift < 0x10_0000,
        "{shift:#x}"
    );
    // E11
    let end = image.size().get() + shift;
    let last = guest
        .kcore_segments()
        .unwrap()
        .iter()
        .map(|s| s.offset + s.size)
        .max();
    // The modules' range ends highest, at the end of the file.
    assert_eq!(last, Some(end));
}

/// K4, E9: behind its end the file has no end, and repeats where the offset's upper bits are cut off.
fn file_repeats_behind_its_end(guest: &Guest) {
    const LEN: u64 = 10_000;
    let (image, bits, shift) = image(guest);
    let text = guest.kcore_segments().unwrap().swap_remove(0);
    for bit in [bits, bits + 1, 62, 47, 55] {
        let again = text.offset + (1 << bit);
        let range = FileRange {
            offset: again,
            len: LEN,
        };
        let theirs = guest.read_at("/proc/kcore", range).unwrap();
        let mut ours = vec![0xa5; usize::try_from(LEN).unwrap()];
        let mut segment = Plain::new(&mut ours);
        let mut iter = IovIter::ubuf(&mut segment);
        let at = FileOffset::new(again - shift);
        let options = ReadOptions::default();
        let progress = read_kcore_iter(&image, &Theirs(guest), &mut iter, at, options).unwrap();
        assert_eq!(progress.advanced(), ByteLen::new(LEN));
        assert!(ours == theirs, "2^{bit}");
        let is_text = guest.kcore_read(text.vaddr, LEN).unwrap() == theirs;
        assert_eq!(is_text, bit >= bits, "2^{bit}");
    }
}
