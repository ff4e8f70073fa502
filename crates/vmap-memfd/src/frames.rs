use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{self, FallocateFlags, MemfdFlags, SealFlags};
use rustix::io::{self, Errno};
use vread_addr::{ByteLen, FileOffset, PAGE_SIZE, PageCount, Pfn, PhysAddr, VirtAddr, VirtRange};
use vread_iov_iter::{IovIter, PageSource, Progress, SourceFailure};
use vread_nofault::{Fault, UserBuf};
use vread_vmalloc::{FrameProvider, FreeFrames};

use crate::MemfdError;
use crate::direct_map::DirectMap;
use crate::pieces::Pieces;
use crate::window::Window;

/// Linux's own limit of mappings a process where `/proc` does not tell.
const DEFAULT_MAX_MAP_COUNT: u64 = 65_530;

/// Frames of a memfd, and the window that they are mapped into.
///
/// A frame's number is its place in the file. One that nobody has is a hole of the file: it takes no memory,
/// and is zero when it is taken again.
#[derive(Debug)]
pub struct MemfdFrames {
    file: OwnedFd,
    memory: DirectMap,
    window: Window,
    free: Mutex<FreeFrames>,
    pieces: Mutex<Pieces>,
}

impl MemfdFrames {
    /// `frames` frames, and a window of `window` bytes, rounded up to pages.
    ///
    /// # Errors
    ///
    /// [`MemfdError`] where the system refuses.
    pub fn new(window: ByteLen, frames: PageCount) -> Result<Self, MemfdError> {
        let len = PageCount::to_hold(window).checked_bytes().unwrap_or(window);
        let refused = |errno| MemfdError::Window { len, errno };
        let window = Window::reserve(len).map_err(refused)?;
        let refused = |errno| MemfdError::Frames { frames, errno };
        let (file, memory) = memory(frames).map_err(refused)?;
        Ok(Self {
            file,
            memory,
            window,
            free: Mutex::new(FreeFrames::scattered(frames)),
            pieces: Mutex::new(Pieces::at_most(max_map_count() / 2)),
        })
    }

    /// Where areas are mapped.
    #[must_use]
    pub fn window(&self) -> VirtRange {
        self.window.range()
    }

    /// The memory at `addr`: `None` outside of the window.
    ///
    /// What may be done with it is for the caller to know: the bytes of an area can be read and written as
    /// long as it is not freed, all others trap.
    #[must_use]
    pub fn as_ptr(&self, addr: VirtAddr) -> Option<*mut u8> {
        self.window.as_ptr(addr)
    }

    /// How many frames are taken.
    #[must_use]
    pub fn taken(&self) -> PageCount {
        self.free_frames().taken()
    }

    fn free_frames(&self) -> MutexGuard<'_, FreeFrames> {
        // A list of numbers is whole between any two of its operations.
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pieces(&self) -> MutexGuard<'_, Pieces> {
        self.pieces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a frame a hole of the file.
    fn discard(&self, frame: Pfn) -> io::Result<()> {
        let offset = offset_of(frame).ok_or(Errno::INVAL)?;
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        fs::fallocate(&self.file, hole, offset.get(), PAGE_SIZE.get())
    }
}

/// A file of so many frames, which can neither shrink nor grow, and its mapping.
fn memory(frames: PageCount) -> io::Result<(OwnedFd, DirectMap)> {
    let len = frames.checked_bytes().ok_or(Errno::FBIG)?;
    let file = fs::memfd_create("vmap", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    fs::ftruncate(&file, len.get())?;
    let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    fs::fcntl_add_seals(&file, seals)?;
    let memory = DirectMap::new(file.as_fd(), len.to_usize().ok_or(Errno::FBIG)?)?;
    Ok((file, memory))
}

fn max_map_count() -> u64 {
    let text = std::fs::read_to_string("/proc/sys/vm/max_map_count");
    let told = text.ok().and_then(|text| text.trim().parse().ok());
    told.unwrap_or(DEFAULT_MAX_MAP_COUNT)
}

fn offset_of(frame: Pfn) -> Option<FileOffset> {
    let start = frame.checked_start()?;
    Some(FileOffset::new(start.get()))
}

/// Runs of frames that lie one after another: the first, and how many.
fn runs(frames: &[Pfn]) -> impl Iterator<Item = (Pfn, u64)> {
    let next_to = |a: &Pfn, b: &Pfn| a.get().checked_add(1) == Some(b.get());
    frames.chunk_by(next_to).filter_map(|run| {
        let count = u64::try_from(run.len()).ok()?;
        Some((*run.first()?, count))
    })
}

impl FrameProvider for MemfdFrames {
    fn total(&self) -> PageCount {
        self.free_frames().total()
    }

    fn alloc_frame(&self) -> Option<Pfn> {
        self.free_frames().take()
    }

    fn alloc_pmd_frames(&self) -> Option<Pfn> {
        self.free_frames().take_pmd()
    }

    fn free_frame(&self, frame: Pfn) {
        // A frame that cannot be emptied is nobody's for good: it must not show what was in it.
        if self.discard(frame).is_ok() {
            self.free_frames().give_back(frame);
        }
    }

    fn write_frame(&self, frame: Pfn, offset: ByteLen, bytes: &[u8]) -> Result<(), SourceFailure> {
        let start = offset_of(frame).and_then(|start| start.checked_add(offset));
        let mut at = start.ok_or(SourceFailure::Gone)?;
        let mut rest = bytes;
        while !rest.is_empty() {
            let written = match io::pwrite(&self.file, rest, at.get()) {
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(SourceFailure::Os(errno.raw_os_error())),
                Ok(0) => return Err(SourceFailure::Truncated),
                Ok(written) => written,
            };
            rest = rest.get(written..).unwrap_or_default();
            // WRAP: the bytes end in the frame.
            at = at.wrapping_add(ByteLen::from_usize(written));
        }
        Ok(())
    }

    fn map_frames(&self, at: VirtAddr, frames: &[Pfn]) -> Result<(), SourceFailure> {
        let errno = |errno: Errno| SourceFailure::Os(errno.raw_os_error());
        let needed = u64::try_from(runs(frames).count()).unwrap_or(u64::MAX);
        let counted = self.pieces().add(at, needed);
        counted.ok_or(errno(Errno::NOMEM))?;
        let mut at = at;
        for (first, count) in runs(frames) {
            let len = PageCount::new(count).checked_bytes();
            let range = len.and_then(|len| VirtRange::from_len(at, len));
            let (range, offset) = range.zip(offset_of(first)).ok_or(errno(Errno::INVAL))?;
            let placed = self.window.place(range, self.file.as_fd(), offset);
            placed.map_err(errno)?;
            at = range.end();
        }
        Ok(())
    }

    fn unmap_range(&self, range: VirtRange) {
        if let Err(errno) = self.window.clear(range) {
            // What stays mapped would show the next owner's bytes to whoever kept a pointer. This can only be
            // when the system has no memory left for a mapping less.
            eprintln!("vmap: {range:?} cannot be unmapped: {errno}; nothing safe is left to do");
            std::process::abort();
        }
        self.pieces().remove(range);
    }
}

impl<'b> PageSource<UserBuf<'b>> for MemfdFrames {
    fn copy_run_to_iter_nofault(
        &self,
        start: PhysAddr,
        len: ByteLen,
        iter: &mut IovIter<'_, UserBuf<'b>>,
    ) -> Progress {
        let want = len.to_usize_clamped();
        let Ok(at) = usize::try_from(start.get()) else {
            return Progress::failed(SourceFailure::Gone);
        };
        let (done, fault) = self.memory.copy_to_iter(at, want, iter);
        let copied = Progress::copied(ByteLen::from_usize(done));
        match fault {
            // The system had no page for a hole.
            Some(Fault::Source(_)) => copied.then(Progress::failed(SourceFailure::Os(
                Errno::NOMEM.raw_os_error(),
            ))),
            Some(Fault::System(errno)) => copied.then(Progress::failed(SourceFailure::Os(errno))),
            _ => copied.or_dest_fault(len),
        }
    }
}
