//! What the commands read of the clean image.

use std::collections::{BTreeMap, BTreeSet};

use vread_addr::{ByteLen, VirtAddr};
use vread_linux::Kernel;
use vread_vmalloc::PageRun;

use crate::image::Image;

/// Reads of more bytes than this are tables; of fewer, structures.
const MAX_STRUCTURE: usize = 4096;
/// How many places of one kind are kept.
const MAX_PLACES: usize = 20_000;

/// Where there is something worth forging.
#[derive(Default)]
pub(crate) struct Clean {
    /// By step and length: where a structure was read.
    pub(crate) structures: Vec<Vec<(u64, usize)>>,
    /// Where tables were read, and how long they are.
    pub(crate) tables: Vec<(u64, usize)>,
    /// Words in structures that look like pointers into the kernel: their places.
    pub(crate) pointers: Vec<u64>,
    /// Entries of page tables.
    pub(crate) entries: Vec<u64>,
    /// Printable text in structures, by step: where, and how long.
    pub(crate) texts: Vec<Vec<(u64, usize)>>,
    /// Pages with VMCOREINFO.
    pub(crate) notes: Vec<u64>,
    /// The pieces of BTF, in order: where, and how long.
    pub(crate) btf: Vec<(u64, usize)>,
    /// Where in BTF each type begins, the one with number 1 first.
    pub(crate) types: Vec<usize>,
    /// Where the direct map begins.
    pub(crate) direct_map: u64,
}

impl Clean {
    /// Adds what a step read.
    pub(crate) fn add(&mut self, image: &Image, reads: &[(u64, usize)]) {
        let mut structures: BTreeMap<usize, Vec<(u64, usize)>> = BTreeMap::new();
        let mut texts = Vec::new();
        // The scan looks at the first word of each page; a page table is read elsewhere too.
        let inner = reads
            .iter()
            .filter(|(at, len)| *len == 8 && at & 0xfff != 0);
        let inner: BTreeSet<u64> = inner.map(|(at, _)| at >> 12).collect();
        for (at, len) in reads {
            let (at, len) = (*at, *len);
            if len == 8 && at & 0xfff == 0 && !inner.contains(&(at >> 12)) {
                continue;
            }
            if len > MAX_STRUCTURE {
                self.tables.push((at, len));
                texts.extend(text_in(at, &image.read(at, MAX_STRUCTURE)));
                continue;
            }
            let bytes = image.read(at, len);
            if len == 8 && is_entry(&bytes, image.len) {
                self.entries.push(at);
            }
            for (word, place) in bytes.chunks_exact(8).zip((at..).step_by(8)) {
                let word = u64::from_le_bytes(word.try_into().unwrap());
                if word >> 47 == 0x1_ffff && place % 8 == 0 {
                    self.pointers.push(place);
                }
            }
            texts.extend(text_in(at, &bytes));
            structures.entry(len).or_default().push((at, len));
        }
        for places in structures.into_values() {
            self.structures.push(thinned(places));
        }
        if !texts.is_empty() {
            self.texts.push(thinned(texts));
        }
    }

    /// Looks up what needs a kernel: BTF's pieces, VMCOREINFO's pages, the direct map.
    pub(crate) fn look_up(&mut self, image: &Image, kernel: &Kernel) {
        let bases = kernel.bases().expect("the clean image has bases");
        self.direct_map = bases.direct_map.get();
        let symbols = kernel.symbols().expect("the clean image has symbols");
        let one = |name: &str| *symbols.find_all(name).first().expect(name);
        let (mut at, end) = (one("__start_BTF"), one("__stop_BTF"));
        while at < end {
            let left = end
                .checked_offset_from(at)
                .expect("it ends after it starts");
            match kernel.translate_run(at, left).expect("RAM") {
                PageRun::Mapped { phys, len } => {
                    self.btf.push((phys.get(), len.to_usize_clamped()));
                    at = at.wrapping_add(len);
                }
                PageRun::Hole { len } => at = at.wrapping_add(len),
            }
        }
        for name in ["vmcoreinfo_note", "vmcoreinfo_data"] {
            let Some(pointer) = symbols.find_all(name).first().copied() else {
                continue;
            };
            let Some(place) = to_phys(kernel, pointer) else {
                continue;
            };
            self.notes
                .extend(to_phys(kernel, VirtAddr::new(image.word(place))));
        }
        let btf: Vec<u8> = self
            .btf
            .iter()
            .flat_map(|(at, len)| image.read(*at, *len))
            .collect();
        self.types = types_in(&btf);
        self.pointers.sort_unstable();
        self.pointers.dedup();
        self.entries.sort_unstable();
        self.entries.dedup();
        assert!(
            self.structures.len() > 10 && self.texts.len() > 2,
            "the reads were seen"
        );
        assert!(self.pointers.len() > 100 && self.entries.len() > 10);
        assert!(!self.notes.is_empty() && !self.btf.is_empty() && !self.tables.is_empty());
    }

    /// Where byte `into` of BTF lies.
    pub(crate) fn in_btf(&self, into: usize) -> Option<u64> {
        let mut into = into;
        for (at, len) in &self.btf {
            if into < *len {
                return Some(at + into as u64);
            }
            into -= len;
        }
        None
    }
}

/// Where each type begins in BTF.
fn types_in(btf: &[u8]) -> Vec<usize> {
    let word = |at: usize| u32::from_le_bytes(btf[at..at + 4].try_into().unwrap());
    let mut at = word(4) as usize + word(8) as usize;
    let end = at + word(12) as usize;
    let mut types = Vec::new();
    while at < end {
        types.push(at);
        let info = word(at + 4);
        let vlen = (info & 0xffff) as usize;
        at += 12
            + match info >> 24 & 0x1f {
                1 | 14 | 17 => 4,
                3 => 12,
                4 | 5 | 15 | 19 => vlen * 12,
                6 | 13 => vlen * 8,
                _ => 0,
            };
    }
    types
}

fn to_phys(kernel: &Kernel, addr: VirtAddr) -> Option<u64> {
    match kernel.translate_run(addr, ByteLen::new(1)) {
        Ok(PageRun::Mapped { phys, .. }) => Some(phys.get()),
        _ => None,
    }
}

/// A present entry that leads into RAM.
fn is_entry(bytes: &[u8], ram: u64) -> bool {
    let entry = u64::from_le_bytes(bytes.try_into().unwrap());
    entry & 1 == 1 && entry & 0x000f_ffff_ffff_f000 < ram && entry >> 52 & 0x7ff == 0
}

/// Stretches of printable characters, of 3 and more.
fn text_in(at: u64, bytes: &[u8]) -> Vec<(u64, usize)> {
    let mut found = Vec::new();
    let mut start = None;
    for (index, byte) in bytes.iter().chain([&0]).enumerate() {
        match (byte, start) {
            (b' '..=b'~', None) => start = Some(index),
            (b' '..=b'~', Some(_)) => {}
            (_, Some(from)) => {
                if index - from >= 3 {
                    found.push((at + from as u64, index - from));
                }
                start = None;
            }
            (_, None) => {}
        }
    }
    found
}

/// At most [`MAX_PLACES`], evenly.
fn thinned(places: Vec<(u64, usize)>) -> Vec<(u64, usize)> {
    let step = places.len().div_ceil(MAX_PLACES).max(1);
    places.into_iter().step_by(step).collect()
}
