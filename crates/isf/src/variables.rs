//! Which variables are of which type.

use std::collections::HashMap;

use vread_linux::Btf;
use vread_linux::btf::{CompositeKind, Shape, TypeId};
use vread_vmlinux::known::{self, Base, Extent, Notation};

use crate::descriptor::{Descriptor, Types};

/// The variables of BTF (those of each CPU), and the well-known ones that it leaves out.
#[derive(Debug)]
pub(crate) struct Variables {
    of_btf: HashMap<String, TypeId>,
    known: HashMap<&'static str, Notation>,
}

impl Variables {
    /// Those of a kernel with these types and this release.
    pub(crate) fn of(btf: &Btf, release: &str) -> Self {
        let of_btf = btf.types().filter_map(|(_, described)| {
            let Shape::Variable(of) = described.shape else {
                return None;
            };
            let name = String::from_utf8_lossy(btf.text(described.name));
            Some((name.into_owned(), of))
        });
        let known = known::variables(release);
        Self {
            of_btf: of_btf.collect(),
            known: known
                .filter_map(|known| Some((known.name, known.notation()?)))
                .collect(),
        }
    }

    /// The type of the variable at a symbol called `name`, with `room` bytes up to the next symbol.
    pub(crate) fn descriptor<'t>(
        &self,
        name: &str,
        room: Option<u64>,
        types: Types<'t>,
    ) -> Option<Descriptor<'t>> {
        match self.of_btf.get(name) {
            Some(id) => Some(types.descriptor(*id)),
            None => types.of_notation(self.known.get(name)?, room?),
        }
    }
}

impl<'t> Types<'t> {
    /// The descriptor of a well-known variable's type; none where the kernel has no such type, or
    /// several, or where it does not fit into its room.
    fn of_notation(self, notation: &Notation, room: u64) -> Option<Descriptor<'t>> {
        let only = |kind, tag| self.keys.only(kind, tag);
        let base = match notation.base {
            Base::Void => None,
            Base::Struct(tag) => Some(only(CompositeKind::Struct, tag)?),
            Base::Union(tag) => Some(only(CompositeKind::Union, tag)?),
            Base::Enum(name) | Base::Plain(name) => Some(self.btf.find(name)?),
        };
        let mut size = base.and_then(|id| Some(self.btf.size_of(id)?.get()));
        let mut of = base.map_or(Descriptor::VOID, |id| self.descriptor(id));
        for _ in 0..notation.pointers {
            of = Descriptor::Pointer {
                subtype: Box::new(of),
            };
            size = Some(8);
        }
        // From the inside out: the last extent is that of the innermost array.
        for extent in notation.extents.iter().rev() {
            let each = size.filter(|size| *size != 0)?;
            let count = match *extent {
                Extent::Count(count) => u64::from(count),
                Extent::Room => room.checked_div(each)?,
                Extent::Open => 0,
            };
            of = Descriptor::Array {
                count: u32::try_from(count).ok()?,
                subtype: Box::new(of),
            };
            size = each.checked_mul(count);
        }
        size.is_some_and(|size| size <= room).then_some(of)
    }
}
