//! Many words at once.

use vread_addr::{ByteLen, FileOffset, VirtAddr};
use vread_iov_iter::{IovIter, Progress};
use vread_kcore::{EndOfFile, KcoreError, KcoreImage, Place, SegmentKind};
use vread_nofault::UserBuf;

use crate::Target;

const WORD: ByteLen = ByteLen::new(8);
/// How many words are asked for together.
const CHUNK: usize = 1024;
/// An address that no machine has, with 4 levels of page tables or with 5.
const NOWHERE: VirtAddr = VirtAddr::new(1 << 63);

impl Target {
    /// The words at the positions `at` of `image`, which is one of this target's, as little-endian numbers: what as many
    /// calls of [`read_at`](Self::read_at) would give, with no end of the file. `words` has those of as many positions as
    /// both hold.
    ///
    /// Words of vmalloc space in a guest's mapped memory wait for that memory together, and come several times as fast as
    /// one by one: for whoever follows a thousand pointers, or walks the heads of a hash table. All others are read one by
    /// one.
    ///
    /// The result counts the bytes that arrived, in order; behind a word that stopped it, no word counts.
    ///
    /// # Errors
    ///
    /// [`KcoreError::PositionOverflow`]; the words before have arrived.
    pub fn read_words(
        &self,
        image: &KcoreImage,
        at: &[FileOffset],
        words: &mut [u64],
    ) -> Result<Progress, KcoreError> {
        let mut total = Progress::default();
        let mut addrs = Vec::with_capacity(CHUNK.min(at.len()));
        let mut found = vec![None; CHUNK.min(at.len())];
        for (at, words) in at.chunks(CHUNK).zip(words.chunks_mut(CHUNK)) {
            addrs.clear();
            addrs.extend(at.iter().map(|at| vmalloc_addr(image, *at)));
            match self.kernel_now() {
                Some(kernel) => kernel.vread_words(&addrs, &mut found),
                None => found.fill(None),
            }
            for ((word, at), found) in words.iter_mut().zip(at).zip(&found) {
                let step = match found {
                    Some(found) => {
                        *word = *found;
                        Progress::copied(WORD)
                    }
                    None => self.read_word(image, *at, word)?,
                };
                total = total.then(step);
                if total.stopped.is_some() {
                    return Ok(total);
                }
            }
        }
        Ok(total)
    }

    fn read_word(
        &self,
        image: &KcoreImage,
        at: FileOffset,
        word: &mut u64,
    ) -> Result<Progress, KcoreError> {
        let mut bytes = [0; 8];
        let mut segment = UserBuf::new(&mut bytes);
        let mut iter = IovIter::ubuf(&mut segment);
        let progress = self.read_at(image, at, &mut iter, EndOfFile::Never)?;
        *word = u64::from_le_bytes(bytes);
        Ok(progress)
    }
}

/// The address at position `at`, if a word of vmalloc space stands there.
fn vmalloc_addr(image: &KcoreImage, at: FileOffset) -> VirtAddr {
    if at < image.data_offset() {
        return NOWHERE;
    }
    match image.place(at) {
        Place::Memory { segment, addr, len }
            if segment.kind == SegmentKind::Vmalloc && len >= WORD =>
        {
            addr
        }
        _ => NOWHERE,
    }
}
