//! `preadv` into a buffer of which another thread keeps evicting a page: what a kernel's own read path makes of
//! it.
#![expect(
    unsafe_code,
    reason = "maps a buffer whose pages come and go, so that no reference to it can be held"
)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::MemfdFlags;
use rustix::mm::{self, Advice, MapFlags, ProtFlags};
use vread_guest_helper::pattern;
use vread_guest_helper::protocol::{Storm, StormReport};

const PAGE: usize = 4096;

/// What the buffer holds before a call.
const UNTOUCHED: u8 = 0xee;

/// Reads the page at `offset` of `path` again and again, which holds the first page of the storm's pattern.
pub(crate) fn run(path: &str, offset: u64, storm: &Storm) -> io::Result<StormReport> {
    let mut expected = [0; PAGE];
    pattern::fill(storm.seed, 0, &mut expected);
    let segments = storm.segments.clamp(1, 1024) as usize;
    let len = PAGE / segments;
    let source = File::open(path)?;
    let buffer = Buffer::new(segments)?;
    let mut report = StormReport::default();
    let (stop, evictions) = (AtomicBool::new(false), AtomicU64::new(0));
    let deadline = Instant::now() + Duration::from_secs(u64::from(storm.seconds));
    let outcome = thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                buffer.evict(segments / 2);
                evictions.fetch_add(1, Ordering::Relaxed);
            }
        });
        let outcome = (0..storm.calls).try_for_each(|_call| {
            if Instant::now() < deadline {
                call(&source, offset, &buffer, len, &expected, &mut report)?;
            }
            Ok(())
        });
        stop.store(true, Ordering::Relaxed);
        outcome
    });
    report.evictions = evictions.into_inner();
    outcome.map(|()| report)
}

fn call(
    source: &File,
    offset: u64,
    buffer: &Buffer,
    len: usize,
    expected: &[u8; PAGE],
    report: &mut StormReport,
) -> io::Result<()> {
    let segments = buffer.pages;
    for page in 0..segments {
        buffer
            .file
            .write_all_at(&vec![UNTOUCHED; len], (page * PAGE) as u64)?;
    }
    let delivered = match buffer.preadv(source, offset, len) {
        Ok(done) => Some(done),
        Err(error) if error.raw_os_error() == Some(libc::EFAULT) => None,
        Err(error) => return Err(error),
    };
    report.calls += 1;
    report.failed += u32::from(delivered.is_none());
    let (mut whole, mut misplaced) = (delivered == Some(segments * len), false);
    let mut got = vec![0; len];
    for (page, want) in expected.chunks(len).take(segments).enumerate() {
        buffer.file.read_exact_at(&mut got, (page * PAGE) as u64)?;
        whole &= got == want;
        // What a piece that was given up leaves behind is its own beginning.
        let mut bytes = got.iter().zip(want);
        misplaced |= bytes.any(|(got, want)| got != want && *got != UNTOUCHED);
    }
    report.misplaced += u32::from(misplaced);
    report.wrong += u32::from(delivered.is_some() && !whole);
    Ok(())
}

/// Pages of a memory file, mapped shared: evicting one drops it from our page table, and its bytes stay.
struct Buffer {
    file: File,
    base: *mut u8,
    pages: usize,
}

// SAFETY: the mapping lives as long as the program and is only written by the kernel.
unsafe impl Sync for Buffer {}

impl Buffer {
    fn new(pages: usize) -> io::Result<Self> {
        let len = pages * PAGE;
        let file = File::from(rustix::fs::memfd_create("storm", MemfdFlags::CLOEXEC)?);
        file.set_len(len as u64)?;
        let rights = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address that the kernel chooses.
        let base = unsafe { mm::mmap(ptr::null_mut(), len, rights, MapFlags::SHARED, &file, 0) }?;
        Ok(Self {
            file,
            base: base.cast(),
            pages,
        })
    }

    fn evict(&self, page: usize) {
        let start = self.base.wrapping_add(page * PAGE).cast();
        // SAFETY: a page of our own shared mapping, whose content is the file's.
        let _advice_only = unsafe { mm::madvise(start, PAGE, Advice::LinuxDontNeed) };
    }

    /// One call that reads `len` bytes to the start of every page.
    fn preadv(&self, source: &File, offset: u64, len: usize) -> io::Result<usize> {
        let table: Vec<libc::iovec> = (0..self.pages)
            .map(|page| libc::iovec {
                iov_base: self.base.wrapping_add(page * PAGE).cast(),
                iov_len: len,
            })
            .collect();
        let count = table.len() as libc::c_int;
        let offset = offset.cast_signed();
        // SAFETY: every entry lies in our own mapping, to which no reference exists.
        let done = unsafe { libc::preadv(source.as_raw_fd(), table.as_ptr(), count, offset) };
        usize::try_from(done).map_err(|_negative| io::Error::last_os_error())
    }
}
