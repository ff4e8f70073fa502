//! Types that are made from those of BTF, for well-known variables.

use gimli::constants;
use vread_linux::btf::Sign;

use super::unit::{Place, TypeUnit};
use crate::VmlinuxError;
use crate::known::{Base, Extent, Notation};
use crate::typed::NamedTypes;

/// A type that was found, as an entry, and its bytes where they are known.
#[derive(Clone, Copy)]
struct Found {
    /// None for `void`.
    entry: Option<Place>,
    size: Option<u64>,
}

impl TypeUnit<'_> {
    /// The entry of a type for a variable with so many bytes of room; none where the kernel has no such
    /// type, or no room for it.
    pub(super) fn entry_of_notation(
        &mut self,
        named: &NamedTypes,
        notation: &Notation,
        room: u64,
    ) -> Result<Option<Place>, VmlinuxError> {
        let Some(mut found) = self.base(named, notation.base) else {
            return Ok(None);
        };
        if notation.is_volatile {
            found = self.derived(constants::DW_TAG_volatile_type, found)?;
        }
        if notation.is_const {
            found = self.derived(constants::DW_TAG_const_type, found)?;
        }
        for _ in 0..notation.pointers {
            found = self.derived(constants::DW_TAG_pointer_type, found)?;
            found.size = Some(8);
        }
        // From the inside out: the last extent is that of the innermost array.
        for extent in notation.extents.iter().rev() {
            let Some(each) = found.size.filter(|size| *size != 0) else {
                return Ok(None);
            };
            let count = match *extent {
                Extent::Count(count) => Some(u64::from(count)),
                Extent::Room => room.checked_div(each),
                Extent::Open => None,
            };
            let Ok(count32) = u32::try_from(count.unwrap_or_default()) else {
                return Ok(None);
            };
            found = self.derived(constants::DW_TAG_array_type, found)?;
            let Some(Place::Here(array)) = found.entry else {
                return Ok(None);
            };
            let index = self.integers.get(&(8, Sign::Unsigned)).copied();
            let index = index.map(Place::Here);
            self.add_subrange(array, index, count32)?;
            found.size = count.map_or(Some(0), |count| each.checked_mul(count));
        }
        let fits = found.size.is_some_and(|size| size <= room);
        Ok(found.entry.filter(|_| fits))
    }

    fn base(&self, named: &NamedTypes, base: Base) -> Option<Found> {
        if base == Base::Void {
            return Some(Found {
                entry: None,
                size: None,
            });
        }
        let id = named.find(base)?;
        Some(Found {
            entry: Some(self.entry_of(id)?),
            size: self.btf.size_of(id).map(|size| size.get()),
        })
    }

    /// A qualified type, a pointer or an array, of what was found.
    fn derived(&mut self, tag: gimli::DwTag, of: Found) -> Result<Found, VmlinuxError> {
        let key = (tag, of.entry);
        let is_array = tag == constants::DW_TAG_array_type;
        let entry = match self.derived.get(&key).filter(|_| !is_array) {
            Some(entry) => *entry,
            None => {
                let root = self.root();
                let entry = self.add(root, tag)?;
                if let Some(of) = of.entry {
                    self.set(entry, constants::DW_AT_type, of.reference());
                }
                if tag == constants::DW_TAG_pointer_type {
                    self.set_size(entry, 8);
                }
                self.derived.insert(key, entry);
                entry
            }
        };
        Ok(Found {
            entry: Some(Place::Here(entry)),
            size: of.size,
        })
    }
}
