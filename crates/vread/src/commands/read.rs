//! `vread read`

use std::{
    io::{self, Write},
    str::FromStr,
};

use anyhow::{Context as _, bail};
use vread_addr::{ByteLen, FileOffset, VirtAddr};
use vread_iov_iter::{IovIter, Stop};
use vread_kcore::{EndOfFile, KcoreImage};
use vread_linux::typed::{Base as PathBase, Expression, GrammarError};
use vread_nofault::UserBuf;
use vread_targets::{Target, View};

use super::read_typed;
use crate::{
    Outcome,
    arguments::{ReadArguments, parse_address, parse_number},
    hexdump,
    printable::Printable,
};

/// How many bytes are read and shown at a time.
const CHUNK: usize = 1 << 20;

/// The most addresses of an ambiguous symbol that a message lists.
const MAX_LISTED: usize = 8;

/// Where to begin: an address or a symbol, and an offset from there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Where {
    base: Base,
    offset: ByteLen,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Base {
    Address(VirtAddr),
    Symbol(String),
    /// More than that: a path to a value.
    Path(Expression),
}

impl Where {
    /// The path to a value that it is.
    pub(super) fn path(&self) -> Expression {
        let base = match &self.base {
            Base::Path(path) => return path.clone(),
            Base::Address(addr) => {
                // WRAP: an address that is none is refused where it is read.
                PathBase::Address(addr.wrapping_add(self.offset))
            }
            Base::Symbol(name) => PathBase::Symbol(name.clone(), self.offset.get()),
        };
        Expression {
            base,
            steps: Vec::new(),
        }
    }
}

impl FromStr for Where {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if Expression::is_path(text) {
            let path = text
                .parse()
                .map_err(|error: GrammarError| error.to_string())?;
            return Ok(Self {
                base: Base::Path(path),
                offset: ByteLen::ZERO,
            });
        }
        let (base, offset) = match text.split_once('+') {
            Some((base, offset)) => {
                let offset = parse_number(offset)
                    .ok_or("the offset behind `+` is a number, such as 16 or 0x10")?;
                (base, offset)
            }
            None => (text, 0),
        };
        let base = match parse_address(base) {
            Some(addr) => Base::Address(VirtAddr::new(addr)),
            None if base.is_empty() => return Err("an address or a symbol".into()),
            None if base.starts_with(|c: char| c.is_ascii_digit()) => {
                return Err("an address begins with 0x or has 16 hexadecimal digits".into());
            }
            None => Base::Symbol(base.into()),
        };
        Ok(Self {
            base,
            offset: ByteLen::new(offset),
        })
    }
}

pub(crate) fn run(
    target: &Target,
    arguments: &ReadArguments,
    out: &mut dyn Write,
) -> anyhow::Result<Outcome> {
    let Some(length) = arguments.length else {
        return read_typed::run(target, arguments, out);
    };
    let image = target.image(View::Kcore)?;
    let start = resolve(target, &arguments.at, arguments.of.as_deref())?;
    let position = target.position_of(&image, start)?;
    let left = start.bytes_to_top();
    if length > left {
        bail!(
            "{length:#x} bytes from {start} reach beyond the end of the address space; ask for {left:#x} at most"
        );
    }
    let reading = Reading {
        target,
        image: &image,
        position,
        left: length,
    };
    let holes = if arguments.raw {
        reading.for_each(|_, bytes| out.write_all(bytes))?
    } else if arguments.json {
        print_json(reading, start, out)?
    } else {
        reading.for_each(|done, bytes| {
            // WRAP: the range was checked.
            hexdump::write(out, start.wrapping_add(done), bytes)
        })?
    };
    if holes.is_zero() {
        return Ok(Outcome::All);
    }
    if !arguments.json {
        let (holes, all) = (holes.get(), length.get());
        tell!(
            "vread: {holes} of {all} bytes are not there or must not be read; they are shown as zeros"
        );
    }
    Ok(Outcome::SomeMissing)
}

/// The address that is meant.
fn resolve(target: &Target, at: &Where, of: Option<&str>) -> anyhow::Result<VirtAddr> {
    let base = match &at.base {
        Base::Address(addr) => *addr,
        Base::Path(path) => read_typed::address(target, path, of)?,
        Base::Symbol(name) => {
            let shown = Printable(name);
            let found = target
                .find_symbol(name)
                .with_context(|| format!("cannot look the symbol `{shown}` up; give an address"))?;
            match found.as_slice() {
                [] => bail!(
                    "there is no symbol `{shown}` in this kernel; `vread symbols TARGET {shown}` lists names that contain it"
                ),
                [addr] => *addr,
                several => {
                    let list: Vec<String> = several
                        .iter()
                        .take(MAX_LISTED)
                        .map(ToString::to_string)
                        .collect();
                    let more = match several.len() > MAX_LISTED {
                        true => ", …",
                        false => "",
                    };
                    bail!(
                        "this kernel has {} symbols `{shown}`; give one of their addresses: {}{more}",
                        several.len(),
                        list.join(", ")
                    )
                }
            }
        }
    };
    base.checked_add(at.offset)
        .with_context(|| format!("{base}+{:#x} lies beyond the address space", at.offset))
}

/// A range to be read, chunk by chunk.
struct Reading<'t> {
    target: &'t Target,
    image: &'t KcoreImage,
    position: FileOffset,
    left: ByteLen,
}

impl Reading<'_> {
    /// Hands each chunk to `show`, with how many bytes came before it. Returns how many bytes of all are
    /// holes.
    fn for_each(
        self,
        mut show: impl FnMut(ByteLen, &[u8]) -> io::Result<()>,
    ) -> anyhow::Result<ByteLen> {
        let Self {
            target,
            image,
            mut position,
            mut left,
        } = self;
        let mut buffer = vec![0_u8; CHUNK.min(left.to_usize_clamped())];
        let (mut done, mut holes) = (ByteLen::ZERO, ByteLen::ZERO);
        while !left.is_zero() {
            let want = left.to_usize_clamped().min(buffer.len());
            let chunk = buffer.get_mut(..want).unwrap_or_default();
            let mut segment = UserBuf::new(chunk);
            let mut iter = IovIter::ubuf(&mut segment);
            let progress = target.read_at(image, position, &mut iter, EndOfFile::Never)?;
            let step = progress.advanced();
            show(
                done,
                chunk.get(..step.to_usize_clamped()).unwrap_or_default(),
            )?;
            done = done.saturating_add(step);
            holes = holes.saturating_add(progress.zeroed);
            left = left.saturating_sub(step);
            // WRAP: the range was checked.
            position = position.wrapping_add(step);
            match progress.stopped {
                Some(Stop::Failed(failure)) => {
                    return Err(anyhow::Error::new(failure)
                        .context(format!("the read ended after {done:#x} bytes")));
                }
                Some(Stop::DestFault) => {
                    bail!("the read ended after {done:#x} bytes: our own buffer refused it")
                }
                None if step.is_zero() => {
                    bail!("the read ended after {done:#x} bytes without a reason")
                }
                None => {}
            }
        }
        Ok(holes)
    }
}

/// `{"address":"0x…","length":16,"holes":0,"bytes":"00ff…"}`, written as it is read.
fn print_json(
    reading: Reading<'_>,
    start: VirtAddr,
    out: &mut dyn Write,
) -> anyhow::Result<ByteLen> {
    let length = reading.left.get();
    write!(
        out,
        "{{\"address\":\"{start:#x}\",\"length\":{length},\"bytes\":\""
    )?;
    let holes = reading.for_each(|_, bytes| {
        for byte in bytes {
            write!(out, "{byte:02x}")?;
        }
        Ok(())
    })?;
    writeln!(out, "\",\"holes\":{}}}", holes.get())?;
    Ok(holes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(base: Base, offset: u64) -> Where {
        Where {
            base,
            offset: ByteLen::new(offset),
        }
    }

    #[test]
    fn reads_where() {
        let address = |addr| Base::Address(VirtAddr::new(addr));
        let symbol = |name: &str| Base::Symbol(name.into());
        assert_eq!("jiffies".parse(), Ok(at(symbol("jiffies"), 0)));
        assert_eq!("jiffies+0x10".parse(), Ok(at(symbol("jiffies"), 16)));
        assert_eq!("jiffies+8".parse(), Ok(at(symbol("jiffies"), 8)));
        assert_eq!("0x1000+1".parse(), Ok(at(address(0x1000), 1)));
        assert_eq!(
            "ffff888000000000".parse(),
            Ok(at(address(0xffff_8880_0000_0000), 0))
        );
        assert!(matches!(
            "a.b->c".parse::<Where>().unwrap().base,
            Base::Path(_)
        ));
        // A name may look like a number in part.
        assert_eq!("deadbeef".parse(), Ok(at(symbol("deadbeef"), 0)));
        for wrong in ["", "+1", "a+", "a+b", "a+1+1", "4096", "0xzz", "a."] {
            assert!(wrong.parse::<Where>().is_err(), "{wrong}");
        }
    }
}
