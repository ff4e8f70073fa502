use core::fmt;

use crate::{Destination, Source};

/// Memory that we own and that is always resident: Linux's kernel-backed segment (`KVEC`), whose
/// copies always complete (I26).
pub struct Plain<'a>(&'a mut [u8]);

impl<'a> Plain<'a> {
    /// Wraps a buffer of ours.
    #[must_use]
    pub fn new(bytes: &'a mut [u8]) -> Self {
        Self(bytes)
    }

    /// The bytes of `[at, at + len)`, cut at the end of the segment, for a source that writes them
    /// itself.
    #[must_use]
    pub fn bytes_mut(&mut self, at: usize, len: usize) -> &mut [u8] {
        let tail = self.0.get_mut(at..).unwrap_or_default();
        let len = len.min(tail.len());
        tail.get_mut(..len).unwrap_or_default()
    }
}

impl Destination for Plain<'_> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn copy_nofault(&mut self, at: usize, src: &[u8]) -> usize {
        let dst = self.bytes_mut(at, src.len());
        let done = dst.len();
        if let Some(src) = src.get(..done) {
            dst.copy_from_slice(src);
        }
        done
    }

    fn zero_nofault(&mut self, at: usize, len: usize) -> usize {
        let dst = self.bytes_mut(at, len);
        dst.fill(0);
        dst.len()
    }

    fn fault_in_writeable(&mut self, at: usize, len: usize) -> usize {
        len.saturating_sub(self.0.len().saturating_sub(at))
    }
}

impl fmt::Debug for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Plain").field(&self.0.len()).finish()
    }
}

/// Memory that we own and only read: the [`Source`] that never fails.
#[derive(Clone, Copy)]
pub struct PlainSource<'a>(&'a [u8]);

impl<'a> PlainSource<'a> {
    /// Wraps bytes of ours.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }
}

impl Source for PlainSource<'_> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn copy_from_nofault(&mut self, at: usize, dst: &mut [u8]) -> usize {
        let tail = self.0.get(at..).unwrap_or_default();
        let done = tail.len().min(dst.len());
        if let (Some(dst), Some(src)) = (dst.get_mut(..done), tail.get(..done)) {
            dst.copy_from_slice(src);
        }
        done
    }

    fn fault_in_readable(&mut self, at: usize, len: usize) -> usize {
        len.saturating_sub(self.0.len().saturating_sub(at))
    }
}

impl fmt::Debug for PlainSource<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PlainSource").field(&self.0.len()).finish()
    }
}
