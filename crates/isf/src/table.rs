use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};
use vread_linux::{Btf, Kernel};

use crate::IsfError;
use crate::descriptor::Types;
use crate::keys::Keys;
use crate::numbers;
use crate::symbols::ImageSymbols;
use crate::types::{Enums, UserTypes};

/// The version of the format that is written.
const FORMAT: &str = "6.2.0";

/// A kernel's symbols and types, to be written as JSON.
#[derive(Debug)]
pub struct SymbolTable<'k> {
    btf: &'k Btf,
    keys: Keys,
    symbols: ImageSymbols,
}

#[derive(Serialize)]
struct Metadata {
    linux: Linux,
    producer: Producer,
    format: &'static str,
}

/// Where symbols and types come from; the format knows files only, and here is none.
#[derive(Serialize)]
struct Linux {
    symbols: [(); 0],
    types: [(); 0],
}

#[derive(Serialize)]
struct Producer {
    name: &'static str,
    version: &'static str,
}

impl<'k> SymbolTable<'k> {
    /// The table of `kernel`. Of the symbols, those have a type that BTF or the list of well-known
    /// variables ([`vread_vmlinux::known`]) gives one.
    ///
    /// # Errors
    ///
    /// [`IsfError`] where the kernel has no types, symbols, or banner.
    pub fn of(kernel: &'k Kernel) -> Result<Self, IsfError> {
        let btf = kernel.btf().ok_or(IsfError::NoTypes)?;
        Ok(Self {
            btf,
            keys: Keys::of(btf),
            symbols: ImageSymbols::of(kernel, btf)?,
        })
    }
}

impl Serialize for SymbolTable<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let types = Types {
            btf: self.btf,
            keys: &self.keys,
        };
        let metadata = Metadata {
            linux: Linux {
                symbols: [],
                types: [],
            },
            producer: Producer {
                name: "vread",
                version: env!("CARGO_PKG_VERSION"),
            },
            format: FORMAT,
        };
        let mut file = serializer.serialize_struct("SymbolTable", 5)?;
        file.serialize_field("metadata", &metadata)?;
        file.serialize_field("base_types", &numbers::base_types(self.btf))?;
        file.serialize_field("user_types", &UserTypes(types))?;
        file.serialize_field("enums", &Enums(types))?;
        file.serialize_field("symbols", &self.symbols.with(types))?;
        file.end()
    }
}
