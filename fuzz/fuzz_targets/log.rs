//! printk's ring buffer of any content (G63, G73).
#![no_main]
#![forbid(unsafe_code)]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use vread_addr::VirtAddr;
use vread_fuzz::{Change, Ram};
use vread_linux::fuzzing;

const AT: VirtAddr = VirtAddr::new(0xffff_8880_0000_0000);
/// The pointer to the ring, the ring, and what it is made of.
const POINTER: u64 = 0x6000;
const RING: u64 = 0x6040;
const DESCS: u64 = 0x8000;
const INFOS: u64 = 0x9000;
const DATA: u64 = 0xa000;
/// 16 descriptors, 4 KiB of text; the first records have been overwritten.
const COUNT_BITS: u64 = 4;
const SIZE_BITS: u64 = 12;
const FIRST: u64 = 20;
const RECORDS: u64 = 12;
const FINALIZED: u64 = 2 << 62;

thread_local! {
    static RAM: RefCell<Ram> = RefCell::new(ram());
}

fn ram() -> Ram {
    let mut ram = Ram::mapped_at(AT);
    ram.set_pointer(POINTER, RING);
    ram.set(RING, COUNT_BITS);
    ram.set_pointer(RING + 8, DESCS);
    ram.set_pointer(RING + 16, INFOS);
    ram.set(RING + 24, FIRST + RECORDS - 1);
    ram.set(RING + 32, FIRST);
    ram.set(RING + 48, SIZE_BITS);
    ram.set_pointer(RING + 56, DATA);
    for index in 0..RECORDS {
        let id = FIRST + index;
        let slot = id % (1 << COUNT_BITS);
        let (begin, next) = (4096 + index * 128, 4096 + index * 128 + 64);
        ram.set(DESCS + slot * 24, FINALIZED | id);
        ram.set(DESCS + slot * 24 + 8, begin);
        ram.set(DESCS + slot * 24 + 16, next);
        let info = INFOS + slot * 88;
        let text = format!("record {index}");
        ram.set(info, id);
        ram.set(info + 8, index * 1_000_000);
        ram.set(info + 16, text.len() as u64 | 0xc0 << 24);
        ram.put(info + 24, b"usb\0");
        ram.set(DATA + begin % 4096, id);
        ram.put(DATA + begin % 4096 + 8, text.as_bytes());
    }
    ram
}

fuzz_target!(|changes: Vec<Change>| {
    RAM.with_borrow_mut(|ram| {
        ram.change(&changes);
        let Ok(log) = fuzzing::log(&ram.mem, ram.table(), ram.virt(POINTER)) else {
            assert!(!changes.is_empty());
            return;
        };
        if changes.is_empty() {
            assert_eq!(log.records.len() as u64, RECORDS);
            assert!(
                log.records
                    .iter()
                    .all(|record| record.text.starts_with("record "))
            );
            assert_eq!((log.lost, log.unfinished, log.torn.len()), (0, 0, 0));
        }
        assert!(log.torn.len() <= 64);
        for record in &log.records {
            // Each byte that is no text takes three.
            assert!(record.text.len() <= 3 * 65_535);
            let lines = log.syslog(record).to_string();
            assert!(lines.ends_with('\n'));
        }
    });
});
