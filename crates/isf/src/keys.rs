//! Under which name each type stands in the file, which has one namespace where C has many.

use std::collections::{HashMap, HashSet};

use vread_linux::btf::{Btf, CompositeKind, Shape, TypeId};

/// Names of structs, unions and enumerations.
#[derive(Debug)]
pub(crate) struct Keys {
    of_type: HashMap<TypeId, String>,
    /// By kind and name, for the many that refer to a type of which they know no more.
    of_tag: HashMap<(CompositeKind, String), Tagged>,
}

/// The types of one tag.
#[derive(Debug, Clone, Copy)]
enum Tagged {
    /// There is one.
    Only(TypeId),
    /// There are several, of which this is the first.
    First(TypeId),
}

impl Keys {
    /// Gives every type its tag as a name; where several types have one tag, the first has it, and the
    /// others their number behind it. A type without a tag is called as the `typedef` that names it, or
    /// by its number.
    pub(crate) fn of(btf: &Btf) -> Self {
        let mut keys = Self {
            of_type: HashMap::new(),
            of_tag: HashMap::new(),
        };
        let mut used = HashSet::new();
        let mut unnamed = Vec::new();
        for (id, described) in btf.types() {
            if !matches!(
                described.shape,
                Shape::Composite { .. } | Shape::Enum { .. }
            ) {
                continue;
            }
            let tag = String::from_utf8_lossy(btf.text(described.name)).into_owned();
            if tag.is_empty() {
                unnamed.push(id);
                continue;
            }
            if let Shape::Composite { kind, .. } = described.shape {
                let tagged = keys.of_tag.entry((kind, tag.clone()));
                tagged
                    .and_modify(|tagged| *tagged = Tagged::First(tagged.first()))
                    .or_insert(Tagged::Only(id));
            }
            keys.name(id, tag, &mut used);
        }
        for (_, described) in btf.types() {
            let Shape::Typedef(of) = described.shape else {
                continue;
            };
            let names_it = btf.describe(of).is_some_and(|named| {
                matches!(named.shape, Shape::Composite { .. } | Shape::Enum { .. })
                    && btf.text(named.name).is_empty()
            });
            let name = String::from_utf8_lossy(btf.text(described.name));
            if names_it && !keys.of_type.contains_key(&of) && !used.contains(&*name) {
                keys.name(of, name.into_owned(), &mut used);
            }
        }
        for id in unnamed {
            if !keys.of_type.contains_key(&id) {
                keys.name(id, format!("unnamed_{:x}", id.get()), &mut used);
            }
        }
        keys
    }

    fn name(&mut self, id: TypeId, wanted: String, used: &mut HashSet<String>) {
        let key = match used.contains(&wanted) {
            // Numbers are unique, so that at worst a type called so is hidden by another.
            true => format!("{wanted}__{:x}", id.get()),
            false => wanted,
        };
        used.insert(key.clone());
        self.of_type.insert(id, key);
    }

    /// The name of a struct, union or enumeration.
    pub(crate) fn of_type(&self, id: TypeId) -> Option<&str> {
        self.of_type.get(&id).map(String::as_str)
    }

    /// The name of the first type of this kind and tag that has members.
    pub(crate) fn of_tag(&self, kind: CompositeKind, tag: &str) -> Option<&str> {
        let tagged = self.of_tag.get(&(kind, tag.to_owned()))?;
        self.of_type(tagged.first())
    }

    /// The struct or union of a tag that no other has.
    pub(crate) fn only(&self, kind: CompositeKind, tag: &str) -> Option<TypeId> {
        match self.of_tag.get(&(kind, tag.to_owned()))? {
            Tagged::Only(id) => Some(*id),
            Tagged::First(_) => None,
        }
    }
}

impl Tagged {
    fn first(self) -> TypeId {
        match self {
            Self::Only(id) | Self::First(id) => id,
        }
    }
}
