//! The guest's memory file, mapped anew: what a plain memcpy of it costs.
#![expect(
    unsafe_code,
    reason = "the rival is a memcpy of a mapping, and nothing else"
)]

use std::fs::File;
use std::path::Path;
use std::ptr::NonNull;

use rustix::fs::{SeekFrom, seek};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// A read-only mapping of a whole file that nobody truncates.
pub(crate) struct MappedFile {
    base: NonNull<u8>,
    len: usize,
}

impl MappedFile {
    pub(crate) fn new(path: &Path) -> Self {
        let file = File::open(path).unwrap();
        let len = usize::try_from(file.metadata().unwrap().len()).unwrap();
        let null = std::ptr::null_mut();
        // SAFETY: a new mapping, at an address that the kernel chooses.
        let base = unsafe { mmap(null, len, ProtFlags::READ, MapFlags::SHARED, &file, 0) };
        let base = NonNull::new(base.unwrap().cast()).unwrap();
        Self { base, len }
    }

    /// Copies the bytes at `at` to `out`, as fast as the machine can.
    pub(crate) fn copy(&self, at: usize, out: &mut [u8]) {
        assert!(at + out.len() <= self.len);
        let src = self.base.as_ptr().wrapping_add(at);
        // SAFETY: inside the mapping, by the check above; the guest may write the bytes meanwhile, which
        //         is why the product does not do it like this; here nobody looks at them.
        unsafe { std::ptr::copy_nonoverlapping(src, out.as_mut_ptr(), out.len()) };
    }
}

impl Drop for MappedFile {
    fn drop(&mut self) {
        // SAFETY: our own mapping, and nobody uses it any more.
        let _cannot_fail = unsafe { munmap(self.base.as_ptr().cast(), self.len) };
    }
}

/// The longest part of a file that has data: offset and length.
pub(crate) fn longest_data(path: &Path) -> (u64, u64) {
    let file = File::open(path).unwrap();
    let (mut at, mut longest) = (0, (0, 0));
    while let Ok(start) = seek(&file, SeekFrom::Data(at)) {
        at = seek(&file, SeekFrom::Hole(start)).unwrap();
        if at - start > longest.1 {
            longest = (start, at - start);
        }
    }
    longest
}
