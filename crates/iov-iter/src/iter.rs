use core::fmt;
use core::marker::PhantomData;

use crate::backing::{self, Backing};
use crate::{BioVec, Destination, FolioBatch, IndexedFolio, IterDest, IterSource, Segment};

/// The most bytes one read may ask for, and the most [`IovIter::revert`] takes back:
/// 2^31 - 4096, Linux's `MAX_RW_COUNT` with pages of 4 KiB (I9, I41).
pub const MAX_RW_COUNT: usize = 0x7fff_f000;

/// The most segments that a system call may bring: Linux's `UIO_MAXIOV` (I41).
pub const UIO_MAXIOV: usize = 1024;

/// A buffer in segments, with a position and the number of bytes still usable: Linux's
/// `struct iov_iter`.
///
/// The direction is part of the type (I2): bytes go into an [`IovIterDest`], which is what `IovIter`
/// alone means, and come out of an [`IovIterSource`]. A call in the wrong direction, which Linux answers
/// with 0 and a warning, does not compile:
///
/// ```compile_fail
/// # use vread_iov_iter::{IovIterSource, PlainSource};
/// let mut segment = PlainSource::new(b"kcore");
/// IovIterSource::ubuf(&mut segment).copy_to_iter(b"?"); // no method named `copy_to_iter`
/// ```
///
/// `M` is the memory of one segment: a [`Destination`](crate::Destination) or a
/// [`Source`](crate::Source). What Linux's kinds of backing mean for it is said at the constructors.
///
/// # Invariants
///
/// - `count` is at most what the segments hold from the position on (I1); for a `folioq` and an `xarray` it is
///   what the caller said, and a folio that is not there ends a walk before it (I3).
/// - `offset` is below the length of segment `index`, or 0 where that segment is empty or there is
///   none; for a `ubuf` it may equal the length; for an `xarray` and a `discard` it counts the bytes that
///   were moved.
#[doc(alias = "iov_iter")]
pub struct IovIter<'a, M, Dir = IterDest> {
    pub(crate) backing: Backing<'a, M>,
    pub(crate) index: usize,
    pub(crate) offset: usize,
    pub(crate) count: usize,
    direction: PhantomData<fn() -> Dir>,
}

/// An iterator that takes bytes: a reader's buffer.
pub type IovIterDest<'a, D> = IovIter<'a, D, IterDest>;

/// An iterator that gives bytes: a writer's buffer.
pub type IovIterSource<'a, S> = IovIter<'a, S, IterSource>;

/// More segments than a system call may bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooManySegments {
    /// So many there were.
    pub segments: usize,
}

impl fmt::Display for TooManySegments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = self.segments;
        write!(f, "{found} segments; a call brings at most {UIO_MAXIOV}")
    }
}

impl core::error::Error for TooManySegments {}

impl<'a, M: Segment<Dir>, Dir> IovIter<'a, M, Dir> {
    fn new(backing: Backing<'a, M>, count: usize) -> Self {
        Self {
            backing,
            index: 0,
            offset: 0,
            count,
            direction: PhantomData,
        }
    }

    /// One segment of user memory: what a plain `read` or `pread` brings (I41).
    pub fn ubuf(segment: &'a mut M) -> Self {
        let count = segment.byte_len();
        Self::new(Backing::Ubuf(segment), count)
    }

    /// Several segments of user memory: what `readv` or `preadv` brings. Empty ones are allowed.
    ///
    /// Bytes beyond 2^64 - 1 in total are not usable.
    pub fn iovec(segments: &'a mut [M]) -> Self {
        let count = total(segments.iter().map(M::byte_len));
        Self::new(Backing::Iovec(segments), count)
    }

    /// What a system call that was given these segments makes of them (I41): one is a
    /// [`ubuf`](Self::ubuf), any other number an [`iovec`](Self::iovec), and no more than
    /// [`MAX_RW_COUNT`] bytes are usable. (Lengths that are negative, and addresses that no user has, are the
    /// system call's to refuse.)
    ///
    /// # Errors
    ///
    /// [`TooManySegments`] beyond [`UIO_MAXIOV`].
    #[doc(alias = "import_iovec")]
    pub fn import(segments: &'a mut [M]) -> Result<Self, TooManySegments> {
        if segments.len() > UIO_MAXIOV {
            return Err(TooManySegments {
                segments: segments.len(),
            });
        }
        let mut iter = match segments {
            [one] => Self::ubuf(one),
            several => Self::iovec(several),
        };
        iter.truncate(MAX_RW_COUNT);
        Ok(iter)
    }

    /// Several segments of the kernel's own memory. They are never faulted in (I34); a copy that one of them
    /// stops short ends there.
    pub fn kvec(segments: &'a mut [M]) -> Self {
        let count = total(segments.iter().map(M::byte_len));
        Self::new(Backing::Kvec(segments), count)
    }

    /// Several runs of pages. No piece of a walk crosses the border of a page (I14), and an empty segment is
    /// a piece too (I18).
    pub fn bvec(segments: &'a mut [BioVec<M>]) -> Self {
        let count = total(segments.iter().map(BioVec::byte_len));
        Self::new(Backing::Bvec(segments), count)
    }

    /// The first `count` bytes of the folios in these batches. A slot without a folio ends every walk (I3).
    pub fn folioq(batches: &'a mut [FolioBatch<M>], count: usize) -> Self {
        Self::new(Backing::Folioq(batches), count)
    }

    /// `count` bytes of a file from `start` on, in those of its folios that are here, sorted by their first
    /// page. A page without a folio ends every walk (I3).
    pub fn xarray(folios: &'a mut [IndexedFolio<M>], start: u64, count: usize) -> Self {
        Self::new(Backing::Xarray { folios, start }, count)
    }

    /// The bytes still usable (I4).
    #[must_use]
    #[inline]
    #[doc(alias = "iov_iter_count")]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whether the segments are user memory, which may have to be faulted in (I3).
    #[must_use]
    #[doc(alias = "user_backed_iter")]
    pub fn is_user_backed(&self) -> bool {
        matches!(self.backing, Backing::Ubuf(_) | Backing::Iovec(_))
    }

    /// The length of segment `index`, for kinds that have such.
    pub(crate) fn segment_len(&self, index: usize) -> Option<usize> {
        match &self.backing {
            Backing::Iovec(segments) | Backing::Kvec(segments) => {
                segments.get(index).map(M::byte_len)
            }
            Backing::Bvec(segments) => segments.get(index).map(BioVec::byte_len),
            Backing::Folioq(batches) => backing::folio(batches, index).map(M::byte_len),
            Backing::Ubuf(_) | Backing::Xarray { .. } | Backing::Discard => None,
        }
    }

    /// What the segments hold from the position on.
    pub(crate) fn left_in_segments(&self) -> usize {
        let segments = match &self.backing {
            Backing::Ubuf(segment) => return segment.byte_len().saturating_sub(self.offset),
            Backing::Iovec(segments) | Backing::Kvec(segments) => {
                total(segments.iter().skip(self.index).map(M::byte_len))
            }
            Backing::Bvec(segments) => {
                total(segments.iter().skip(self.index).map(BioVec::byte_len))
            }
            // As many as the caller says; a walk finds out.
            Backing::Folioq(_) | Backing::Xarray { .. } | Backing::Discard => usize::MAX,
        };
        segments.saturating_sub(self.offset)
    }
}

impl<D: Destination> IovIter<'_, D, IterDest> {
    /// Swallows `count` bytes (I19).
    #[must_use]
    pub fn discard(count: usize) -> Self {
        Self::new(Backing::Discard, count)
    }
}

fn total(lens: impl Iterator<Item = usize>) -> usize {
    lens.fold(0, usize::saturating_add)
}

impl<M, Dir> fmt::Debug for IovIter<'_, M, Dir> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.backing {
            Backing::Ubuf(_) => "ubuf",
            Backing::Iovec(_) => "iovec",
            Backing::Kvec(_) => "kvec",
            Backing::Bvec(_) => "bvec",
            Backing::Folioq(_) => "folioq",
            Backing::Xarray { .. } => "xarray",
            Backing::Discard => "discard",
        };
        f.debug_struct("IovIter")
            .field("kind", &kind)
            .field("index", &self.index)
            .field("offset", &self.offset)
            .field("count", &self.count)
            .finish()
    }
}
