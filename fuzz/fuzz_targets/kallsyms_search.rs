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
    let image = image(ram.virt(AT).get());
    ram.put(AT, &image);
    ram
}

/// 5.10's tables, in its order.
fn image(stext: u64) -> Vec<u8> {
    let mut image = vec![0xee; 0x400];
    for symbol in 0..COUNT {
        image.extend_from_slice(&(-1 - 16 * symbol as i32).to_le_bytes());
    }
    image.resize(image.len().next_multiple_of(8), 0);
    image.extend_from_slice(&stext.to_le_bytes());
    image.extend_from_slice(&(COUNT as u64).to_le_bytes());
    let (names, mut markers) = (image.len(), Vec::new());
    for symbol in 0..COUNT {
        if symbol % 256 == 0 {
            markers.extend_from_slice(&((image.len() - names) as u32).to_le_bytes());
        }
        let name = match symbol {
            0 => "T_stext".to_owned(),
            _ => format!("ts{symbol}"),
        };
        image.push(name.len() as u8);
        image.extend_from_slice(name.as_bytes());
    }
    image.resize(image.len().next_multiple_of(8), 0);
    image.extend_from_slice(&markers);
    image.resize(image.len().next_multiple_of(8), 0);
    let (table, mut index) = (image.len(), Vec::new());
    for token in 0..=255_u8 {
        index.extend_from_slice(&((image.len() - table) as u16).to_le_bytes());
        match token {
            0 => image.extend_from_slice(b"__"),
            _ => image.push(token),
        }
        image.push(0);
    }
    image.resize(image.len().next_multiple_of(8), 0);
    image.extend_from_slice(&index);
    image
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
