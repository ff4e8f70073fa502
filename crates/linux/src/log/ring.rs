use vread_addr::{ByteLen, VirtAddr};

use super::{Log, LogCaller, LogLayout, LogRecord, RecordEnd};
use crate::LinuxError;
use crate::fields::{u16_at, u32_at, u64_at, until_nul};
use crate::virt_mem::VirtMem;

/// The most bits of the number of descriptors, and of the size of the text ring (G73).
const MAX_COUNT_BITS: u32 = 24;
const MAX_SIZE_BITS: u32 = 30;
/// The most records read: those of a text ring of 8 MiB, at 32 bytes each as the kernel counts.
const MAX_RECORDS: u64 = 1 << 18;
/// The most bytes of text of all records together.
const MAX_TEXT: usize = 64 << 20;
/// The most torn records whose addresses are kept.
const MAX_TORN: usize = 64;
/// How often a record is read anew that changed meanwhile (G71).
const MAX_TRIES: u32 = 3;

/// The state of a descriptor, in the two highest bits of its word.
const COMMITTED: u64 = 1;
const FINALIZED: u64 = 2;
const RESERVED: u64 = 0;
/// The bits of a descriptor's number.
const ID_BITS: u64 = (1 << 62) - 1;
/// Positions without text: lost, or an empty line.
const NO_DATA: u64 = 1;
/// The number of its descriptor stands before a record's text.
const BLOCK_HEADER: u64 = 8;

/// The ring's own words, copied once.
struct Ring<'l> {
    layout: &'l LogLayout,
    count_mask: u64,
    descs: VirtAddr,
    infos: VirtAddr,
    size_bits: u32,
    data: VirtAddr,
}

/// What became of a record.
enum Found {
    Record(LogRecord),
    /// It has lost its text, or is gone altogether.
    Lost,
    Unfinished,
    /// There is none.
    Nothing,
    /// It contradicts itself, there.
    Torn(VirtAddr),
}

/// Where a record's text lies.
enum Text {
    At { index: u64, len: u64 },
    Empty,
    Lost,
    Illegal,
}

/// Reads the ring that the pointer at `prb` leads to.
pub(crate) fn read_log(
    virt: VirtMem<'_>,
    layout: &LogLayout,
    prb: VirtAddr,
) -> Result<Log, LinuxError> {
    let at = virt.read_pointer(prb)?;
    let bytes = virt.read_vec(at, layout.ring_len)?;
    let malformed = |why| LinuxError::Malformed {
        what: "printk's ring buffer",
        at,
        why,
    };
    let short = malformed("it is shorter than its members");
    let in_descs = |member: usize| layout.desc_ring.saturating_add(member);
    let in_text = |member: usize| layout.text_ring.saturating_add(member);
    let u32_of = |member| u32_at(&bytes, member).ok_or(short.clone());
    let u64_of = |member| u64_at(&bytes, member).ok_or(short.clone());
    let count_bits = u32_of(in_descs(layout.count_bits))?;
    let size_bits = u32_of(in_text(layout.size_bits))?;
    if count_bits > MAX_COUNT_BITS || size_bits > MAX_SIZE_BITS {
        return Err(malformed("it is larger than any kernel's"));
    }
    let ring = Ring {
        layout,
        count_mask: ByteLen::new(1 << count_bits).low_mask(),
        descs: VirtAddr::new(u64_of(in_descs(layout.descs))?),
        infos: VirtAddr::new(u64_of(in_descs(layout.infos))?),
        size_bits,
        data: VirtAddr::new(u64_of(in_text(layout.data))?),
    };
    let tail = u64_of(in_descs(layout.tail_id))? & ID_BITS;
    let head = u64_of(in_descs(layout.head_id))? & ID_BITS;
    // WRAP: numbers of descriptors wrap in 62 bits.
    let behind = head.wrapping_sub(tail) & ID_BITS;
    if behind > ring.count_mask {
        return Err(malformed("its head and its tail are too far apart"));
    }
    let mut log = Log::default();
    let mut text_left = MAX_TEXT;
    for step in 0..=behind {
        if step >= MAX_RECORDS {
            return Err(LinuxError::TooMany {
                what: "records of the kernel's log",
                at,
                limit: usize::try_from(MAX_RECORDS).unwrap_or(usize::MAX),
            });
        }
        let id = tail.wrapping_add(step) & ID_BITS;
        match ring.read_record(virt, id)? {
            Found::Record(record) => {
                text_left =
                    text_left
                        .checked_sub(record.text.len())
                        .ok_or(LinuxError::TooMany {
                            what: "bytes of the kernel's log",
                            at,
                            limit: MAX_TEXT,
                        })?;
                log.records.push(record);
            }
            Found::Lost => log.lost = log.lost.saturating_add(1),
            Found::Unfinished => log.unfinished = log.unfinished.saturating_add(1),
            Found::Torn(at) if log.torn.len() < MAX_TORN => log.torn.push(at),
            Found::Torn(_) | Found::Nothing => {}
        }
    }
    Ok(log)
}

impl Ring<'_> {
    fn read_record(&self, virt: VirtMem<'_>, id: u64) -> Result<Found, LinuxError> {
        let index = id & self.count_mask;
        let desc_at = element(self.descs, index, self.layout.desc_len);
        let mut found = Found::Torn(desc_at);
        for _ in 0..MAX_TRIES {
            let desc = virt.read_vec(desc_at, self.layout.desc_len)?;
            let word = |at| u64_at(&desc, at).unwrap_or_default();
            let state_var = word(self.layout.state_var);
            let state = state_var >> 62;
            if state_var & ID_BITS != id {
                // The descriptor serves another record by now, or none yet.
                return Ok(Found::Lost);
            }
            let end = match state {
                RESERVED => return Ok(Found::Unfinished),
                COMMITTED => RecordEnd::Open,
                FINALIZED => RecordEnd::Final,
                // Free for a new one.
                _ => return Ok(Found::Nothing),
            };
            let text = self.place(word(self.layout.begin), word(self.layout.next));
            found = self.read_content(virt, id, desc_at, text, end)?;
            // Only what the state did not change under is fact (G71).
            let state_at = desc_at.wrapping_add(ByteLen::from_usize(self.layout.state_var)); // WRAP: it was read
            let settled = virt.read_u64(state_at)? == state_var;
            if settled && !matches!(found, Found::Torn(_)) {
                break;
            }
        }
        Ok(found)
    }

    fn read_content(
        &self,
        virt: VirtMem<'_>,
        id: u64,
        desc_at: VirtAddr,
        text: Text,
        end: RecordEnd,
    ) -> Result<Found, LinuxError> {
        let (index, len) = match text {
            Text::Lost => return Ok(Found::Lost),
            Text::Illegal => return Ok(Found::Torn(desc_at)),
            Text::Empty => (0, 0),
            Text::At { index, len } => (index, len),
        };
        let info_at = element(self.infos, id & self.count_mask, self.layout.info_len);
        let info = virt.read_vec(info_at, self.layout.info_len)?;
        let text_len = u16_at(&info, self.layout.text_len).unwrap_or_default();
        let block_at = element(self.data, index, 1);
        let text = match len.checked_sub(BLOCK_HEADER) {
            None => Vec::new(),
            Some(room) => {
                // At most 64 KiB.
                let len = usize::from(text_len).min(ByteLen::new(room).to_usize_clamped());
                if virt.read_u64(block_at)? != id {
                    return Ok(Found::Torn(block_at));
                }
                virt.read_vec(element(block_at, BLOCK_HEADER, 1), len)?
            }
        };
        let byte = |at: usize| info.get(at).copied().unwrap_or_default();
        let field = |range: &std::ops::Range<usize>| {
            let bytes = info.get(range.clone()).unwrap_or_default();
            String::from_utf8_lossy(until_nul(bytes)).into_owned()
        };
        Ok(Found::Record(LogRecord {
            seq: u64_at(&info, self.layout.seq).unwrap_or_default(),
            time_ns: u64_at(&info, self.layout.ts_nsec).unwrap_or_default(),
            level: byte(self.layout.flags_and_level) >> 5,
            facility: byte(self.layout.facility),
            caller: LogCaller::from_id(u32_at(&info, self.layout.caller_id).unwrap_or_default()),
            device: (field(&self.layout.subsystem), field(&self.layout.device)),
            text: String::from_utf8_lossy(&text).into_owned(),
            end,
        }))
    }

    /// Where the block between two logical positions lies.
    fn place(&self, begin: u64, next: u64) -> Text {
        if begin & 1 == 1 && next & 1 == 1 {
            return match begin == NO_DATA && next == NO_DATA {
                true => Text::Lost,
                false => Text::Empty,
            };
        }
        if !begin.is_multiple_of(8) || !next.is_multiple_of(8) || begin == next {
            return Text::Illegal;
        }
        let mask = ByteLen::new(1 << self.size_bits).low_mask();
        let wrap = |position: u64| position >> self.size_bits;
        // WRAP: logical positions wrap in 64 bits.
        let (last, size) = (next.wrapping_sub(1), next.wrapping_sub(begin));
        if size > mask.saturating_add(1) {
            return Text::Illegal;
        }
        if wrap(begin) == wrap(last) {
            return Text::At {
                index: begin & mask,
                len: size,
            };
        }
        // WRAP: as above. A block that does not fit before the end lies at the start.
        match wrap(begin.wrapping_add(mask).wrapping_add(1)) == wrap(last) {
            true => Text::At {
                index: 0,
                len: next & mask,
            },
            false => Text::Illegal,
        }
    }
}

/// Where element `index` of an array lies. An array that wraps leads to an address that is not mapped, or is
/// some other of the kernel's: what is read there is checked.
fn element(array: VirtAddr, index: u64, len: usize) -> VirtAddr {
    let len = u64::try_from(len).unwrap_or_default();
    // WRAP: see above.
    array.wrapping_add(ByteLen::new(index.wrapping_mul(len)))
}

#[cfg(test)]
mod tests;
