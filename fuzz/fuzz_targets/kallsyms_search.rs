//! The search for kallsyms' tables in an image of any content (G30, G31).
#![no_main]
#![forbid(unsafe_code)]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use vread_addr::ByteLen;
use vread_fuzz::{Change, Ram};
use vread_linux::fuzzing::{self, IMAGE};

/// Where the image lies, and how many symbols it has.
const AT: u64 = 0x6000;
const COUNT: usize = 600;
/// How far it is searched: changed page tables may map ever more.
const MAX_LEN: ByteLen = ByteLen::new(1 << 20);

thread_local! {
    static RAM: RefCell<Ram> = RefCell::new(ram());
}

fn ram() -> Ram {
    let mut ram = Ram::mapped_at(IMAGE);
    let image = fuzzing::kallsyms_image(COUNT, 0x400, ram.virt(AT));
    ram.put(AT, &image);
    ram
}

fuzz_target!(|changes: Vec<Change>| {
    RAM.with_borrow_mut(|ram| {
        ram.change(&changes);
        match fuzzing::kallsyms_search(&ram.mem, ram.table(), ram.virt(AT), MAX_LEN) {
            Ok(kallsyms) => {
                assert!(!kallsyms.is_empty());
                assert!(kallsyms.find("_stext").is_some());
                assert!(!changes.is_empty() || kallsyms.len() == COUNT);
            }
            Err(_) => assert!(!changes.is_empty()),
        }
    });
});
