//! Bytes at addresses, from outside and inside: where the file's offsets are not those of the guest's own
//! file because its notes are not all there.

use std::ops::Range;

use vread_guests::{Guest, Random, digest};

use crate::image::{difference, differs_for_good};
use crate::mounted::{KcoreFile, Load, Mounted};

const PAGE: u64 = 4096;
const MAX_LEN: u64 = 16 << 10;
/// How many ranges of each kind.
const RANGES: usize = 80;

/// The content of areas of vmalloc space and of modules, by the guest's own word.
///
/// Those that its kernel calls ioremapped are left out, as is the last page of each: what is no content by
/// the kernel's word cannot be told by the page table alone.
pub(crate) fn contents_of_areas(guest: &Guest) -> Vec<Range<u64>> {
    let has_content = |rest: &str| {
        let without = ["ioremap", "unpurged", "vm_map_ram"];
        !without.iter().any(|word| rest.contains(word))
    };
    let lines = guest.vmallocinfo().unwrap().into_iter();
    let areas = lines.filter(|line| has_content(&line.rest));
    areas
        .map(|line| line.range.start..line.range.end - PAGE)
        .filter(|content| !content.is_empty())
        .collect()
}

/// At least 300 ranges of text, of `areas`, of the direct map and of page descriptors read the same from
/// outside as by the guest's own kcore, where something is `hidden`.
pub(crate) fn bytes_equal(guest: &Guest, mounted: &Mounted, areas: &[Range<u64>], hidden: &str) {
    let file = KcoreFile::open(&mounted.kcore());
    let loads = file.loads();
    let is_physical = |load: &&Load| load.paddr != u64::MAX;
    let (text, rest) = loads.split_first().unwrap();
    let ram: Vec<_> = rest.iter().filter(is_physical).map(range).collect();
    // Behind vmalloc space and the modules' come the page descriptors.
    let virtual_only = rest.iter().filter(|load| !is_physical(load));
    let vmemmap: Vec<_> = virtual_only.skip(2).map(range).collect();
    let text = [range(text)];
    let mut random = Random::new(u64::from(std::process::id()) << 1 | 1);
    let mut decided = 0_usize;
    for places in [&text[..], areas, &ram, &vmemmap] {
        let ranges: Vec<_> = (0..RANGES).map(|_| pick(&mut random, places)).collect();
        let read = |(addr, len): &(u64, u64)| file.read_virt(*addr, *len as usize);
        let outside = || -> Vec<u64> { ranges.iter().map(|one| digest::of(&read(one))).collect() };
        let before = outside();
        let inside = guest.kcore_hash(&ranges).unwrap();
        let after = outside();
        for (index, one) in ranges.iter().enumerate() {
            if before[index] != after[index] {
                continue;
            }
            decided += 1;
            let again = |reads| guest.kcore_hash(&vec![*one; reads]).unwrap();
            if before[index] != inside[index].hash && differs_for_good(|| read(one), again) {
                let theirs = guest.kcore_read(one.0, one.1).unwrap();
                let what = format!("without {hidden}, {one:#x?}");
                panic!("{}", difference(&what, &read(one), &theirs));
            }
        }
    }
    println!("without {hidden}: {decided} ranges equal");
    assert!(decided >= 300, "{decided} ranges kept still");
}

fn range(load: &Load) -> Range<u64> {
    load.vaddr..load.vaddr + load.size
}

/// Somewhere in one of `places`, an address and a length.
fn pick(random: &mut Random, places: &[Range<u64>]) -> (u64, u64) {
    // By size: a small first range of RAM must not get half of all reads.
    let total = places.iter().map(|place| place.end - place.start).sum();
    let mut at = random.below(total);
    let place = places.iter().find(|place| {
        let len = place.end - place.start;
        let here = at < len;
        if !here {
            at -= len;
        }
        here
    });
    let place = place.unwrap();
    let start = place.start + at;
    let longest = (place.end - start).min(MAX_LEN);
    (start, 1 + random.below(longest))
}
