use std::ops::Range;

use vread_addr::{ByteLen, VirtAddr};

use crate::fields::until_nul;
use crate::virt_mem::VirtMem;
use crate::{Btf, LinuxError};

/// The most bytes of a struct that are copied.
const MAX_SPAN: usize = 1 << 16;
/// How often a record is read anew when its two copies differ (G71).
const MAX_TRIES: u32 = 3;
/// The longest text in a struct; forged types may say that a name has the length of the whole struct.
const MAX_TEXT_LEN: usize = 511;
/// Structs with pointers lie at multiples of this (G70).
const ALIGN: u64 = 8;

/// A member of a struct: bytes from the struct's start, and how many they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Field {
    at: usize,
    len: usize,
}

/// Which members of a struct are read, where BTF says that they are.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    what: &'static str,
    /// All of them.
    span: Range<usize>,
    /// Those that must be the same in two copies.
    steady: Vec<Field>,
}

/// Members of one struct, copied out of the target: twice, and alike (G71).
#[derive(Debug)]
pub(crate) struct Record {
    /// Where the struct lies.
    pub(crate) at: VirtAddr,
    /// Where in the struct `bytes` begins.
    base: usize,
    bytes: Vec<u8>,
}

impl Field {
    /// The member that `path` names, as in `task_struct.pid`.
    pub(crate) fn find(btf: &Btf, path: &str) -> Option<Self> {
        let field = Self {
            at: btf.offset_of(path)?.to_usize()?,
            len: btf.size_of_member(path)?.to_usize()?,
        };
        let end = field.at.checked_add(field.len)?;
        (end <= MAX_SPAN).then_some(field)
    }

    /// How far into the struct it lies.
    pub(crate) fn offset(self) -> ByteLen {
        ByteLen::from_usize(self.at)
    }
}

impl Shape {
    /// No members yet of what a message calls `what`.
    pub(crate) fn new(what: &'static str) -> Self {
        Self {
            what,
            span: 0..0,
            steady: Vec::new(),
        }
    }

    /// A member that is needed.
    pub(crate) fn need(&mut self, btf: &Btf, path: &'static str) -> Result<Field, LinuxError> {
        self.find(btf, path)
            .ok_or(LinuxError::NoType { name: path })
    }

    /// A member that not every kernel has.
    pub(crate) fn find(&mut self, btf: &Btf, path: &str) -> Option<Field> {
        let field = self.find_moving(btf, path)?;
        self.steady.push(field);
        Some(field)
    }

    /// A member that may change while it is read, such as a counter: whole words never tear.
    pub(crate) fn find_moving(&mut self, btf: &Btf, path: &str) -> Option<Field> {
        let field = Field::find(btf, path)?;
        let end = field.at.saturating_add(field.len);
        self.span = match self.span.is_empty() {
            true => field.at..end,
            false => self.span.start.min(field.at)..self.span.end.max(end),
        };
        Some(field)
    }

    /// Copies the members of the struct at `at`.
    pub(crate) fn read(&self, virt: VirtMem<'_>, at: VirtAddr) -> Result<Record, LinuxError> {
        let what = self.what;
        let malformed = |why| LinuxError::Malformed { what, at, why };
        if !at.get().is_multiple_of(ALIGN) {
            return Err(malformed("its address is not a multiple of 8"));
        }
        let base = self.span.start;
        let start = at
            .checked_add(ByteLen::from_usize(base))
            .ok_or(malformed("it reaches beyond the address space"))?;
        let record = |bytes| Record { at, base, bytes };
        let mut before = record(virt.read_vec(start, self.span.len())?);
        for _ in 0..MAX_TRIES {
            let after = record(virt.read_vec(start, self.span.len())?);
            let same = |field: &Field| before.bytes(*field) == after.bytes(*field);
            if self.steady.iter().all(same) {
                return Ok(after);
            }
            before = after;
        }
        Err(LinuxError::Torn {
            what,
            at,
            tries: MAX_TRIES,
        })
    }
}

impl Record {
    /// The bytes of a member.
    pub(crate) fn bytes(&self, field: Field) -> &[u8] {
        let from = field.at.checked_sub(self.base);
        let from = from.and_then(|from| self.bytes.get(from..));
        from.and_then(|from| from.get(..field.len))
            .unwrap_or_default()
    }

    /// A member that is a number of up to 8 bytes; of a longer one the first 8.
    pub(crate) fn number(&self, field: Field) -> u64 {
        little_endian(self.bytes(field))
    }

    /// A member that is a signed number.
    pub(crate) fn signed(&self, field: Field) -> i64 {
        let spare = 64_usize.saturating_sub(field.len.saturating_mul(8));
        let number = self.number(field).cast_signed();
        match u32::try_from(spare) {
            Ok(spare @ 0..64) => number << spare >> spare,
            _ => number,
        }
    }

    /// A member that is a pointer.
    pub(crate) fn pointer(&self, field: Field) -> VirtAddr {
        VirtAddr::new(self.number(field))
    }

    /// A member that is an array of characters, of a long one the first 511.
    pub(crate) fn text(&self, field: Field) -> String {
        let bytes = self.bytes(field);
        let text = until_nul(bytes.get(..MAX_TEXT_LEN).unwrap_or(bytes));
        String::from_utf8_lossy(text).into_owned()
    }

    /// Where a member lies in the target.
    pub(crate) fn address_of(&self, field: Field) -> VirtAddr {
        // WRAP: the record was read, so its end is below the top of the address space.
        self.at.wrapping_add(field.offset())
    }
}

/// Does `read` anew where its result may come of a change under our eyes.
pub(crate) fn again_if_torn<T>(
    mut read: impl FnMut() -> Result<T, LinuxError>,
) -> Result<T, LinuxError> {
    for _ in 1..MAX_TRIES {
        match read() {
            Err(
                LinuxError::Malformed { .. }
                | LinuxError::NotMapped { .. }
                | LinuxError::Torn { .. },
            ) => {}
            result => return result,
        }
    }
    read()
}

/// A number of as many bytes as there are, up to 8.
pub(crate) fn little_endian(bytes: &[u8]) -> u64 {
    let bytes = bytes.iter().take(8).rev();
    bytes.fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forged::{ForgedRam, virt};

    const AT: u64 = 0xffff_8880_0000_0000;

    fn shape(steady: &[Field], all: Range<usize>) -> Shape {
        Shape {
            what: "a thing",
            span: all,
            steady: steady.to_vec(),
        }
    }

    #[test]
    fn reads_members_of_every_size() {
        let mut ram = ForgedRam::new(16);
        ram.map(AT, 0x8000);
        ram.put_u64(0x8010, 0x8877_6655_4433_2211);
        ram.put(0x8018, b"name\0xx");
        let field = |at, len| Field { at, len };
        let record = shape(&[field(0x10, 8)], 0x10..0x20)
            .read(virt(&ram.open()), VirtAddr::new(AT))
            .unwrap();
        assert_eq!(record.number(field(0x10, 8)), 0x8877_6655_4433_2211);
        assert_eq!(record.number(field(0x12, 2)), 0x4433);
        assert_eq!(record.signed(field(0x17, 1)), -0x78);
        assert_eq!(record.signed(field(0x10, 4)), 0x4433_2211);
        assert_eq!(
            record.signed(field(0x10, 8)),
            0x8877_6655_4433_2211_u64.cast_signed()
        );
        assert_eq!(record.text(field(0x18, 8)), "name");
        assert_eq!(record.address_of(field(0x18, 8)), VirtAddr::new(AT + 0x18));
        // What was not read is nothing.
        assert_eq!(record.number(field(0, 8)), 0);
        assert_eq!(record.number(field(0x1c, 8)), 0);
    }

    #[test]
    fn refuses_an_address_that_no_struct_has() {
        // G70.
        let mut ram = ForgedRam::new(16);
        ram.map(AT, 0x8000);
        let mem = ram.open();
        let read = |at| shape(&[], 0..8).read(virt(&mem), VirtAddr::new(at));
        assert!(matches!(read(AT + 1), Err(LinuxError::Malformed { .. })));
        assert!(matches!(read(0), Err(LinuxError::NotMapped { .. })));
        assert!(matches!(
            read(u64::MAX - 7),
            Err(LinuxError::NotMapped { .. })
        ));
    }

    #[test]
    fn gives_up_on_a_record_that_never_rests() {
        // G71: a writer that changes one word for as long as the reader reads.
        use std::os::unix::fs::FileExt as _;
        use std::sync::atomic::{AtomicBool, Ordering};
        let mut ram = ForgedRam::new(16);
        ram.map(AT, 0x8000);
        let (mem, file) = ram.open_live();
        let done = AtomicBool::new(false);
        let word = Field { at: 0, len: 8 };
        let (torn, read) = std::thread::scope(|scope| {
            scope.spawn(|| {
                for turn in 0_u64.. {
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                    file.write_all_at(&turn.to_le_bytes(), 0x8000).unwrap();
                }
            });
            let steady = shape(&[word], 0..4096);
            let moving = shape(&[], 0..4096);
            let mut torn = false;
            while !torn {
                let result = steady.read(virt(&mem), VirtAddr::new(AT));
                torn = matches!(result, Err(LinuxError::Torn { tries: 3, .. }));
            }
            let read = moving.read(virt(&mem), VirtAddr::new(AT)).is_ok();
            done.store(true, Ordering::Relaxed);
            (torn, read)
        });
        assert!(torn && read);
    }
}
