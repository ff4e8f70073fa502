//! The section `symbols`.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use vread_addr::VirtAddr;
use vread_linux::{Btf, Kernel};

use crate::IsfError;
use crate::descriptor::{Descriptor, Types};
use crate::variables::Variables;

/// Where the kernel's image begins before it is moved (`__START_KERNEL_map` of x86_64). Everything
/// below is a number or an offset that does not move.
const START_KERNEL_MAP: VirtAddr = VirtAddr::new(0xffff_ffff_8000_0000);

/// By this symbol's content Volatility knows which image a table is of.
const BANNER: &str = "linux_banner";

/// Symbols of the image, at link-time addresses: Volatility finds out by itself how far the kernel of
/// an image was moved, and reads the symbols of modules there.
#[derive(Debug)]
pub(crate) struct ImageSymbols {
    addresses: BTreeMap<String, u64>,
    variables: Variables,
    banner: String,
}

impl ImageSymbols {
    pub(crate) fn of(kernel: &Kernel, btf: &Btf) -> Result<Self, IsfError> {
        let needs = |what| move |source| IsfError::Kernel { what, source };
        let banner = kernel.version().map_err(needs("the kernel's banner"))?;
        let symbols = kernel.symbols().map_err(needs("the kernel's symbols"))?;
        let shift = kernel.kaslr_offset();
        let mut addresses: BTreeMap<String, (bool, u64)> = BTreeMap::new();
        for symbol in symbols.iter().filter(|symbol| symbol.module.is_none()) {
            let linked = match symbol.addr >= START_KERNEL_MAP {
                // WRAP: a forged distance gives forged addresses, and nothing else.
                true => symbol.addr.get().wrapping_sub(shift.get()),
                false => symbol.addr.get(),
            };
            // Of several symbols of one name, the one that others may refer to.
            let is_global = symbol.letter.is_ascii_uppercase();
            let known = addresses.entry(symbol.name).or_insert((is_global, linked));
            if is_global && !known.0 {
                *known = (is_global, linked);
            }
        }
        let addresses = addresses.into_iter();
        Ok(Self {
            addresses: addresses.map(|(name, (_, at))| (name, at)).collect(),
            variables: Variables::of(btf, kernel.release()),
            banner,
        })
    }

    pub(crate) fn with<'t>(&'t self, types: Types<'t>) -> impl Serialize + 't {
        SymbolMap {
            symbols: self,
            types,
        }
    }
}

struct SymbolMap<'t> {
    symbols: &'t ImageSymbols,
    types: Types<'t>,
}

#[derive(Serialize)]
struct IsfSymbol<'t> {
    address: u64,
    /// `void` where nothing is known: Volatility refuses to look at a symbol without a type.
    #[serde(rename = "type")]
    of: Descriptor<'t>,
    #[serde(skip_serializing_if = "Option::is_none")]
    constant_data: Option<String>,
}

impl Serialize for SymbolMap<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let symbols = self.symbols;
        let mut starts: Vec<u64> = symbols.addresses.values().copied().collect();
        starts.sort_unstable();
        let mut map = serializer.serialize_map(Some(symbols.addresses.len()))?;
        for (name, address) in &symbols.addresses {
            let next = starts.get(starts.partition_point(|start| start <= address));
            let room = next.and_then(|next| next.checked_sub(*address));
            let mut symbol = IsfSymbol {
                address: *address,
                of: symbols
                    .variables
                    .descriptor(name, room, self.types)
                    .unwrap_or(Descriptor::VOID),
                constant_data: None,
            };
            if name == BANNER {
                // With the NUL that ends it in memory.
                let mut content = symbols.banner.clone().into_bytes();
                content.push(0);
                symbol.of = Descriptor::Array {
                    count: u32::try_from(content.len()).unwrap_or_default(),
                    subtype: Box::new(Descriptor::Base { name: "char" }),
                };
                symbol.constant_data = Some(STANDARD.encode(content));
            }
            map.serialize_entry(name, &symbol)?;
        }
        map.end()
    }
}
