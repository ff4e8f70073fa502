//! Which variables have a known type.

use std::collections::{HashMap, HashSet};

use vread_addr::{ByteLen, VirtAddr};
use vread_linux::Btf;
use vread_linux::btf::{CompositeKind, PlacedVariable, Shape, TypeId};

use crate::known::{self, Base, Notation};
use crate::sections::Section;
use crate::symbols::{ElfSymbol, SymbolKind};

/// The most members of a struct without a name that is known by them.
const MAX_NAMING_MEMBERS: usize = 4;

/// How a variable's type is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum VariableType {
    /// It is one of BTF's.
    Btf(TypeId),
    /// It is made from one of BTF's.
    Notation(Notation),
}

/// The symbols by name. Names are not unique (G26).
pub(crate) fn by_name<'a>(
    symbols: impl Iterator<Item = &'a ElfSymbol>,
) -> HashMap<&'a str, Vec<&'a ElfSymbol>> {
    let mut by_name: HashMap<&str, Vec<&ElfSymbol>> = HashMap::new();
    for symbol in symbols {
        by_name.entry(&symbol.name).or_default().push(symbol);
    }
    by_name
}

/// Every variable that BTF knows.
pub(crate) fn variables<'a>(
    btf: &Btf,
    sections: &[Section],
    by_name: &HashMap<&str, Vec<&'a ElfSymbol>>,
) -> Vec<(&'a ElfSymbol, VariableType)> {
    let mut variables = Vec::new();
    for (_, described) in btf.types() {
        let Shape::Section(placed) = described.shape else {
            continue;
        };
        let name = btf.text(described.name);
        let section = sections
            .iter()
            .find(|section| section.name.as_bytes() == name);
        let start = section.map(|section| section.range.start());
        for placed in placed.iter() {
            variables.extend(of_btf(btf, placed, start, by_name));
        }
    }
    variables
}

/// Adds those of the well-known variables that BTF does not know.
pub(crate) fn add_known<'a>(
    variables: &mut Vec<(&'a ElfSymbol, VariableType)>,
    btf: &Btf,
    release: &str,
    types: &NamedTypes,
    by_name: &HashMap<&str, Vec<&'a ElfSymbol>>,
) {
    let named: HashSet<&str> = variables
        .iter()
        .map(|(symbol, _)| symbol.name.as_str())
        .collect();
    let known = known::variables(release).filter(|known| !named.contains(known.name));
    let known = known.filter_map(|known| {
        let Some([symbol]) = by_name.get(known.name).map(Vec::as_slice) else {
            return None;
        };
        let notation = known
            .notation()
            .filter(|_| symbol.kind == SymbolKind::Object)?;
        let Some(base) = types
            .find(notation.base)
            .or((notation.base == Base::Void).then_some(TypeId::VOID))
        else {
            tracing::info!(known.name, ?notation, "no such type in BTF, or several");
            return None;
        };
        let size = || btf.size_of(base).unwrap_or_default();
        Some(match notation.is_plain() {
            true if size() <= symbol.size => (*symbol, VariableType::Btf(base)),
            true => {
                tracing::info!(known.name, ?notation, "no room for this type");
                return None;
            }
            false => (*symbol, VariableType::Notation(notation)),
        })
    });
    let known: Vec<_> = known.collect();
    variables.extend(known);
}

/// The symbol and the type of a variable of BTF. Of several symbols of one name, it is the one that lies
/// where BTF has it.
fn of_btf<'a>(
    btf: &Btf,
    placed: PlacedVariable,
    section: Option<VirtAddr>,
    by_name: &HashMap<&str, Vec<&'a ElfSymbol>>,
) -> Option<(&'a ElfSymbol, VariableType)> {
    let described = btf.describe(placed.variable)?;
    let Shape::Variable(of) = described.shape else {
        return None;
    };
    let name = std::str::from_utf8(btf.text(described.name)).ok()?;
    let candidates = by_name.get(name)?;
    let offset = ByteLen::new(u64::from(placed.offset));
    let there = section.and_then(|section| section.checked_add(offset));
    let at_place = candidates.iter().find(|symbol| Some(symbol.addr) == there);
    let symbol = match (at_place, candidates.as_slice()) {
        (Some(symbol), _) | (None, [symbol]) => *symbol,
        _ => return None,
    };
    (symbol.kind == SymbolKind::Object).then_some((symbol, VariableType::Btf(of)))
}

/// Types of BTF by what they are called; none for a name that several types share.
pub(crate) struct NamedTypes(HashMap<(Word, Vec<u8>), Option<TypeId>>);

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Word {
    Struct,
    Union,
    Enum,
    Plain,
}

impl NamedTypes {
    pub(crate) fn new(btf: &Btf) -> Self {
        let mut named = HashMap::new();
        for (id, described) in btf.types() {
            let word = match described.shape {
                Shape::Composite {
                    kind: CompositeKind::Struct,
                    ..
                } => Word::Struct,
                Shape::Composite {
                    kind: CompositeKind::Union,
                    ..
                } => Word::Union,
                Shape::Enum { .. } => Word::Enum,
                Shape::Typedef(_) | Shape::Int { .. } => Word::Plain,
                _ => continue,
            };
            let mut name = btf.text(described.name).to_vec();
            if let Shape::Composite { members, .. } = described.shape
                && name.is_empty()
                && members.len() <= MAX_NAMING_MEMBERS
            {
                // Called by its members.
                let members: Vec<&[u8]> =
                    members.iter().map(|member| btf.text(member.name)).collect();
                name = members.join(&b' ');
                name.insert(0, b'{');
            }
            if !name.is_empty() {
                let shared = named.entry((word, name));
                shared.and_modify(|id| *id = None).or_insert(Some(id));
            }
        }
        Self(named)
    }

    /// The type of this name; `void` has none.
    pub(crate) fn find(&self, base: Base) -> Option<TypeId> {
        let (word, name) = match base {
            Base::Void => return None,
            Base::Struct(name) => (Word::Struct, name),
            Base::Union(name) => (Word::Union, name),
            Base::Enum(name) => (Word::Enum, name),
            Base::Plain(name) => (Word::Plain, name),
        };
        self.0
            .get(&(word, name.as_bytes().to_vec()))
            .copied()
            .flatten()
    }
}
