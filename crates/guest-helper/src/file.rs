//! Reading files of the guest, the kernel's own among them, and hashing them where they are.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;

use twox_hash::XxHash64;
use vread_guest_helper::digest::{self, Chunk};
use vread_guest_helper::protocol::{FileRange, RangeHash};

/// Bytes asked for at once. A file of the kernel such as `/proc/kcore` answers any size.
const STEP_BYTES: usize = 1 << 20;

pub(crate) fn read(path: &str) -> io::Result<Vec<u8>> {
    std::fs::read(path)
}

/// Fewer bytes than asked only at the end of the file; any error is an error of the whole read.
pub(crate) fn read_at(path: &str, range: FileRange) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let mut bytes = Vec::new();
    let ended = for_each_piece(&file, range, |piece| bytes.extend_from_slice(piece));
    ended.map(|()| bytes)
}

pub(crate) fn hash_lines(path: &str, lines: u64) -> io::Result<Vec<Chunk>> {
    digest::line_chunks(
        BufReader::with_capacity(STEP_BYTES, File::open(path)?),
        lines,
    )
}

pub(crate) fn hash_bytes(path: &str, bytes: u64) -> io::Result<Vec<Chunk>> {
    digest::byte_chunks(File::open(path)?.by_ref(), bytes)
}

/// One answer for each range: an error in one of them is told there and spares the others.
pub(crate) fn hash_ranges(path: &str, ranges: &[FileRange]) -> io::Result<Vec<RangeHash>> {
    let file = File::open(path)?;
    Ok(ranges
        .iter()
        .map(|range| hash_range(&file, *range))
        .collect())
}

fn hash_range(file: &File, range: FileRange) -> RangeHash {
    let mut hasher = XxHash64::with_seed(0);
    let (mut got, mut all_zero) = (0, true);
    let ended = for_each_piece(file, range, |piece| {
        std::hash::Hasher::write(&mut hasher, piece);
        got += piece.len() as u64;
        all_zero &= digest::is_all_zero(piece);
    });
    let errno = ended
        .err()
        .map(|error| error.raw_os_error().unwrap_or(libc::EIO));
    RangeHash {
        got,
        hash: std::hash::Hasher::finish(&hasher),
        all_zero,
        errno,
    }
}

fn for_each_piece(file: &File, range: FileRange, mut use_it: impl FnMut(&[u8])) -> io::Result<()> {
    let mut buffer = vec![0; STEP_BYTES.min(usize::try_from(range.len).unwrap_or(STEP_BYTES))];
    let mut done = 0;
    while done < range.len {
        let step = buffer
            .len()
            .min(usize::try_from(range.len - done).unwrap_or(buffer.len()));
        match file.read_at(&mut buffer[..step], range.offset + done) {
            Ok(0) => return Ok(()),
            Ok(got) => {
                use_it(&buffer[..got]);
                done += got as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
