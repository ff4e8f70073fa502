//! Bytes as `xxd` shows them, each line with its address.

use std::io::{self, Write};

use vread_addr::{ByteLen, VirtAddr};

/// Bytes on a line.
const LINE: usize = 16;

/// Writes `bytes`, the first of which lies at `start`.
pub(crate) fn write(out: &mut dyn Write, start: VirtAddr, bytes: &[u8]) -> io::Result<()> {
    let mut addr = start;
    for line in bytes.chunks(LINE) {
        write!(out, "{:016x}:", addr.get())?;
        for pair in 0..LINE / 2 {
            out.write_all(b" ")?;
            for index in [pair.wrapping_mul(2), pair.wrapping_mul(2).wrapping_add(1)] {
                match line.get(index) {
                    Some(byte) => write!(out, "{byte:02x}")?,
                    None => out.write_all(b"  ")?,
                }
            }
        }
        out.write_all(b"  ")?;
        for byte in line {
            let shown = match byte {
                b' '..=b'~' => *byte,
                _ => b'.',
            };
            out.write_all(&[shown])?;
        }
        out.write_all(b"\n")?;
        // WRAP: the last line may end at the top of the address space.
        addr = addr.wrapping_add(ByteLen::from_usize(line.len()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_like_xxd() {
        let mut out = Vec::new();
        let bytes: Vec<u8> = (0x58..0x58 + 19).collect();
        write(&mut out, VirtAddr::new(0xffff_ffff_8123_4560), &bytes).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "ffffffff81234560: 5859 5a5b 5c5d 5e5f 6061 6263 6465 6667  XYZ[\\]^_`abcdefg\n\
             ffffffff81234570: 6869 6a                                  hij\n"
        );
    }
}
