//! The RAM of a real guest: the same bytes by either way, and a machine that does not grow by it.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a failure or a wrap fails the test"
)]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use vread_addr::{ByteLen, PhysAddr, PhysRange, VirtAddr};
use vread_guests::{Backend, Guest, GuestConfig, KernelRelease};
use vread_iov_iter::{IovIter, PageSource, SourceFailure, Stop};
use vread_nofault::UserBuf;
use vread_physmem::{Access, AccessMode, PhysMem, ReadError};

const MEMORY_MIB: u32 = 512;
const MEMORY: u64 = 512 << 20;
const STEP: usize = 1 << 20;

#[test]
fn a_guest_that_is_looked_at_does_not_grow() {
    vread_nofault::install().unwrap();
    for (backend, mode) in [
        (Backend::Anonymous, AccessMode::VmReadv),
        (Backend::Memfd, AccessMode::Mapped),
        (Backend::File, AccessMode::Mapped),
    ] {
        let config = GuestConfig::new(KernelRelease::V6_12)
            .memory_mib(MEMORY_MIB)
            .backend(backend.clone());
        let guest = Guest::boot(&config).unwrap();
        let ranges = [ram(guest.pid())];
        // Stopped, so that nothing but us can change it.
        signal(&guest, Signal::STOP);
        wait_for_state(&guest, 'T');
        let before = size(&guest);

        let mem = PhysMem::of_process(guest.pid(), &ranges).unwrap();
        assert_eq!(mem.access_mode(), mode, "{backend:?}");
        let (mut fast, mut slow) = (vec![0; STEP], vec![0; STEP]);
        let mut zeroed = 0;
        for at in (0..MEMORY).step_by(STEP) {
            zeroed += scan(&mem, at, &mut fast);
        }
        let after = size(&guest);
        assert_eq!(after.len(), before.len());
        for (after, before) in after.iter().zip(&before) {
            // The system may take pages back meanwhile, but nothing may come.
            assert!(
                after.1 <= before.1,
                "{backend:?}: {before:?} became {after:?}"
            );
        }

        // The other way may map pages of a file into the process that it has not there, but that exist.
        let plain = PhysMem::of_process_with(guest.pid(), &ranges, Access::VmReadv).unwrap();
        let mut is_guests = false;
        let banner = format!("Linux version {}", guest.kernel().uname());
        for at in (0..MEMORY).step_by(STEP) {
            scan(&mem, at, &mut fast);
            scan(&plain, at, &mut slow);
            assert!(fast == slow, "{backend:?}: the MiB at {at:#x} differs");
            is_guests = is_guests || holds(&fast, banner.as_bytes());
        }
        let blocks = |sizes: Vec<(String, u64)>| {
            let files = sizes.into_iter().filter(|(what, _)| what.starts_with('/'));
            files.map(|(_, blocks)| blocks).sum::<u64>()
        };
        assert!(blocks(size(&guest)) <= blocks(before), "{backend:?}");
        assert!(is_guests, "{backend:?}: this is not the guest's memory");
        // A guest of 512 MiB that has just booted has not touched most of it.
        assert!(
            zeroed > MEMORY / 4,
            "{backend:?}: {zeroed:#x} bytes are holes"
        );

        signal(&guest, Signal::CONT);
        drop(guest);
        let mut bytes = [0; 8];
        let deadline = Instant::now() + Duration::from_secs(10);
        while mem.read(PhysAddr::new(0x10_0000), &mut bytes).is_ok() {
            assert!(Instant::now() < deadline, "its end was not noticed");
        }
        let gone = ReadError::Failed {
            addr: PhysAddr::new(0x10_0000),
            failure: SourceFailure::Gone,
        };
        assert_eq!(mem.read(PhysAddr::new(0x10_0000), &mut bytes), Err(gone));
        let mut segment = UserBuf::new(&mut fast);
        let mut iter = IovIter::ubuf(&mut segment);
        let all = ByteLen::from_usize(STEP);
        let progress = mem.copy_run_to_iter_nofault(PhysAddr::new(0), all, &mut iter);
        assert_eq!(progress.stopped, Some(Stop::Failed(SourceFailure::Gone)));
    }
}

/// Copies a MiB, and returns how much of it was holes.
fn scan(mem: &PhysMem, at: u64, into: &mut [u8]) -> u64 {
    let len = ByteLen::from_usize(into.len());
    let mut segment = UserBuf::new(into);
    let mut iter = IovIter::ubuf(&mut segment);
    let progress = mem.copy_run_to_iter_nofault(PhysAddr::new(at), len, &mut iter);
    assert_eq!(progress.advanced(), len);
    assert_eq!(progress.stopped, None);
    progress.zeroed.get()
}

/// Where QEMU has the guest's RAM: the mapping, or the mappings in a row, of just that length. A PC of less
/// than 3 GiB has all of it from physical address 0 on.
fn ram(pid: u32) -> (PhysRange, VirtAddr) {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let areas = maps.lines().map(|line| {
        let (range, rest) = line.split_once(' ').unwrap();
        let (start, end) = range.split_once('-').unwrap();
        let parse = |text| u64::from_str_radix(text, 16).unwrap();
        (parse(start), parse(end), rest.to_owned())
    });
    let whole = areas.filter(|(start, end, _)| end - start == MEMORY);
    let whole: Vec<_> = whole.collect();
    let [(start, _, _)] = &whole[..] else {
        panic!("no mapping, or more than one, is of the guest's size: {whole:?}\n{maps}")
    };
    let range = PhysRange::from_len(PhysAddr::new(0), ByteLen::new(MEMORY)).unwrap();
    (range, VirtAddr::new(*start))
}

/// Whether the bytes occur, at the start of a word.
fn holds(bytes: &[u8], wanted: &[u8]) -> bool {
    (0..bytes.len())
        .step_by(8)
        .any(|at| bytes[at..].starts_with(wanted))
}

/// All that could grow: what the process has in memory and its page tables in KiB, and the blocks of its
/// files.
fn size(guest: &Guest) -> Vec<(String, u64)> {
    let pid = guest.pid();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let keys = ["RssAnon:", "RssFile:", "RssShmem:", "VmPTE:", "VmSwap:"];
    let words = status
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut sizes: Vec<_> = words
        .filter(|words| keys.contains(&words[0]))
        .map(|words| (words[0].to_owned(), words[1].parse().unwrap()))
        .collect();
    assert_eq!(sizes.len(), keys.len());
    for fd in fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
        let path = fd.unwrap().path();
        if let Ok(meta) = fs::metadata(&path) {
            sizes.push((path.display().to_string(), meta.blocks()));
        }
    }
    sizes
}

fn signal(guest: &Guest, signal: Signal) {
    let pid = Pid::from_raw(guest.pid().try_into().unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// Waits until each of the process's threads has the state.
fn wait_for_state(guest: &Guest, state: char) {
    let deadline = Instant::now() + Duration::from_secs(10);
    let has_state = || {
        let mut tasks = fs::read_dir(format!("/proc/{}/task", guest.pid())).unwrap();
        tasks.all(|task| {
            let stat = fs::read_to_string(task.unwrap().path().join("stat")).unwrap();
            // The state follows the name, which may hold anything but is in brackets.
            let (_, rest) = stat.rsplit_once(") ").unwrap();
            rest.starts_with(state)
        })
    };
    while !has_state() {
        assert!(Instant::now() < deadline, "it did not stop");
        thread::yield_now();
    }
}
