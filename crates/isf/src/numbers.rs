//! The numbers that everything is made of.

use std::collections::BTreeMap;

use serde::Serialize;
use vread_linux::btf::{Btf, IntEncoding, Shape, Sign};

/// `element_base_type` of the schema.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct BaseType {
    size: u32,
    signed: bool,
    kind: &'static str,
    endian: &'static str,
}

impl BaseType {
    const fn new(size: u32, signed: bool, kind: &'static str) -> Self {
        Self {
            size,
            signed,
            kind,
            endian: "little",
        }
    }
}

/// What every file must have, whether or not the kernel's types name it: what a pointer is, what it
/// points to where nothing is known, and what the values of enumerations are kept in.
const ALWAYS: [(&str, BaseType); 10] = [
    ("void", BaseType::new(0, false, "void")),
    ("pointer", BaseType::new(8, false, "int")),
    ("signed char", BaseType::new(1, true, "char")),
    ("unsigned char", BaseType::new(1, false, "char")),
    ("short int", BaseType::new(2, true, "int")),
    ("short unsigned int", BaseType::new(2, false, "int")),
    ("int", BaseType::new(4, true, "int")),
    ("unsigned int", BaseType::new(4, false, "int")),
    ("long int", BaseType::new(8, true, "int")),
    ("long unsigned int", BaseType::new(8, false, "int")),
];

/// All of them by name.
pub(crate) fn base_types(btf: &Btf) -> BTreeMap<String, BaseType> {
    let always = ALWAYS.map(|(name, base)| (name.to_owned(), base));
    let mut bases = BTreeMap::from(always);
    for (_, described) in btf.types() {
        let name = String::from_utf8_lossy(btf.text(described.name)).into_owned();
        let base = match described.shape {
            Shape::Int { size, encoding, .. } => {
                let kind = match encoding {
                    IntEncoding::Bool => "bool",
                    IntEncoding::Char => "char",
                    // BTF calls C's `char` what it is on this machine: a small signed number.
                    _ if size == 1 && name.ends_with("char") => "char",
                    _ => "int",
                };
                BaseType::new(size, encoding == IntEncoding::Signed, kind)
            }
            Shape::Float(size) => BaseType::new(size, true, "float"),
            _ => continue,
        };
        bases.entry(name).or_insert(base);
    }
    bases
}

/// The name of the number that holds the values of an enumeration.
pub(crate) fn of_enum(size: u32, sign: Sign) -> &'static str {
    match (size, sign) {
        (1, Sign::Signed) => "signed char",
        (1, Sign::Unsigned) => "unsigned char",
        (2, Sign::Signed) => "short int",
        (2, Sign::Unsigned) => "short unsigned int",
        (8, Sign::Signed) => "long int",
        (8, Sign::Unsigned) => "long unsigned int",
        (_, Sign::Signed) => "int",
        (_, Sign::Unsigned) => "unsigned int",
    }
}
