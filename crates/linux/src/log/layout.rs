use std::ops::Range;

use crate::{Btf, LinuxError, VmCoreInfo};

/// The most bytes of a descriptor or an info record.
const MAX_RECORD_LEN: usize = 256;

/// Where the parts of printk's ring buffer lie: bytes from the start of each struct, from VMCOREINFO, which
/// has them for this very purpose.
#[derive(Debug, Clone)]
pub(crate) struct LogLayout {
    /// `printk_ringbuffer`.
    pub(super) desc_ring: usize,
    pub(super) text_ring: usize,
    pub(super) ring_len: usize,
    /// `prb_desc_ring`.
    pub(super) count_bits: usize,
    pub(super) descs: usize,
    pub(super) infos: usize,
    pub(super) head_id: usize,
    pub(super) tail_id: usize,
    /// `prb_desc`.
    pub(super) desc_len: usize,
    pub(super) state_var: usize,
    pub(super) begin: usize,
    pub(super) next: usize,
    /// `prb_data_ring`.
    pub(super) size_bits: usize,
    pub(super) data: usize,
    /// `printk_info`.
    pub(super) info_len: usize,
    pub(super) seq: usize,
    pub(super) ts_nsec: usize,
    pub(super) text_len: usize,
    pub(super) facility: usize,
    /// Five bits of flags, and the level above them.
    pub(super) flags_and_level: usize,
    pub(super) caller_id: usize,
    pub(super) subsystem: Range<usize>,
    pub(super) device: Range<usize>,
}

impl LogLayout {
    /// That of 6.12, for memory that is made up.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) const fn of_6_12() -> Self {
        Self {
            desc_ring: 0,
            text_ring: 48,
            ring_len: 88,
            count_bits: 0,
            descs: 8,
            infos: 16,
            head_id: 24,
            tail_id: 32,
            desc_len: 24,
            state_var: 0,
            begin: 8,
            next: 16,
            size_bits: 0,
            data: 8,
            info_len: 88,
            seq: 0,
            ts_nsec: 8,
            text_len: 16,
            facility: 18,
            flags_and_level: 19,
            caller_id: 20,
            subsystem: 24..40,
            device: 40..88,
        }
    }

    pub(crate) fn new(info: &VmCoreInfo, btf: Option<&Btf>) -> Result<Self, LinuxError> {
        let size = |name: &'static str| {
            let len = info.size(name).and_then(|len| len.to_usize());
            len.filter(|len| *len <= MAX_RECORD_LEN)
                .ok_or(LinuxError::NoKey { key: name })
        };
        let offset = |name: &'static str| {
            let at = info.offset(name).and_then(|at| at.to_usize());
            at.filter(|at| *at < MAX_RECORD_LEN)
                .ok_or(LinuxError::NoKey { key: name })
        };
        let after = |at: usize, len: usize| at.saturating_add(len);
        let text_len = offset("printk_info.text_len")?;
        let dev_info = offset("printk_info.dev_info")?;
        let subsystem = after(dev_info, offset("dev_printk_info.subsystem")?);
        let device = after(dev_info, offset("dev_printk_info.device")?);
        let dev_end = after(dev_info, size("dev_printk_info")?);
        let positions = offset("prb_desc.text_blk_lpos")?;
        // The two that VMCOREINFO leaves out follow the length of the text.
        let facility = btf
            .and_then(|btf| btf.offset_of("printk_info.facility"))
            .and_then(|at| at.to_usize())
            .unwrap_or(after(text_len, 2));
        Ok(Self {
            desc_ring: offset("printk_ringbuffer.desc_ring")?,
            text_ring: offset("printk_ringbuffer.text_data_ring")?,
            ring_len: size("printk_ringbuffer")?,
            count_bits: offset("prb_desc_ring.count_bits")?,
            descs: offset("prb_desc_ring.descs")?,
            infos: offset("prb_desc_ring.infos")?,
            head_id: offset("prb_desc_ring.head_id")?,
            tail_id: offset("prb_desc_ring.tail_id")?,
            desc_len: size("prb_desc")?,
            state_var: offset("prb_desc.state_var")?,
            begin: after(positions, offset("prb_data_blk_lpos.begin")?),
            next: after(positions, offset("prb_data_blk_lpos.next")?),
            size_bits: offset("prb_data_ring.size_bits")?,
            data: offset("prb_data_ring.data")?,
            info_len: size("printk_info")?,
            seq: offset("printk_info.seq")?,
            ts_nsec: offset("printk_info.ts_nsec")?,
            text_len,
            facility,
            flags_and_level: after(facility, 1),
            caller_id: offset("printk_info.caller_id")?,
            subsystem: subsystem..device,
            device: device..dev_end,
        })
    }
}
