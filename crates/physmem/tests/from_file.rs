//! RAM that lies in a file.
#![expect(clippy::unwrap_used, reason = "a failure fails the test")]

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use vread_addr::{ByteLen, FileOffset, PhysAddr, PhysRange};
use vread_iov_iter::{IovIter, PageSource, Progress, SourceFailure, Stop};
use vread_nofault::UserBuf;
use vread_physmem::{AccessMode, OpenError, PhysMem, ReadError};

const PAGE: u64 = 4096;

fn range(start: u64, len: u64) -> PhysRange {
    PhysRange::from_len(PhysAddr::new(start), ByteLen::new(len)).unwrap()
}

/// A file in which each byte tells where it is.
fn image(path: &Path, len: u64) -> Vec<u8> {
    let bytes: Vec<u8> = (0..len).map(byte_at).collect();
    fs::write(path, &bytes).unwrap();
    bytes
}

fn byte_at(at: u64) -> u8 {
    u8::try_from((at ^ (at >> 8) ^ (at >> 16)) & 0xff).unwrap()
}

fn copy(mem: &PhysMem, start: u64, len: u64, into: &mut [u8]) -> Progress {
    let mut segment = UserBuf::new(into);
    let mut iter = IovIter::ubuf(&mut segment);
    mem.copy_run_to_iter_nofault(PhysAddr::new(start), ByteLen::new(len), &mut iter)
}

#[test]
fn reads_each_range_from_its_place_in_the_file() {
    vread_nofault::install().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ram");
    let bytes = image(&path, 0x5000);
    // Not in order, one at an odd position, as in a dump with headers.
    let ranges = [
        (range(0x10_0000, 0x2000), FileOffset::new(0x123)),
        (range(0, 0x1000), FileOffset::new(0x4000)),
    ];
    let mem = PhysMem::from_file(&path, &ranges).unwrap();
    assert_eq!(mem.access_mode(), AccessMode::Mapped);
    assert_eq!(mem.ranges(), [ranges[1].0, ranges[0].0]);
    assert!(mem.is_alive());
    for at in [0_u64, 1, 7, 0xff8, 0xffc, 0x1000, 0x1ff8] {
        let file_at = usize::try_from(0x123 + at).unwrap();
        let want = u64::from_le_bytes(bytes[file_at..][..8].try_into().unwrap());
        // Twice: before and after the page is known.
        for _ in 0..2 {
            assert_eq!(mem.read_u64(PhysAddr::new(0x10_0000 + at)), Ok(want));
        }
    }
    let mut all = vec![0; 0x2000];
    mem.read(PhysAddr::new(0x10_0000), &mut all).unwrap();
    assert_eq!(all, bytes[0x123..0x2123]);
}

#[test]
fn one_call_crosses_ranges_and_zeroes_what_is_no_ram() {
    vread_nofault::install().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ram");
    let bytes = image(&path, 0x4000);
    // Two that touch, a gap, a third.
    let ranges = [
        (range(0x1000, 0x1000), FileOffset::new(0x3000)),
        (range(0x2000, 0x1000), FileOffset::new(0)),
        (range(0x5000, 0x1000), FileOffset::new(0x1000)),
    ];
    let mem = PhysMem::from_file(&path, &ranges).unwrap();
    let mut got = vec![0xee; 0x7000];
    let progress = copy(&mem, 0, 0x7000, &mut got);
    let mut want = vec![0; 0x7000];
    want[0x1000..0x2000].copy_from_slice(&bytes[0x3000..]);
    want[0x2000..0x3000].copy_from_slice(&bytes[..0x1000]);
    want[0x5000..0x6000].copy_from_slice(&bytes[0x1000..0x2000]);
    assert_eq!(got, want);
    assert_eq!(progress.copied, ByteLen::new(0x3000));
    assert_eq!(progress.zeroed, ByteLen::new(0x4000));
    assert_eq!(progress.stopped, None);

    // The same with segments that break everywhere.
    let mut got = vec![0xee; 0x7000];
    let mut segments: Vec<_> = got.chunks_mut(777).map(UserBuf::new).collect();
    let mut iter = IovIter::iovec(&mut segments);
    let again = mem.copy_run_to_iter_nofault(PhysAddr::new(0), ByteLen::new(0x7000), &mut iter);
    assert_eq!(again, progress);
    assert_eq!(got, want);

    let not_ram = |addr| {
        Err(ReadError::NotRam {
            addr: PhysAddr::new(addr),
        })
    };
    assert_eq!(mem.read(PhysAddr::new(0x2ff8), &mut [0; 8]), Ok(()));
    assert_eq!(mem.read(PhysAddr::new(0x1ffc), &mut [0; 8]), Ok(()));
    assert_eq!(
        mem.read(PhysAddr::new(0x2ff9), &mut [0; 8]),
        not_ram(0x3000)
    );
    assert_eq!(mem.read(PhysAddr::new(0xfff), &mut [0; 8]), not_ram(0xfff));
    assert_eq!(
        mem.read(PhysAddr::new(u64::MAX), &mut [0; 8]),
        not_ram(u64::MAX)
    );
    assert_eq!(mem.read(PhysAddr::new(0), &mut []), Ok(()));
    assert_eq!(mem.read_u64(PhysAddr::new(0x6000)).ok(), None);
}

#[test]
fn top_of_the_address_space_is_zeros() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ram");
    image(&path, 0x1000);
    let mem = PhysMem::from_file(&path, &[(range(0, 0x1000), FileOffset::new(0))]).unwrap();
    let mut got = [0xee; 64];
    let progress = copy(&mem, u64::MAX - 15, 16, &mut got);
    assert_eq!(progress, Progress::zeroed(ByteLen::new(16)));
    assert_eq!(got[..16], [0; 16]);
    assert_eq!(got[16..], [0xee; 48]);
}

#[test]
fn a_short_iterator_ends_the_copy_without_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ram");
    let bytes = image(&path, 0x1000);
    let mem = PhysMem::from_file(&path, &[(range(0, 0x1000), FileOffset::new(0))]).unwrap();
    let mut got = [0; 100];
    let progress = copy(&mem, 0, 0x1000, &mut got);
    assert_eq!(progress, Progress::copied(ByteLen::new(100)));
    assert_eq!(got[..], bytes[..100]);
}

#[test]
fn a_full_scan_populates_no_hole() {
    vread_nofault::install().unwrap();
    // A memory file system, where a page that is only looked at through a mapping takes memory.
    let file = tempfile::Builder::new().tempfile_in("/dev/shm").unwrap();
    let len = 64 << 20;
    file.as_file().set_len(len).unwrap();
    let written = [0_u64, 5, 6, 7, 4095, 8191, 16383];
    let mut writer = File::options().write(true).open(file.path()).unwrap();
    for page in written {
        writer.seek(SeekFrom::Start(page * PAGE)).unwrap();
        writer.write_all(&[0xa5; 4096]).unwrap();
    }
    let blocks = file.as_file().metadata().unwrap().blocks();
    let mem = PhysMem::from_file(file.path(), &[(range(0, len), FileOffset::new(0))]).unwrap();

    let mut buffer = vec![0xee; 1 << 20];
    let mut copied = 0;
    for at in (0..len).step_by(1 << 20) {
        let progress = copy(&mem, at, 1 << 20, &mut buffer);
        assert_eq!(progress.stopped, None);
        copied += progress.copied.get();
        for (page, bytes) in (at / PAGE..).zip(buffer.chunks(4096)) {
            let want = if written.contains(&page) { 0xa5 } else { 0 };
            assert!(bytes.iter().all(|byte| *byte == want), "page {page}");
        }
    }
    assert_eq!(copied, PAGE * u64::try_from(written.len()).unwrap());
    for page in 0..len / PAGE {
        let want = if written.contains(&page) {
            0xa5a5_a5a5_a5a5_a5a5
        } else {
            0
        };
        assert_eq!(mem.read_u64(PhysAddr::new(page * PAGE)), Ok(want));
    }
    assert_eq!(file.as_file().metadata().unwrap().blocks(), blocks);

    // A word that reaches from a known page into a hole.
    let word = mem.read_u64(PhysAddr::new(8 * PAGE - 4));
    assert_eq!(word, Ok(0x0000_0000_a5a5_a5a5));
    assert_eq!(file.as_file().metadata().unwrap().blocks(), blocks);

    // What is written later is seen.
    writer.seek(SeekFrom::Start(1000 * PAGE)).unwrap();
    writer.write_all(&[0x5a; 8]).unwrap();
    assert_eq!(
        mem.read_u64(PhysAddr::new(1000 * PAGE)),
        Ok(0x5a5a_5a5a_5a5a_5a5a)
    );
}

#[test]
fn next_populated_skips_holes_and_gaps() {
    let file = tempfile::Builder::new().tempfile_in("/dev/shm").unwrap();
    file.as_file().set_len(64 * PAGE).unwrap();
    let mut writer = File::options().write(true).open(file.path()).unwrap();
    for page in [2, 3, 10, 40] {
        writer.seek(SeekFrom::Start(page * PAGE)).unwrap();
        writer.write_all(&[1]).unwrap();
    }
    let ranges = [
        (range(0, 32 * PAGE), FileOffset::new(0)),
        (range(1 << 30, 32 * PAGE), FileOffset::new(32 * PAGE)),
    ];
    let mem = PhysMem::from_file(file.path(), &ranges).unwrap();
    let mut found = Vec::new();
    let mut from = PhysAddr::new(0);
    while let Some(run) = mem.next_populated(from).unwrap() {
        found.push(run);
        from = run.end();
    }
    let want = [
        range(2 * PAGE, 2 * PAGE),
        range(10 * PAGE, PAGE),
        range((1 << 30) + 8 * PAGE, PAGE),
    ];
    assert_eq!(found, want);
    // From the middle of a page.
    let run = mem.next_populated(PhysAddr::new(10 * PAGE + 100)).unwrap();
    assert_eq!(run, Some(range(10 * PAGE + 100, PAGE - 100)));
}

#[test]
fn a_file_that_shrinks_is_a_failure_and_not_zeros() {
    vread_nofault::install().unwrap();
    for dir in ["/dev/shm", "/tmp"] {
        let file = tempfile::Builder::new().tempfile_in(dir).unwrap();
        image(file.path(), 16 * PAGE);
        let mem =
            PhysMem::from_file(file.path(), &[(range(0, 16 * PAGE), FileOffset::new(0))]).unwrap();
        let mut got = vec![0; 16 * 4096];
        let whole = Progress::copied(ByteLen::new(16 * PAGE));
        assert_eq!(copy(&mem, 0, 16 * PAGE, &mut got), whole);
        file.as_file().set_len(4 * PAGE).unwrap();

        let progress = copy(&mem, 0, 16 * PAGE, &mut got);
        assert_eq!(progress.copied, ByteLen::new(4 * PAGE));
        assert_eq!(progress.zeroed, ByteLen::ZERO);
        assert_eq!(
            progress.stopped,
            Some(Stop::Failed(SourceFailure::Truncated))
        );
        assert_eq!(
            mem.read_u64(PhysAddr::new(4 * PAGE)),
            Err(ReadError::Failed {
                addr: PhysAddr::new(4 * PAGE),
                failure: SourceFailure::Truncated
            })
        );
        assert!(mem.read_u64(PhysAddr::new(4 * PAGE - 8)).is_ok());
    }
}

#[test]
fn bad_input_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ram");
    image(&path, 0x1800);
    let at = FileOffset::new;
    let open = |ranges: &[_]| PhysMem::from_file(&path, ranges).unwrap_err();

    let error = open(&[(range(0, 0x2000), at(0))]);
    assert!(matches!(error, OpenError::TooShort { .. }));
    let text = error.to_string();
    assert!(text.contains(path.to_str().unwrap()), "{text}");
    assert!(text.contains("0x2000") && text.contains("0x1800"), "{text}");

    assert!(matches!(open(&[]), OpenError::NoRanges));
    assert!(matches!(open(&[(range(5, 0), at(0))]), OpenError::NoRanges));
    assert!(matches!(
        open(&[(range(0, 0x1000), at(0)), (range(0xfff, 2), at(0))]),
        OpenError::Overlap { .. }
    ));
    assert!(matches!(
        open(&[(range(0, 0x1000), at(u64::MAX))]),
        OpenError::Wraps { .. }
    ));
    let error = PhysMem::from_file(dir.path(), &[(range(0, 1), at(0))]).unwrap_err();
    assert!(matches!(error, OpenError::NotRegular { .. }));
    let missing = dir.path().join("missing");
    let error = PhysMem::from_file(&missing, &[(range(0, 1), at(0))]).unwrap_err();
    assert!(error.to_string().contains(missing.to_str().unwrap()));
}
