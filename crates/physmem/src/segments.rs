use libc::iovec;
use vread_iov_iter::IovIter;
use vread_nofault::UserBuf;

/// The most segments filled by one system call. Linux allows 1024; the table lies on our stack.
const SEGMENTS_LIMIT: usize = 64;

/// The most bytes asked for in one call; Linux does at most 2^31 - 4096.
const CALL_LIMIT: usize = 1 << 30;

/// The next segments of a reader's buffer, as a table for the kernel.
pub(crate) struct Segments {
    table: [iovec; SEGMENTS_LIMIT],
    used: usize,
    /// How many bytes they hold together.
    len: usize,
}

/// What a system call did for the segments. The iterator does not know of it yet.
#[must_use = "the iterator has not moved"]
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    /// So many bytes arrived: more than none, unless none were wanted.
    Arrived(usize),
    /// Not one byte could be moved, with this error number.
    Refused(i32),
}

impl Segments {
    /// Those that the next `len` bytes go to, as far as one call takes them. Does not move `iter`, which
    /// must stay where it is while the segments are written.
    pub(crate) fn next_of(iter: &mut IovIter<'_, UserBuf<'_>>, len: usize) -> Self {
        let mut table = [segment(std::ptr::null_mut(), 0); SEGMENTS_LIMIT];
        let mut used = 0_usize;
        let start = iter.save();
        let len = iter.walk(len.min(CALL_LIMIT), |piece| {
            let Some(slot) = table.get_mut(used) else {
                return 0;
            };
            used = used.saturating_add(1);
            let (dst, room) = piece.segment.part_mut(piece.at, piece.len);
            *slot = segment(dst, room);
            room
        });
        iter.restore(start);
        Self { table, used, len }
    }

    /// How many bytes they hold together. Without a segment the iterator only counts, and any number of
    /// bytes has arrived as soon as it is wanted.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn table(&self) -> &[iovec] {
        self.table.get(..self.used).unwrap_or_default()
    }
}

/// One segment, of `len` bytes.
pub(crate) fn segment(base: *mut u8, len: usize) -> iovec {
    iovec {
        iov_base: base.cast(),
        iov_len: len,
    }
}

/// What a call returned: a number of bytes, or -1 and an error number.
pub(crate) fn step_of(returned: isize) -> Step {
    match usize::try_from(returned) {
        Ok(0) => Step::Refused(libc::EFAULT),
        Ok(arrived) => Step::Arrived(arrived),
        Err(_) => {
            let error = std::io::Error::last_os_error();
            Step::Refused(error.raw_os_error().unwrap_or(libc::EFAULT))
        }
    }
}
