use std::sync::Arc;

use vread_addr::{ByteLen, VirtAddr};

use super::types::{Kind, alike, closest};
use super::{Base, Expression, Step, Type, TypedError};
use crate::btf::Shape;
use crate::{Btf, Kernel, LinuxError};

/// A value of a type, where a path leads.
#[derive(Debug, Clone)]
pub struct Value {
    /// Its type.
    pub of: Type,
    /// The types that this is one of.
    pub(super) types: Arc<Btf>,
    pub(super) place: Place,
    /// The path, as far as it was followed.
    pub(super) path: String,
}

/// Where a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Memory {
        addr: VirtAddr,
        /// For a bit-field: bits before it, and its width.
        bits: Option<(u32, u32)>,
    },
    /// In the path itself: an address that was written there.
    Written(u64),
}

impl Value {
    /// Where it lies in memory; `None` for an address that the path itself has.
    #[must_use]
    pub fn address(&self) -> Option<VirtAddr> {
        match self.place {
            Place::Memory { addr, .. } => Some(addr),
            Place::Written(_) => None,
        }
    }
}

impl Kernel {
    /// Follows `path`. What it begins with is of the type `of`, if one is given; otherwise `known` is asked
    /// for the type of a symbol, as C writes it.
    ///
    /// # Errors
    ///
    /// [`TypedError`], with the part of the path that could be followed.
    pub fn evaluate(
        &self,
        path: &Expression,
        of: Option<&str>,
        known: impl Fn(&str) -> Option<&'static str>,
    ) -> Result<Value, TypedError> {
        let found = self.evaluate_by(self.need_btf()?, path, of, &known);
        let Err(TypedError::NoType { wanted, .. }) = &found else {
            return found;
        };
        let modules = self.module_types().unwrap_or_default();
        let mut modules = modules.into_iter().filter_map(|module| module.btf.ok());
        match modules.find(|btf| Type::is_own(btf, wanted)) {
            Some(btf) => self.evaluate_by(&btf, path, of, &known),
            None => found,
        }
    }

    /// As [`evaluate`](Self::evaluate), by the types of the image, or of a module too.
    fn evaluate_by(
        &self,
        btf: &Arc<Btf>,
        path: &Expression,
        of: Option<&str>,
        known: &dyn Fn(&str) -> Option<&'static str>,
    ) -> Result<Value, TypedError> {
        let of = of.map(|of| Type::parse(btf, of)).transpose()?;
        let mut value = self.begin(btf, &path.base, of, known)?;
        for step in &path.steps {
            value = self.step(btf, value, step)?;
        }
        if value.of == Type::UNTYPED {
            return Err(TypedError::NeedsType { name: value.path });
        }
        Ok(value)
    }

    fn begin(
        &self,
        btf: &Arc<Btf>,
        base: &Base,
        of: Option<Type>,
        known: &dyn Fn(&str) -> Option<&'static str>,
    ) -> Result<Value, TypedError> {
        let (addr, path, known) = match base {
            Base::Address(addr) => (*addr, addr.to_string(), None),
            Base::Symbol(name, offset) => {
                let addr = self.the_symbol(name)?;
                let moved = addr.checked_add(ByteLen::new(*offset));
                let addr = moved.ok_or(LinuxError::NotMapped { addr })?;
                match offset {
                    0 => (addr, name.clone(), known(name)),
                    offset => (addr, format!("{name}+{offset:#x}"), None),
                }
            }
        };
        // A type of our own tables that this kernel does not have is no type.
        let known = known.and_then(|known| Type::parse(btf, known).ok());
        Ok(match of.or(known) {
            Some(of) => Value {
                of,
                types: Arc::clone(btf),
                place: Place::Memory { addr, bits: None },
                path,
            },
            None => Value {
                of: Type::UNTYPED,
                types: Arc::clone(btf),
                place: Place::Written(addr.get()),
                path,
            },
        })
    }

    fn the_symbol(&self, name: &str) -> Result<VirtAddr, TypedError> {
        let found = self.find_symbol(name)?;
        match found.as_slice() {
            [] => Err(TypedError::NoSymbol {
                name: name.to_owned(),
            }),
            [addr] => Ok(*addr),
            _ => Err(TypedError::Ambiguous {
                name: name.to_owned(),
                addresses: found,
            }),
        }
    }

    fn step(&self, btf: &Btf, value: Value, step: &Step) -> Result<Value, TypedError> {
        if value.of == Type::UNTYPED && !matches!(step, Step::Cast(_)) {
            return Err(TypedError::NeedsType { name: value.path });
        }
        match step {
            Step::Member(name) => self.member(btf, value, name),
            Step::Index(index) => self.index(btf, value, *index),
            Step::Dereference => match value.of.kind(btf) {
                Kind::Pointer(to) => {
                    let path = format!("*{}", value.path);
                    self.follow(btf, value, to, path)
                }
                _ => Err(value.wrong(btf, "is no pointer")),
            },
            Step::AddressOf => match value.place {
                Place::Memory { addr, bits: None } => Ok(Value {
                    of: value.of.pointer_to(),
                    types: Arc::clone(&value.types),
                    place: Place::Written(addr.get()),
                    path: format!("&{}", value.path),
                }),
                _ => Err(value.wrong(btf, "has no address of its own")),
            },
            Step::Cast(of) => Ok(Value {
                path: format!("(({of}){})", value.path),
                of: Type::parse(btf, of)?,
                ..value
            }),
        }
    }

    fn member(&self, btf: &Btf, value: Value, name: &str) -> Result<Value, TypedError> {
        let (value, sign) = match value.of.kind(btf) {
            Kind::Pointer(to) => {
                let path = value.path.clone();
                (self.follow(btf, value, to, path)?, "->")
            }
            _ => (value, "."),
        };
        let Kind::Other(id, Shape::Composite { members, .. }) = value.of.kind(btf) else {
            return Err(value.wrong(btf, "has no members"));
        };
        let Place::Memory { addr, .. } = value.place else {
            return Err(value.wrong(btf, "is not in memory; cast it to a pointer"));
        };
        let Some(member) = btf.member_of(id, name.as_bytes()) else {
            let names = members.iter().filter_map(|member| {
                let text = std::str::from_utf8(btf.text(member.name)).ok()?;
                alike(text, name).then(|| text.to_owned())
            });
            return Err(TypedError::NoMember {
                of: value.of.name(btf),
                member: name.to_owned(),
                similar: closest(names.collect()),
            });
        };
        let path = format!("{}{sign}{name}", value.path);
        let at = addr.checked_add(ByteLen::new(member.bit_offset >> 3));
        let addr = at.ok_or(LinuxError::NotMapped { addr })?;
        let before = u32::try_from(member.bit_offset & 7).unwrap_or_default();
        Ok(Value {
            of: Type::of(member.kind),
            types: value.types,
            place: Place::Memory {
                addr,
                bits: member.bits.map(|width| (before, width)),
            },
            path,
        })
    }

    fn index(&self, btf: &Btf, value: Value, index: u64) -> Result<Value, TypedError> {
        let path = format!("{}[{index}]", value.path);
        let (element, first) = match value.of.kind(btf) {
            Kind::Array { element, .. } => (element, value.clone()),
            Kind::Pointer(to) => (to, self.follow(btf, value.clone(), to, path.clone())?),
            _ => return Err(value.wrong(btf, "is neither an array nor a pointer")),
        };
        let Place::Memory { addr, .. } = first.place else {
            return Err(value.wrong(btf, "is not in memory; cast it to a pointer"));
        };
        let size = element.size(btf);
        let size = size.ok_or_else(|| value.wrong(btf, "has elements without a size"))?;
        let at = ByteLen::new(size)
            .checked_mul(index)
            .and_then(|into| addr.checked_add(into));
        Ok(Value {
            of: element,
            types: value.types,
            place: Place::Memory {
                addr: at.ok_or(LinuxError::NotMapped { addr })?,
                bits: None,
            },
            path,
        })
    }

    /// What the pointer `value` leads to.
    fn follow(&self, btf: &Btf, value: Value, to: Type, path: String) -> Result<Value, TypedError> {
        let bytes = self.bytes_of(btf, &value)?;
        let addr = VirtAddr::new(crate::record::little_endian(&bytes));
        if addr.get() == 0 {
            return Err(TypedError::Null { path: value.path });
        }
        Ok(Value {
            of: to,
            types: value.types,
            place: Place::Memory { addr, bits: None },
            path,
        })
    }
}

impl Value {
    fn wrong(&self, btf: &Btf, why: &'static str) -> TypedError {
        TypedError::WrongStep {
            path: self.path.clone(),
            of: self.of.name(btf),
            why,
        }
    }
}

impl Type {
    /// What a bare address or a symbol without a known type is.
    pub(super) const UNTYPED: Self = Self {
        id: None,
        pointers: 0,
        elements: None,
    };
}
