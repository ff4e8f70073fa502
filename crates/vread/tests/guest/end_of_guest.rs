//! A guest that ends under its readers.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use vread_guests::{Backend, Guest, GuestConfig, KernelRelease};

use crate::mounted::{KcoreFile, Mounted};
use crate::program::wait_for;

const EIO: i32 = 5;

/// Two readers, and a third party that kills the guest: both get EIO, nothing hangs, nobody panics,
/// and the mount goes away as usual.
pub(crate) fn two_readers(release: KernelRelease) {
    for backend in [Backend::Memfd, Backend::Anonymous] {
        let guest = Guest::boot(&GuestConfig::new(release).backend(backend.clone())).unwrap();
        let mut mounted = Mounted::new(&guest);
        let loads = KcoreFile::open(&mounted.vmcore()).loads();
        let largest = *loads.iter().max_by_key(|load| load.size).unwrap();
        let reads = [AtomicU64::new(0), AtomicU64::new(0)];
        let give_up = AtomicBool::new(false);
        thread::scope(|scope| {
            let readers: Vec<_> = reads
                .iter()
                .map(|count| {
                    let file = File::open(mounted.vmcore()).unwrap();
                    let give_up = &give_up;
                    scope.spawn(move || {
                        let mut buffer = vec![0; 1 << 20];
                        for turn in 0_u64.. {
                            let at = (turn << 20) % (largest.size - (1 << 20));
                            if let Err(error) = file.read_exact_at(&mut buffer, largest.offset + at)
                            {
                                return error.raw_os_error();
                            }
                            count.fetch_add(1, Ordering::Relaxed);
                            if give_up.load(Ordering::Relaxed) {
                                return None;
                            }
                        }
                        None
                    })
                })
                .collect();
            wait_for("both readers to read", || {
                reads.iter().all(|count| count.load(Ordering::Relaxed) > 10)
            });
            drop(guest);
            wait_for("both readers to fail", || {
                readers.iter().all(|reader| reader.is_finished())
            });
            give_up.store(true, Ordering::Relaxed);
            for reader in readers {
                assert_eq!(reader.join().unwrap(), Some(EIO), "{backend:?}");
            }
        });
        // Who comes later is told the same.
        let late = File::open(mounted.vmcore());
        let late = late.and_then(|file| file.read_exact_at(&mut [0; 8], largest.offset));
        assert_eq!(late.unwrap_err().raw_os_error(), Some(EIO), "{backend:?}");
        let status = mounted.unmount();
        let stderr = mounted.stderr();
        assert!(status.success(), "{status}\n{stderr}");
        assert!(!stderr.contains("panicked"), "{stderr}");
        assert!(
            stderr.contains("ended") || stderr.contains("exited"),
            "says why:\n{stderr}"
        );
    }
}
