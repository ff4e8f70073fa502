use vread_addr::{ByteLen, VirtAddr};

use super::decode::{MAX_NAMES_LEN, MAX_SYMBOLS, RawAddresses, RawTables};
use super::tokens::TOKEN_INDEX_LEN;
use super::{Kallsyms, search};
use crate::image::MAX_IMAGE_LEN;
use crate::virt_mem::VirtMem;
use crate::{LinuxError, VmCoreInfo};

/// The most bytes of `kallsyms_token_table`: positions in it have 16 bits.
pub(super) const MAX_TOKEN_TABLE_LEN: usize = 1 << 16;

/// Where the tables lie.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places {
    pub(super) num_syms: VirtAddr,
    pub(super) names: VirtAddr,
    pub(super) token_table: VirtAddr,
    pub(super) token_index: VirtAddr,
    pub(super) addresses: AddressPlaces,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum AddressPlaces {
    /// `kallsyms_addresses`.
    Absolute(VirtAddr),
    /// `kallsyms_offsets`, and where it is, the address of `kallsyms_relative_base`.
    Relative(VirtAddr, Option<VirtAddr>),
}

/// Reads and decodes the symbol table: its places come from VMCOREINFO since 6.1, and from a search
/// of the image's read-only data before (G28, G30).
pub(crate) fn read_kallsyms(virt: VirtMem<'_>, info: &VmCoreInfo) -> Result<Kallsyms, LinuxError> {
    let stext = info.symbol("_stext").ok_or(LinuxError::NoKey {
        key: "SYMBOL(_stext)",
    })?;
    match Places::from_vmcoreinfo(info) {
        Some(places) => Kallsyms::decode(places.read(virt)?, stext),
        None => search::search(virt, stext, MAX_IMAGE_LEN),
    }
}

impl Places {
    fn from_vmcoreinfo(info: &VmCoreInfo) -> Option<Self> {
        let addresses = match info.symbol("kallsyms_offsets") {
            Some(offsets) => {
                AddressPlaces::Relative(offsets, info.symbol("kallsyms_relative_base"))
            }
            None => AddressPlaces::Absolute(info.symbol("kallsyms_addresses")?),
        };
        Some(Self {
            num_syms: info.symbol("kallsyms_num_syms")?,
            names: info.symbol("kallsyms_names")?,
            token_table: info.symbol("kallsyms_token_table")?,
            token_index: info.symbol("kallsyms_token_index")?,
            addresses,
        })
    }

    /// Copies the tables out.
    pub(super) fn read(&self, virt: VirtMem<'_>) -> Result<RawTables, LinuxError> {
        let malformed = |at, why| LinuxError::Malformed {
            what: "kallsyms",
            at,
            why,
        };
        let num_syms = virt.read_u32(self.num_syms)?;
        if num_syms > MAX_SYMBOLS {
            return Err(malformed(self.num_syms, "more symbols than any kernel has"));
        }
        // Between the names and the token table lie the markers, in every known order (G21).
        let len = |from: VirtAddr, to: VirtAddr, limit: usize, why| {
            let len = to.checked_offset_from(from).and_then(ByteLen::to_usize);
            len.filter(|len| *len <= limit).ok_or(malformed(from, why))
        };
        let why = "the names are not followed by the token table within the limit";
        let names_len = len(self.names, self.token_table, MAX_NAMES_LEN, why)?;
        let why = "the token table is not followed by the token index within the limit";
        let table_len = len(self.token_table, self.token_index, MAX_TOKEN_TABLE_LEN, why)?;
        let count = usize::try_from(num_syms).unwrap_or(usize::MAX);
        let addresses = match self.addresses {
            AddressPlaces::Absolute(at) => {
                RawAddresses::Absolute(virt.read_vec(at, count.saturating_mul(8))?)
            }
            AddressPlaces::Relative(at, base) => RawAddresses::Relative {
                offsets: virt.read_vec(at, count.saturating_mul(4))?,
                at,
                base: base.map(|base| virt.read_pointer(base)).transpose()?,
            },
        };
        Ok(RawTables {
            num_syms,
            names_at: self.names,
            names: virt.read_vec(self.names, names_len)?,
            token_table: virt.read_vec(self.token_table, table_len)?,
            token_index: virt.read_vec(self.token_index, TOKEN_INDEX_LEN)?,
            addresses,
        })
    }
}
