use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::fs::File;
use std::path::Path;
use std::thread;

use gimli::{Dwarf, EndianSlice, LittleEndian};
use object::{Object, ObjectSection, ObjectSymbol, ReadCache};

use crate::error::LayoutError;
use crate::unit;

/// The reader that everything is read with.
pub(crate) type Slice<'d> = EndianSlice<'d, LittleEndian>;

/// Each type that has a name, and every layout that a type of that name has: a kernel has several
/// types of one name where each is known in one source file only.
pub type Types = HashMap<TypeName, HashSet<String>>;

/// Each symbol's name, and every address that a symbol of that name has.
pub type Symbols = BTreeMap<String, BTreeSet<u64>>;

/// Kind and name of a type, as C spells them: `struct list_head`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TypeName {
    /// `struct`, `union` or `enum`.
    pub kind: &'static str,
    /// The tag.
    pub name: String,
}

impl fmt::Display for TypeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// What a debug file says.
#[derive(Debug)]
pub struct DebugFile {
    /// The structures, unions and enumerations, but for those that are only declared. A layout is text,
    /// a line for the size and one for each member or value.
    pub types: Types,
    /// The symbols with a name and an address, but for those of sections and source files.
    pub symbols: Symbols,
}

impl DebugFile {
    /// Reads all of it.
    ///
    /// # Errors
    ///
    /// [`LayoutError`]: the file cannot be read, or is no ELF file with DWARF.
    pub fn read(path: &Path) -> Result<Self, LayoutError> {
        let file = File::open(path).map_err(|source| LayoutError::File {
            path: path.to_owned(),
            source,
        })?;
        let elf = |source| LayoutError::Elf {
            path: path.to_owned(),
            source,
        };
        let cache = ReadCache::new(file);
        let object = object::File::parse(&cache).map_err(elf)?;
        let symbols = symbols(&object);
        let sections = gimli::DwarfSections::load(|id| match object.section_by_name(id.name()) {
            Some(section) => relocated(&object, &section),
            None => Ok(Cow::Borrowed(&[][..])),
        });
        let sections = sections.map_err(elf)?;
        let dwarf = sections.borrow(|section| EndianSlice::new(section, LittleEndian));
        let types = types(&dwarf).map_err(|source| LayoutError::Dwarf {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self { types, symbols })
    }
}

/// The bytes of a section. Those of a module have yet to be told where the sections lie that they point into: here,
/// at 0.
fn relocated<'d>(
    object: &impl Object<'d>,
    section: &impl ObjectSection<'d>,
) -> Result<Cow<'d, [u8]>, object::Error> {
    let mut bytes = section.uncompressed_data()?;
    if object.kind() != object::ObjectKind::Relocatable {
        return Ok(bytes);
    }
    for (at, relocation) in section.relocations() {
        let object::RelocationTarget::Symbol(symbol) = relocation.target() else {
            continue;
        };
        let to = object.symbol_by_index(symbol)?.address();
        let to = to.wrapping_add_signed(relocation.addend()).to_le_bytes();
        let len = usize::from(relocation.size() / 8).min(to.len());
        let place = usize::try_from(at)
            .ok()
            .and_then(|at| bytes.to_mut().get_mut(at..at.checked_add(len)?));
        if let (Some(place), Some(to)) = (place, to.get(..len)) {
            place.copy_from_slice(to);
        }
    }
    Ok(bytes)
}

fn symbols<'d>(object: &impl Object<'d>) -> Symbols {
    let mut symbols = Symbols::new();
    for symbol in object.symbols() {
        let named = symbol.name().ok().filter(|name| !name.is_empty());
        let (Some(name), false) = (named, symbol.is_undefined()) else {
            continue;
        };
        if matches!(
            symbol.kind(),
            object::SymbolKind::Section | object::SymbolKind::File
        ) {
            continue;
        }
        let addresses = symbols.entry(name.to_owned()).or_default();
        addresses.insert(symbol.address());
    }
    symbols
}

/// The types of all units, read by as many threads as there are processors.
fn types(dwarf: &Dwarf<Slice<'_>>) -> Result<Types, gimli::Error> {
    let mut headers = Vec::new();
    let mut units = dwarf.units();
    while let Some(header) = units.next()? {
        headers.push(header);
    }
    let workers = thread::available_parallelism().map_or(1, |count| count.get());
    let of_worker = |worker| {
        let mut types = Types::new();
        for header in headers.iter().skip(worker).step_by(workers) {
            unit::read(dwarf, header, &mut types)?;
        }
        Ok(types)
    };
    let of_worker = &of_worker;
    let parts: Vec<Result<Types, gimli::Error>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..workers)
            .map(|worker| scope.spawn(move || of_worker(worker)))
            .collect();
        let joined = threads.into_iter().map(|thread| thread.join());
        joined
            .map(|part| part.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    let mut all = Types::new();
    for part in parts {
        for (name, layouts) in part? {
            all.entry(name).or_default().extend(layouts);
        }
    }
    Ok(all)
}
