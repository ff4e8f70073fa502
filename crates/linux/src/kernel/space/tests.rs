use std::fs::File;
use std::os::unix::fs::FileExt;

use vread_addr::ByteLen;
use vread_kcore::KernelMemory;
use vread_vmalloc::vread_iter;

use super::*;
use crate::areas::AreaHints;
use crate::areas::forge::{self, DIRECT, Forged, HEAD, LIST, RECORDS, VM, VM_FLAGS, VMALLOC, at};
use crate::forged::{PRESENT, table};
use crate::kernel::AttachTimes;
use crate::{PagingLevels, VmCoreInfo};

/// Pages that areas are mapped to: the sixth and later.
const CONTENT: u64 = 0x10_000;

/// A kernel whose memory can be changed while it is read.
struct Live {
    kernel: Kernel,
    file: File,
    /// Where the last-level entries of vmalloc space lie.
    leaves: u64,
}

impl Live {
    /// Areas of `(start page, end page)`; page n of vmalloc space is mapped where `mapped` says so, and
    /// holds bytes of value n + 1.
    fn new(areas: &[(u64, u64)], mapped: &[u64]) -> Self {
        let mut forged = Forged::new(areas);
        for page in 0..16 {
            forged
                .ram
                .put(CONTENT + page * 4096, &[page as u8 + 1; 4096]);
        }
        // Makes the tables.
        forged.ram.map(VMALLOC, CONTENT);
        let mut entry = crate::forged::ROOT;
        for shift in [39, 30, 21] {
            entry = forged.ram.get_u64(entry + (VMALLOC >> shift & 0x1ff) * 8) & !0xfff;
        }
        let (mem, file) = forged.ram.open_live();
        let text = b"OSRELEASE=6.12.0-forged\nPAGESIZE=4096\nSYMBOL(init_uts_ns)=0\nSYMBOL(swapper_pg_dir)=0\n\
            SYMBOL(_stext)=0\n";
        vread_nofault::install().unwrap();
        let kernel = Kernel {
            mem,
            table: table(PagingLevels::Four),
            info: VmCoreInfo::parse(text).unwrap(),
            vmcoreinfo_page: PhysAddr::new(0),
            found_by: crate::FoundBy::LowMemory,
            boot_mark: crate::kernel::BootMark::default(),
            release: String::new(),
            phys_base: 0,
            kallsyms: None,
            btf: None,
            bases: Some(forge::bases()),
            image: None,
            root_resource: None,
            areas: Some(forged.reader()),
            hints: AreaHints::default(),
            page_filter: None,
            missing: Vec::new(),
            times: AttachTimes::default(),
        };
        let live = Self {
            kernel,
            file,
            leaves: entry,
        };
        live.unmap(0);
        for page in mapped {
            live.map(*page);
        }
        live
    }

    fn put(&self, at: u64, value: u64) {
        self.file.write_all_at(&value.to_le_bytes(), at).unwrap();
    }

    fn map(&self, page: u64) {
        self.put(self.leaves + page * 8, (CONTENT + page * 4096) | PRESENT);
    }

    fn unmap(&self, page: u64) {
        self.put(self.leaves + page * 8, 0);
    }

    /// Replaces all areas.
    fn set_areas(&self, areas: &[(u64, u64)]) {
        let forged = Forged::new(areas);
        for place in (HEAD..HEAD + 16)
            .chain(RECORDS..RECORDS + 0x1000)
            .step_by(8)
        {
            self.put(place, forged.ram.get_u64(place));
        }
    }

    /// What is read of each of the pages `0..pages`: the value of its bytes, by words that take loads only, by
    /// short reads and by one long one. That comes last, so that what the others know is still as old as it was.
    fn pages(&self, pages: u64) -> Vec<u8> {
        let words = self.words(pages);
        let ends = [(0, 8), (1, 256), (4088, 8), (4095, 1)];
        let short: Vec<Vec<u8>> = (0..pages)
            .map(|page| {
                let at = |(offset, len)| self.short(VMALLOC + page * 4096 + offset, len);
                ends.map(at).concat()
            })
            .collect();
        let long = self.pages_at_once(pages);
        for (word, long) in words.into_iter().zip(&long) {
            assert!(word.is_none_or(|word| word == [*long; 8]), "{word:x?}");
        }
        for (page, (short, long)) in short.iter().zip(&long).enumerate() {
            assert!(
                short.iter().all(|byte| byte == long),
                "page {page}: {short:?}"
            );
        }
        long
    }

    /// A word of each page, where it takes no more than loads.
    fn words(&self, pages: u64) -> Vec<Option<[u8; 8]>> {
        let addr = |page: u64| VirtAddr::new(VMALLOC + page * 4096 + page % 512 * 8);
        let addrs: Vec<VirtAddr> = (0..pages).map(addr).collect();
        let mut words = vec![None; addrs.len()];
        self.kernel.vread_words(&addrs, &mut words);
        let bytes = |word: Option<u64>| word.map(u64::to_le_bytes);
        words.into_iter().map(bytes).collect()
    }

    /// `len` bytes at `addr`, as a debugger reads them.
    fn short(&self, addr: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0xa5; len];
        let mut segment = UserBuf::new(&mut bytes);
        let mut iter = IovIter::ubuf(&mut segment);
        let len = ByteLen::from_usize(len);
        let progress = self.kernel.vread_iter(&mut iter, VirtAddr::new(addr), len);
        assert_eq!((progress.stopped, progress.advanced()), (None, len));
        bytes
    }

    fn pages_at_once(&self, pages: u64) -> Vec<u8> {
        let len = ByteLen::new(pages * 4096);
        let mut bytes = vec![0xa5; len.to_usize().unwrap()];
        let mut segment = UserBuf::new(&mut bytes);
        let mut iter = IovIter::ubuf(&mut segment);
        let progress = vread_iter(&self.kernel, &mut iter, VirtAddr::new(VMALLOC), len);
        assert_eq!((progress.stopped, progress.advanced()), (None, len));
        bytes
            .chunks(4096)
            .map(|page| {
                let first = page[0];
                assert!(page.iter().all(|byte| *byte == first));
                first
            })
            .collect()
    }
}

#[test]
fn reads_areas_and_zeros_between_them() {
    // R5, R14 to R17, G55: an area's last page is its guard page, whatever is mapped there.
    let live = Live::new(&[(1, 4), (6, 8)], &[1, 2, 3, 6]);
    assert_eq!(live.pages(10), [0, 2, 3, 0, 0, 0, 7, 0, 0, 0]);
}

#[test]
fn words_come_by_loads_alone_where_an_area_is_known() {
    let live = Live::new(&[(1, 4), (6, 8)], &[1, 2, 3, 6]);
    assert_eq!(live.words(10), [None; 10]);
    live.pages(10);
    // The guard pages and what is between areas are for others to tell.
    let known = [1, 2, 6].map(|page| (page, Some([page as u8 + 1; 8])));
    for (page, word) in live.words(10).into_iter().enumerate() {
        let known = known.iter().find(|(known, _)| *known == page);
        assert_eq!(word, known.and_then(|(_, word)| *word), "page {page}");
    }
}

#[test]
fn words_that_are_not_whole_words_of_one_area_do_not_come_by_loads() {
    let live = Live::new(&[(1, 3), (3, 5)], &[1, 2, 3]);
    live.pages(6);
    let at = [1, 4, 4092, 4095, 2 * 4096 - 4].map(|at| VirtAddr::new(VMALLOC + 4096 + at));
    let mut words = [Some(0); 5];
    live.kernel.vread_words(&at, &mut words);
    assert_eq!(words, [None; 5]);
    // No address of any machine, and one that lies in no table.
    let at = [1 << 63, 0, u64::MAX - 7].map(VirtAddr::new);
    live.kernel.vread_words(&at, &mut words);
    assert_eq!(words, [None; 5]);
    // As many as both hold.
    live.kernel.vread_words(&[], &mut words);
    assert_eq!(words, [None; 5]);
    live.kernel.vread_words(&at, &mut []);
}

#[test]
fn sees_an_area_that_came_after_the_last_walk() {
    let live = Live::new(&[(1, 3)], &[1]);
    assert_eq!(live.pages(8), [0, 2, 0, 0, 0, 0, 0, 0]);
    live.set_areas(&[(1, 3), (4, 7)]);
    live.map(4);
    live.map(5);
    assert_eq!(live.pages(8), [0, 2, 0, 0, 5, 6, 0, 0]);
}

#[test]
fn gives_zeros_for_an_area_that_went() {
    // V16: the page table is cleared first, and decides.
    let live = Live::new(&[(1, 4)], &[1, 2]);
    assert_eq!(live.pages(5), [0, 2, 3, 0, 0]);
    live.unmap(1);
    live.unmap(2);
    assert_eq!(live.pages(5), [0; 5]);
    live.set_areas(&[]);
    assert_eq!(live.pages(5), [0; 5]);
}

#[test]
fn withholds_a_window_to_a_device_that_took_an_areas_place() {
    // R16: the range is known as an area to be read; its record stays as it was, but is unlinked, and a
    // window that maps RAM is where it was.
    let live = Live::new(&[(1, 4)], &[1, 2]);
    assert_eq!(live.pages(4), [0, 2, 3, 0]);
    let fresh = RECORDS + 0x800;
    for (place, value) in [
        (fresh, VMALLOC + 4096),
        (fresh + 8, VMALLOC + 4 * 4096),
        (fresh + LIST, DIRECT + HEAD),
        (fresh + LIST + 8, DIRECT + HEAD),
        (fresh + VM, DIRECT + fresh + 128),
        (fresh + 128 + 16, 3 * 4096),
        (fresh + 128 + VM_FLAGS, 1),
        (HEAD, DIRECT + fresh + LIST),
        (HEAD + 8, DIRECT + fresh + LIST),
        // Linux's `list_del_init`.
        (at(0) + LIST, DIRECT + at(0) + LIST),
        (at(0) + LIST + 8, DIRECT + at(0) + LIST),
    ] {
        live.put(place, value);
    }
    assert_eq!(live.pages(4), [0; 4]);
}

#[test]
fn follows_the_flags_of_an_area_that_stays() {
    // R8, R16: not yet complete, then complete, then a window.
    let live = Live::new(&[(1, 4)], &[1, 2]);
    assert_eq!(live.pages(4), [0, 2, 3, 0]);
    for (flags, expected) in [
        (0x22, [0, 0, 0, 0]),
        (2, [0, 2, 3, 0]),
        (1, [0; 4]),
        (0x1000, [0; 4]),
    ] {
        live.put(at(0) + 128 + VM_FLAGS, flags);
        assert_eq!(live.pages(4), expected, "flags {flags:#x}");
    }
}

#[test]
fn gives_zeros_for_what_is_mapped_without_an_area() {
    // R4, R17: a page between areas belongs to none.
    let live = Live::new(&[(1, 3)], &[1, 5]);
    assert_eq!(live.pages(8), [0, 2, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn fails_where_the_areas_never_hold_together() {
    // G71: the whole is gone for good, rather than silently zero.
    let live = Live::new(&[(1, 3)], &[1]);
    live.put(at(0) + LIST, DIRECT + 0x1234);
    let mut bytes = [0; 8];
    let mut segment = UserBuf::new(&mut bytes);
    let mut iter = IovIter::ubuf(&mut segment);
    let addr = VirtAddr::new(VMALLOC + 4096);
    let progress = vread_iter(&live.kernel, &mut iter, addr, ByteLen::new(8));
    assert_eq!(progress, Progress::failed(SourceFailure::Torn));
}

#[test]
fn a_short_read_crosses_into_the_next_page_and_area() {
    let live = Live::new(&[(1, 3), (3, 5)], &[1, 3]);
    live.pages(6);
    // The guard page behind the first area, and the page behind that.
    let bytes = live.short(VMALLOC + 3 * 4096 - 4, 8);
    assert_eq!(bytes, [0, 0, 0, 0, 4, 4, 4, 4]);
}

#[test]
fn a_short_read_says_what_the_buffer_refused() {
    // R3: what the reader has no room for is not delivered, and said to be so.
    let live = Live::new(&[(1, 3)], &[1]);
    live.pages(3);
    let mut bytes = [0; 4];
    let mut segment = UserBuf::new(&mut bytes);
    let mut iter = IovIter::ubuf(&mut segment);
    let addr = VirtAddr::new(VMALLOC + 4096);
    let progress = live.kernel.vread_iter(&mut iter, addr, ByteLen::new(8));
    assert_eq!(
        progress,
        Progress::copied(ByteLen::new(4)).or_dest_fault(ByteLen::new(8))
    );
    assert_eq!(bytes, [2; 4]);
}
