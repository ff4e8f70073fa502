//! How an image is corrupted: each forgery is one thing that a hostile guest could write.

use std::fmt;

use vread_guests::Random;

use crate::clean::Clean;
use crate::image::Image;

/// The most forgeries in one image.
const MAX_FORGERIES: u64 = 6;
const PAGE: u64 = 4096;

/// What a terminal would obey, or choke on.
const PAYLOADS: [&[u8]; 14] = [
    b"\x1b[31mred",
    b"\x1b]0;title\x07",
    b"\x1b[2J\x1b[H",
    b"\x9b31m",
    "\u{9b}2J\u{85}".as_bytes(),
    "\u{202e}live".as_bytes(),
    "\u{2066}a\u{2069}\u{200f}".as_bytes(),
    "\u{2028}line".as_bytes(),
    b"\x07\x08\x08\x7f",
    b"a\nb\rc\x0b\x0c",
    b"\xff\xfe\xf0\x9f\x92",
    b"\xc0\x80\xed\xa0\x80",
    b"\"\\u001b\\\"",
    b"\x0e\x0f\x00\x1b",
];

/// Numbers that are the first or last of something.
const EDGES: [u64; 22] = [
    0,
    1,
    2,
    7,
    8,
    0x7f,
    0xff,
    0xfff,
    0x1000,
    0xffff,
    0x1_0000,
    0x10_0000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    0xffff_8000_0000_0000,
    0xffff_ffff_8000_0000,
    0xffff_ffff_ffff_f000,
    u64::MAX,
];

/// What was done.
#[derive(Debug)]
pub(crate) struct Forgery {
    what: &'static str,
    at: u64,
}

impl fmt::Display for Forgery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {:#x}", self.what, self.at)
    }
}

/// Corrupts the image as `seed` says.
pub(crate) fn forge(seed: u64, image: &mut Image, clean: &Clean) -> Vec<Forgery> {
    let mut forger = Forger {
        random: Random::new(seed ^ 0x666f_7267_6572_7921),
        image,
        clean,
    };
    let count = 1 + forger.random.below(MAX_FORGERIES);
    (0..count).filter_map(|_| forger.one()).collect()
}

struct Forger<'i> {
    random: Random,
    image: &'i mut Image,
    clean: &'i Clean,
}

impl Forger<'_> {
    fn one(&mut self) -> Option<Forgery> {
        let (what, at) = match self.random.below(20) {
            0..5 => self.pointer()?,
            5..9 => self.number()?,
            9..12 => self.text()?,
            12..14 => self.table_entry()?,
            14..16 => self.types()?,
            16 => self.note()?,
            17 => self.table()?,
            18 => self.structure()?,
            _ => self.anywhere(),
        };
        Some(Forgery { what, at })
    }

    /// One of `places`.
    fn pick<T: Copy>(&mut self, places: &[T]) -> Option<T> {
        let len = places.len() as u64;
        (len > 0).then(|| places[self.random.below(len) as usize])
    }

    /// A structure that was read: any kind, and then any of that kind.
    fn structure_read(&mut self) -> Option<(u64, usize)> {
        let clean = self.clean;
        let kind = self.random.below(clean.structures.len().max(1) as u64);
        self.pick(clean.structures.get(kind as usize)?)
    }

    fn put(&mut self, at: u64, word: u64) {
        self.image.write(at, &word.to_le_bytes());
    }

    fn virt(&self, phys: u64) -> u64 {
        self.clean.direct_map.wrapping_add(phys)
    }

    fn pointer(&mut self) -> Option<(&'static str, u64)> {
        let clean = self.clean;
        // A pointer of a structure chosen by kind; or any pointer, which is one of the most frequent kind.
        let place = match self.random.below(3) {
            0 => self.pick(&clean.pointers)?,
            _ => {
                let (at, len) = self.structure_read()?;
                let words = (len as u64 / 8).max(1);
                let inside = |place: &&u64| (at..at + len as u64).contains(*place);
                let first = clean.pointers.partition_point(|place| *place < at);
                let own: Vec<u64> = clean.pointers[first..]
                    .iter()
                    .take_while(inside)
                    .copied()
                    .collect();
                match self.pick(&own) {
                    Some(place) => place,
                    None => at + self.random.below(words) * 8,
                }
            }
        };
        let (what, value) = match self.random.below(8) {
            0 => ("a pointer to itself", self.virt(place)),
            1 => (
                "a pointer to the word before itself",
                self.virt(place).wrapping_sub(8),
            ),
            2 | 3 => {
                let other = self.pick(&clean.pointers)?;
                ("another structure's pointer", self.image.word(other))
            }
            4 => {
                let (at, _) = self.structure_read()?;
                ("a pointer to another structure", self.virt(at))
            }
            5 => ("a pointer that is off by a little", {
                let old = self.image.word(place);
                old.wrapping_add(self.random.below(64)).wrapping_sub(32)
            }),
            6 => ("a pointer to user space", self.random.below(1 << 47)),
            _ => ("a null pointer", 0),
        };
        self.put(place, value);
        Some((what, place))
    }

    fn number(&mut self) -> Option<(&'static str, u64)> {
        let (at, len) = self.structure_read()?;
        let size = [1_u64, 2, 4, 4, 8, 8][self.random.below(6) as usize].min(len as u64);
        let place = at + self.random.below((len as u64 / size).max(1)) * size;
        let value = match self.random.below(4) {
            0 => self.random.word(),
            _ => self.pick(&EDGES)?,
        };
        self.image
            .write(place, &value.to_le_bytes()[..size as usize]);
        Some(("a number", place))
    }

    fn text(&mut self) -> Option<(&'static str, u64)> {
        let clean = self.clean;
        let step = self.random.below(clean.texts.len().max(1) as u64);
        let (at, len) = self.pick(clean.texts.get(step as usize)?)?;
        if self.random.below(4) == 0 {
            let len = [64, 600, 5000, 70_000][self.random.below(4) as usize];
            self.image.write(at, &vec![b'A'; len]);
            return Some(("a text without an end", at));
        }
        let payload = self.pick(&PAYLOADS)?;
        let room = (len as u64).saturating_sub(payload.len() as u64);
        let place = at + self.random.below(room + 1);
        self.image.write(place, &payload[..payload.len().min(len)]);
        Some(("a text that a terminal obeys", place))
    }

    fn table_entry(&mut self) -> Option<(&'static str, u64)> {
        let place = self.pick(&self.clean.entries)?;
        let old = self.image.word(place);
        let (what, value) = match self.random.below(8) {
            0 | 1 => (
                "a page table that leads to itself",
                place & !(PAGE - 1) | 0x63,
            ),
            2 => {
                let other = self.pick(&self.clean.entries)?;
                (
                    "a page table that leads to another",
                    other & !(PAGE - 1) | 0x63,
                )
            }
            3 => ("a page table entry that is a big leaf", old | 0x80),
            4 => (
                "a page table entry outside RAM",
                old | 0x000f_0000_0000_0000,
            ),
            5 => (
                "a page table entry with a flipped bit",
                old ^ 1 << self.random.below(64),
            ),
            6 => ("another page table entry", {
                let other = self.pick(&self.clean.entries)?;
                self.image.word(other)
            }),
            _ => ("an empty page table entry", 0),
        };
        self.put(place, value);
        Some((what, place))
    }

    fn types(&mut self) -> Option<(&'static str, u64)> {
        let word = |this: &Self, into: usize| {
            let at = this.clean.in_btf(into)?;
            let bytes = this.image.read(at, 4);
            Some(u32::from_le_bytes(bytes.try_into().ok()?))
        };
        if self.random.below(6) == 0 {
            let field = self.random.below(6) as usize * 4;
            let at = self.clean.in_btf(field)?;
            let value = self.pick(&EDGES)? as u32;
            self.image.write(at, &value.to_le_bytes());
            return Some(("BTF's header", at));
        }
        let id = 1 + self.random.below(self.clean.types.len() as u64) as u32;
        let at = *self.clean.types.get(id as usize - 1)?;
        let info = word(self, at + 4)?;
        let (kind, vlen) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
        let (what, into, value) = match self.random.below(6) {
            0 if matches!(kind, 2 | 8..=11 | 18) => ("a type that is made of itself", at + 8, id),
            0 if kind == 3 => ("an array of itself", at + 12, id),
            0 | 1 if matches!(kind, 4 | 5) && vlen > 0 => {
                let member = self.random.below(vlen as u64) as usize;
                ("a type nested in itself", at + 12 + member * 12 + 4, id)
            }
            2 if matches!(kind, 4 | 5) && vlen > 0 => {
                let member = self.random.below(vlen as u64) as usize;
                let value = self.random.word() as u32;
                ("a member's offset", at + 12 + member * 12 + 8, value)
            }
            3 => ("a type's size", at + 8, self.pick(&EDGES)? as u32),
            4 => (
                "a type's kind and length",
                at + 4,
                self.random.word() as u32,
            ),
            _ => ("a type's name", at, self.random.below(1 << 23) as u32),
        };
        let place = self.clean.in_btf(into)?;
        self.image.write(place, &value.to_le_bytes());
        Some((what, place))
    }

    fn note(&mut self) -> Option<(&'static str, u64)> {
        let from = self.pick(&self.clean.notes)?;
        let mut page = self.image.read(from, PAGE as usize);
        if self.random.below(3) == 0 {
            let at = self.random.below(PAGE) as usize;
            page[at] = match self.random.below(3) {
                0 => b'0' + self.random.below(10) as u8,
                1 => b'\n',
                _ => self.random.word() as u8,
            };
            self.image.write(from, &page);
            return Some(("VMCOREINFO", from));
        }
        // Copies of it, some a little different, below and above the real one.
        let copies = 1 + self.random.below(100);
        for _ in 0..copies {
            let mut copy = page.clone();
            if self.random.below(2) == 0 {
                let at = self.random.below(2000) as usize;
                if copy[at].is_ascii_digit() {
                    copy[at] = b'0' + self.random.below(10) as u8;
                }
            }
            let page = self.random.below(self.image.len / PAGE);
            self.image.write(page * PAGE, &copy);
        }
        Some(("VMCOREINFO again and again, the first", from))
    }

    fn table(&mut self) -> Option<(&'static str, u64)> {
        let (at, len) = self.pick(&self.clean.tables)?;
        let place = match self.random.below(4) {
            0 => at + self.random.below(64),
            _ => at + self.random.below(len as u64),
        };
        match self.random.below(3) {
            0 => {
                let value = self.random.word() as u8;
                self.image.write(place, &[value]);
            }
            1 => {
                let value = self.pick(&EDGES)? as u32;
                self.image.write(place & !3, &value.to_le_bytes());
            }
            _ => {
                let payload = self.pick(&PAYLOADS)?;
                self.image.write(place, payload);
            }
        }
        Some(("a table", place))
    }

    /// A structure in the place of another.
    fn structure(&mut self) -> Option<(&'static str, u64)> {
        let (to, len) = self.structure_read()?;
        let bytes = match self.random.below(3) {
            0 => (0..len).map(|_| self.random.word() as u8).collect(),
            1 => vec![self.pick(&[0_u8, 0xff, 0x41, 0x80])?; len],
            _ => {
                let (from, _) = self.structure_read()?;
                self.image.read(from, len)
            }
        };
        self.image.write(to, &bytes);
        Some(("another structure", to))
    }

    fn anywhere(&mut self) -> (&'static str, u64) {
        let flips = 1 + self.random.below(64);
        let mut last = 0;
        for _ in 0..flips {
            last = self.random.below(self.image.len);
            let byte = self.image.read(last, 1)[0] ^ 1 << self.random.below(8);
            self.image.write(last, &[byte]);
        }
        ("bits anywhere, the last", last)
    }
}
