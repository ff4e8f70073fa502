//! How a member or a symbol says of which type it is.

use serde::Serialize;
use vread_linux::btf::{Btf, CompositeKind, Shape, TypeId};

use crate::keys::Keys;

/// How many pointers, arrays, `typedef`s and qualifiers may stand before a type with a name. What is
/// deeper is shown as `void`.
const MAX_CHAIN: usize = 64;

/// `type_descriptor` of the schema.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(crate) enum Descriptor<'t> {
    Base {
        name: &'t str,
    },
    Struct {
        name: &'t str,
    },
    Union {
        name: &'t str,
    },
    Enum {
        name: &'t str,
    },
    Function,
    Pointer {
        subtype: Box<Self>,
    },
    Array {
        count: u32,
        subtype: Box<Self>,
    },
    Bitfield {
        bit_position: u32,
        bit_length: u8,
        #[serde(rename = "type")]
        of: Box<Self>,
    },
}

/// What stands before a type with a name.
enum Step {
    Pointer,
    Array(u32),
}

/// Types and their names in the file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Types<'t> {
    pub(crate) btf: &'t Btf,
    pub(crate) keys: &'t Keys,
}

impl<'t> Types<'t> {
    /// The descriptor of type `id`. `typedef`s and qualifiers have no place in the format.
    pub(crate) fn descriptor(self, id: TypeId) -> Descriptor<'t> {
        let mut steps = Vec::new();
        let mut at = id;
        let mut end = Descriptor::VOID;
        for _ in 0..MAX_CHAIN {
            let Some(described) = self.btf.describe(at) else {
                break;
            };
            at = match described.shape {
                Shape::Pointer(to) => {
                    steps.push(Step::Pointer);
                    to
                }
                Shape::Array { element, count, .. } => {
                    steps.push(Step::Array(count));
                    element
                }
                Shape::Typedef(of) | Shape::Qualified(_, of) | Shape::Tagged(of) => of,
                _ => {
                    end = self.named(at).unwrap_or(end);
                    break;
                }
            };
        }
        steps.into_iter().rev().fold(end, |of, step| match step {
            Step::Pointer => Descriptor::Pointer {
                subtype: Box::new(of),
            },
            Step::Array(count) => Descriptor::Array {
                count,
                subtype: Box::new(of),
            },
        })
    }

    /// The descriptor of a type that is no pointer and no array.
    fn named(self, id: TypeId) -> Option<Descriptor<'t>> {
        let described = self.btf.describe(id)?;
        let tag = || str::from_utf8(self.btf.text(described.name)).ok();
        Some(match described.shape {
            Shape::Int { .. } | Shape::Float(_) => Descriptor::Base { name: tag()? },
            Shape::Composite { kind, .. } => Descriptor::composite(kind, self.keys.of_type(id)?),
            Shape::Enum { .. } => Descriptor::Enum {
                name: self.keys.of_type(id)?,
            },
            // Of a type that is only declared, the file knows no more than that it is there.
            Shape::Forward(kind) => match self.keys.of_tag(kind, tag()?) {
                Some(key) => Descriptor::composite(kind, key),
                None => Descriptor::VOID,
            },
            Shape::Prototype { .. } | Shape::Function(_) => Descriptor::Function,
            _ => return None,
        })
    }
}

impl<'t> Descriptor<'t> {
    /// Of what nothing is known.
    pub(crate) const VOID: Self = Self::Base { name: "void" };

    fn composite(kind: CompositeKind, name: &'t str) -> Self {
        match kind {
            CompositeKind::Struct => Self::Struct { name },
            CompositeKind::Union => Self::Union { name },
        }
    }
}
