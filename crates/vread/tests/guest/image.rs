//! The image as a whole: its header, its notes, and its bytes wherever memory keeps still.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{fs, io, thread};

use vread_guests::{FileRange, Guest, RangeHash, digest};

use crate::mounted::{KcoreFile, Mounted, loads};
use crate::ranges::{Ranges, Region, StaleHoles};

const KCORE: &str = "/proc/kcore";

/// E1 to E3, E7, E9, E10, E14 to E18: the header says where everything is.
pub(crate) fn headers_equal_the_guests_own_kcore(guest: &Guest) {
    let mounted = Mounted::new(guest);
    let ours = KcoreFile::open(&mounted.kcore()).headers();
    let theirs = guest_bytes(guest, 0, ours.len() as u64);
    assert_eq!(loads(&ours), loads(&theirs));
    assert_eq!(ours, theirs);
    println!(
        "{} bytes of headers, {} segments",
        ours.len(),
        loads(&ours).len()
    );
}

/// E4, E5, E8: all notes are equal, but for the task that reads: inside it is the helper, outside
/// there is none.
pub(crate) fn notes_equal_but_for_the_reading_task(guest: &Guest) {
    const NT_TASKSTRUCT: u32 = 4;
    let mounted = Mounted::new(guest);
    let file = KcoreFile::open(&mounted.kcore());
    let headers = file.headers();
    let start = headers.len() as u64;
    let filesz = u64::from_le_bytes(headers[64 + 32..64 + 40].try_into().unwrap());
    let ours = notes(&file.read_at(start, filesz as usize));
    let theirs = notes(&guest_bytes(guest, start, filesz));
    assert_eq!(ours.len(), 4);
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!((&ours.name, ours.kind), (&theirs.name, theirs.kind));
        assert_eq!(
            ours.descriptor.len(),
            theirs.descriptor.len(),
            "{:?}",
            ours.name
        );
        if ours.kind != NT_TASKSTRUCT {
            assert_eq!(ours.descriptor, theirs.descriptor, "{:?}", ours.name);
        }
    }
    // E7: up to the data, both are zeros.
    let end = start + filesz;
    let pad = (end.next_multiple_of(4096) - end) as usize;
    assert_eq!(file.read_at(end, pad), vec![0; pad]);
    assert_eq!(guest_bytes(guest, end, pad as u64), vec![0; pad]);
}

/// E11: the file is as long as the guest's own. Behind that the kernel gives zeros for as long as one
/// asks (K4); a mounted file is one that people copy, and ends.
pub(crate) fn ends_at_the_size_of_the_guests_own_kcore(guest: &Guest) {
    let mounted = Mounted::new(guest);
    let stat = guest
        .run(&["/bin/busybox", "stat", "-c", "%s", KCORE])
        .unwrap();
    let theirs: u64 = stat.stdout.trim().parse().unwrap();
    assert_eq!(fs::metadata(mounted.kcore()).unwrap().len(), theirs);
    let file = KcoreFile::open(&mounted.kcore());
    assert_eq!(file.read_at(theirs - 1, 1).len(), 1);
    let past = file.try_read_at(theirs, &mut [0]).unwrap_err();
    assert_eq!(past.kind(), io::ErrorKind::UnexpectedEof);
    assert_eq!(guest_bytes(guest, theirs, 4096), vec![0; 4096]);
}

/// K8, K10, K14 to K18, C.4, E9, E10: at least 20,000 ranges read the same from outside and inside,
/// wherever two readings from outside agree with one another.
pub(crate) fn bytes_equal_the_guests_own_kcore(guest: &Guest) {
    const RANGES: usize = 20_000;
    const BATCH: usize = 500;
    let mounted = Mounted::new(guest);
    let file = KcoreFile::open(&mounted.kcore());
    let size = fs::metadata(mounted.kcore()).unwrap().len();
    let stale_holes = StaleHoles::of(guest.kernel().release());
    let mut ranges = Ranges::of(guest, &file.loads(), size, stale_holes);
    let mut equal = [0_usize; Region::COUNT];
    let mut moved = equal;
    let mut busy = equal;
    while equal.iter().chain(&moved).chain(&busy).sum::<usize>() < RANGES {
        let batch: Vec<_> = (0..BATCH).map(|_| ranges.next_range()).collect();
        let wanted: Vec<FileRange> = batch.iter().map(|(_, range)| *range).collect();
        let read = || -> Vec<u64> {
            let read = |range: &FileRange| file.read_at(range.offset, range.len as usize);
            wanted
                .iter()
                .map(|range| digest::of(&read(range)))
                .collect()
        };
        let before = read();
        let inside = guest.hash_ranges(KCORE, &wanted).unwrap();
        let after = read();
        for (index, (region, range)) in batch.iter().enumerate() {
            if before[index] != after[index] {
                moved[*region as usize] += 1;
                continue;
            }
            assert_eq!(
                inside[index].got, range.len,
                "{range:?} inside: {:?}",
                inside[index].errno
            );
            if before[index] != inside[index].hash {
                explain_difference(guest, &mounted.kcore(), *region, *range, ranges.seed());
                busy[*region as usize] += 1;
                continue;
            }
            equal[*region as usize] += 1;
        }
    }
    for region in Region::ALL {
        let index = region as usize;
        println!(
            "{region:?}: {} equal, {} changed, {} changed only while the guest read",
            equal[index], moved[index], busy[index]
        );
        assert!(equal[index] > 0, "no range of {region:?} was compared");
    }
    let [equal, moved, busy] = [equal, moved, busy].map(|counts| counts.iter().sum::<usize>());
    let undecided = moved + busy;
    println!(
        "{equal} of {} ranges equal, {undecided} undecided, {} pieces of stale holes left out, seed {:#x}",
        equal + undecided,
        ranges.masked(),
        ranges.seed(),
    );
    assert!(
        equal * 100 >= (equal + undecided) * 95,
        "{undecided} undecided are over 5 %"
    );
}

/// Looks again at a range that differed, and fails if it stays different while outside stays equal.
fn explain_difference(guest: &Guest, kcore: &Path, region: Region, range: FileRange, seed: u64) {
    let file = KcoreFile::open(kcore);
    let read = || file.read_at(range.offset, range.len as usize);
    let inside = |reads| guest.hash_ranges(KCORE, &vec![range; reads]).unwrap();
    if differs_for_good(read, inside) {
        let (ours, theirs) = (read(), guest_bytes(guest, range.offset, range.len));
        let what = format!("{region:?} {range:x?}, seed {seed:#x}");
        panic!("{}", difference(&what, &ours, &theirs));
    }
}

/// Whether `inside` never gives what `read` gives from outside, though that stays the same meanwhile.
///
/// The two readings from outside may agree with one another and not with that from inside because the
/// guest only works while it is asked: the stack of its helper is one thing before and after, and
/// another meanwhile. So outside is read all the while the guest reads, over and over.
pub(crate) fn differs_for_good(
    read: impl Fn() -> Vec<u8> + Sync,
    inside: impl Fn(usize) -> Vec<RangeHash>,
) -> bool {
    const LOOKS: usize = 40;
    const READS: usize = 500;
    (0..LOOKS).all(|_| {
        let before = read();
        let done = AtomicBool::new(false);
        let (inside, moved) = thread::scope(|scope| {
            let watch = scope.spawn(|| {
                let mut moved = false;
                while !done.load(Ordering::Relaxed) {
                    moved |= read() != before;
                }
                moved
            });
            let inside = inside(READS);
            done.store(true, Ordering::Relaxed);
            (inside, watch.join().unwrap())
        });
        let hash = digest::of(&before);
        !moved && inside.iter().all(|inside| inside.hash != hash)
    })
}

/// Where two readings of `what` begin to differ.
pub(crate) fn difference(what: &str, ours: &[u8], theirs: &[u8]) -> String {
    let pairs = ours.iter().zip(theirs);
    let at = pairs.into_iter().position(|(ours, theirs)| ours != theirs);
    let at = at.unwrap_or_default();
    let end = (at + 16).min(ours.len());
    format!(
        "{what}: from byte {at:#x} outside {:02x?}, inside {:02x?}",
        &ours[at..end],
        &theirs[at..end],
    )
}

struct Note {
    name: Vec<u8>,
    kind: u32,
    descriptor: Vec<u8>,
}

fn notes(mut bytes: &[u8]) -> Vec<Note> {
    let mut notes = Vec::new();
    while bytes.len() >= 12 {
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let (name_len, len, kind) = (word(0) as usize, word(4) as usize, word(8));
        let descriptor = 12 + name_len.next_multiple_of(4);
        notes.push(Note {
            name: bytes[12..12 + name_len].to_vec(),
            kind,
            descriptor: bytes[descriptor..descriptor + len].to_vec(),
        });
        bytes = &bytes[descriptor + len.next_multiple_of(4)..];
    }
    notes
}

fn guest_bytes(guest: &Guest, offset: u64, len: u64) -> Vec<u8> {
    let bytes = guest.read_at(KCORE, FileRange { offset, len }).unwrap();
    assert_eq!(
        bytes.len() as u64,
        len,
        "the guest's {KCORE} at {offset:#x}"
    );
    bytes
}
