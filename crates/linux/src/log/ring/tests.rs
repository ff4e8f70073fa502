use super::*;
use crate::forged::{ForgedRam, virt};

const AT: u64 = 0xffff_8880_0000_0000;
const DESCS: u64 = 0x1000;
const INFOS: u64 = 0x2000;
const DATA: u64 = 0x3000;
const COUNT: u64 = 8;
const RAM: u64 = 0x8000;

/// A ring of 8 descriptors and 256 bytes of text.
struct Forged {
    ram: ForgedRam,
}

impl Forged {
    fn new(tail: u64, head: u64) -> Self {
        let mut ram = ForgedRam::new(16);
        for page in 0..4 {
            ram.map(AT + page * 0x1000, RAM + page * 0x1000);
        }
        ram.put_u64(RAM, AT + 0x100);
        let ring = RAM + 0x100;
        ram.put_u64(ring, COUNT.trailing_zeros().into());
        ram.put_u64(ring + 8, AT + DESCS);
        ram.put_u64(ring + 16, AT + INFOS);
        ram.put_u64(ring + 24, head);
        ram.put_u64(ring + 32, tail);
        ram.put_u64(ring + 48, 8);
        ram.put_u64(ring + 56, AT + DATA);
        Self { ram }
    }

    fn record(&mut self, id: u64, state: u64, begin: u64, next: u64, text: &str) {
        let desc = RAM + DESCS + id % COUNT * 24;
        self.ram.put_u64(desc, state << 62 | id);
        self.ram.put_u64(desc + 8, begin);
        self.ram.put_u64(desc + 16, next);
        let info = RAM + INFOS + id % COUNT * 88;
        self.ram.put_u64(info, id);
        self.ram.put_u64(info + 8, id * 1_000_000_000);
        let len = u64::try_from(text.len()).unwrap();
        self.ram
            .put_u64(info + 16, len | 3 << 16 | (5 << 5 | 1) << 24 | 42 << 32);
        self.ram.put(info + 24, b"pci\0");
        if begin & 1 == 0 {
            let index = if begin >> 8 == (next - 1) >> 8 {
                begin & 0xff
            } else {
                0
            };
            self.ram.put_u64(RAM + DATA + index, id);
            self.ram.put(RAM + DATA + index + 8, text.as_bytes());
        }
    }

    fn read(&self) -> Result<Log, LinuxError> {
        read_log(
            virt(&self.ram.open()),
            &LogLayout::of_6_12(),
            VirtAddr::new(AT),
        )
    }
}

#[test]
fn reads_records_in_every_state_and_place() {
    // G63: finalized, committed, reserved, reusable, without data, empty, around the end of the ring.
    let mut forged = Forged::new(3, 9);
    forged.record(3, FINALIZED, 0x140, 0x158, "first");
    forged.record(4, RESERVED, 0x118, 0x130, "");
    forged.record(5, 3, 0x118, 0x130, "");
    forged.record(6, FINALIZED, 1, 1, "");
    forged.record(7, FINALIZED, 3, 3, "");
    forged.record(8, FINALIZED, 0x1f0, 0x220, "around the end");
    forged.record(9, COMMITTED, 0x230, 0x248, "last");
    let log = forged.read().unwrap();
    let texts: Vec<&str> = log.records.iter().map(|r| r.text.as_str()).collect();
    assert_eq!(texts, ["first", "", "around the end", "last"]);
    assert_eq!((log.lost, log.unfinished, log.torn.len()), (1, 1, 0));
    assert_eq!(log.records[2].end, RecordEnd::Final);
    assert_eq!(log.records[3].end, RecordEnd::Open);
    let first = &log.records[0];
    assert_eq!((first.seq, first.time_ns), (3, 3_000_000_000));
    assert_eq!((first.facility, first.level), (3, 5));
    assert_eq!(first.caller, LogCaller::Thread(42));
    assert_eq!(first.device, ("pci".to_owned(), String::new()));
}

#[test]
fn takes_a_text_no_longer_than_its_block() {
    let mut forged = Forged::new(1, 1);
    forged.record(1, FINALIZED, 0x10, 0x20, "sixteen bytes of");
    assert_eq!(forged.read().unwrap().records[0].text, "sixteen ");
}

#[test]
fn tells_where_a_record_contradicts_itself() {
    // G71, G73: unaligned, overlong and empty blocks, and a block of another record.
    for (begin, next) in [
        (0x104, 0x118),
        (0x100, 0x250),
        (0x100, 0x100),
        (0x100, 0x320),
    ] {
        let mut forged = Forged::new(1, 1);
        forged.record(1, FINALIZED, begin, next, "x");
        let log = forged.read().unwrap();
        assert_eq!(log.records, [], "{begin:#x} {next:#x}");
        assert_eq!(log.torn, [VirtAddr::new(AT + DESCS + 24)]);
    }
    let mut forged = Forged::new(1, 1);
    forged.record(1, FINALIZED, 0x10, 0x28, "x");
    forged.ram.put_u64(RAM + DATA + 0x10, 2);
    assert_eq!(
        forged.read().unwrap().torn,
        [VirtAddr::new(AT + DATA + 0x10)]
    );
}

#[test]
fn numbers_wrap() {
    // Ids wrap in 62 bits.
    let mut forged = Forged::new(ID_BITS, 0);
    forged.record(0, FINALIZED, 0x18, 0x30, "second");
    let desc = RAM + DESCS + 7 * 24;
    forged.ram.put_u64(desc, FINALIZED << 62 | ID_BITS);
    forged.ram.put_u64(desc + 8, 3);
    forged.ram.put_u64(desc + 16, 3);
    let log = forged.read().unwrap();
    assert_eq!(log.records.len(), 2);
    assert_eq!(log.records[1].text, "second");
}

#[test]
fn refuses_a_ring_that_no_kernel_has() {
    // G73.
    for (at, value) in [(0x100, 25), (0x130, 31), (0x118, 100)] {
        let mut forged = Forged::new(1, 1);
        forged.ram.put_u64(RAM + at, value);
        assert!(
            matches!(forged.read(), Err(LinuxError::Malformed { .. })),
            "{at:#x}"
        );
    }
    let mut forged = Forged::new(1, 1);
    forged.ram.put_u64(RAM + 0x108, 0x10);
    assert!(matches!(forged.read(), Err(LinuxError::NotMapped { .. })));
}
