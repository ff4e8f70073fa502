use std::fmt::{self, Write as _};
use std::sync::Arc;

use vread_addr::{ByteLen, VirtAddr};

/// A line of `/proc/kallsyms`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Symbol {
    /// Where it lies. Absolute symbols (letter `A`) are small numbers, not addresses.
    pub addr: VirtAddr,
    /// The type letter as `nm` has it. It is unreliable: do not filter by it (G26).
    pub letter: char,
    /// Its name; not unique.
    pub name: String,
    /// The module that it belongs to, or one of the kernel's own pseudo modules such as `bpf`; `None`
    /// for the kernel image.
    pub module: Option<Arc<str>>,
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// As in `/proc/kallsyms`, without the line's end.
impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Written out: there are hundreds of thousands, and the formatter takes its time for each number.
        let mut digits = [0; 16];
        for (digit, shift) in digits.iter_mut().rev().zip((0_u32..64).step_by(4)) {
            let value = usize::try_from(self.addr.get() >> shift & 0xf).unwrap_or_default();
            *digit = HEX.get(value).copied().unwrap_or_default();
        }
        f.write_str(str::from_utf8(&digits).map_err(|_| fmt::Error)?)?;
        f.write_char(' ')?;
        f.write_char(self.letter)?;
        f.write_char(' ')?;
        f.write_str(&self.name)?;
        match &self.module {
            Some(module) => write!(f, "\t[{module}]"),
            None => Ok(()),
        }
    }
}

/// An address as the kernel prints it with `%pS`: the symbol that covers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SymbolOffset {
    /// The symbol's name.
    pub name: String,
    /// How far behind its start the address lies.
    pub offset: ByteLen,
    /// How many bytes lie from the symbol to the next one.
    pub size: ByteLen,
    /// The module, if it is one's.
    pub module: Option<Arc<str>>,
}

impl fmt::Display for SymbolOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{:#x}/{:#x}", self.name, self.offset, self.size)?;
        match &self.module {
            Some(module) => write!(f, " [{module}]"),
            None => Ok(()),
        }
    }
}
