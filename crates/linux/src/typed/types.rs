use vread_addr::ByteLen;

use super::TypedError;
use crate::Btf;
use crate::btf::{CompositeKind, Shape, TypeId};

/// How many similar names a message lists.
const MAX_SIMILAR: usize = 6;
/// How many pointers and arrays may stand around a type.
const MAX_LAYERS: usize = 16;
/// The bytes of a pointer on x86_64.
pub(super) const POINTER_LEN: u64 = 8;

/// One of the kernel's types, or so many pointers to it: `struct task_struct **`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Type {
    /// `None` for `void`.
    pub(super) id: Option<TypeId>,
    pub(super) pointers: usize,
}

/// What a type is, with typedefs and qualifiers seen through.
pub(super) enum Kind<'b> {
    Pointer(Type),
    Array {
        element: Type,
        count: u64,
    },
    Other(TypeId, Shape<'b>),
    /// `void`, and what BTF does not describe.
    Unknown,
}

impl Type {
    pub(super) fn of(id: TypeId) -> Self {
        Self {
            id: (id.get() != 0).then_some(id),
            pointers: 0,
        }
    }

    pub(super) fn pointer_to(self) -> Self {
        Self {
            pointers: self.pointers.saturating_add(1),
            ..self
        }
    }

    /// The type that `text` names, as C writes it: `struct page`, `pid_t`, `unsigned long`, `void *`.
    ///
    /// # Errors
    ///
    /// [`TypedError::NoType`], with names that are like it.
    pub fn parse(btf: &Btf, text: &str) -> Result<Self, TypedError> {
        let pointers = text.matches('*').count();
        let words: Vec<&str> = text
            .split(|c: char| c.is_whitespace() || c == '*')
            .filter(|word| !matches!(*word, "" | "const" | "volatile"))
            .collect();
        let no_type = |similar| TypedError::NoType {
            wanted: text.to_owned(),
            similar,
        };
        if pointers > MAX_LAYERS {
            return Err(no_type(Vec::new()));
        }
        let (keyword, name) = match words.as_slice() {
            ["void"] => return Ok(Self { id: None, pointers }),
            [keyword @ ("struct" | "union" | "enum"), name] => (Some(*keyword), (*name).to_owned()),
            words => (None, words.join(" ")),
        };
        let found = match keyword {
            Some("struct" | "union") => btf.find(&name).filter(|id| has_keyword(btf, *id, keyword)),
            _ => None,
        };
        let named = || {
            let mut all = btf.types();
            let wanted = |(id, of): &(TypeId, _)| {
                let of: &crate::btf::BtfType<'_> = of;
                btf.text(of.name) == name.as_bytes() && has_keyword(btf, *id, keyword)
            };
            all.find(wanted).map(|(id, _)| id)
        };
        match found.or_else(named) {
            Some(id) => Ok(Self {
                id: Some(id),
                pointers,
            }),
            None => Err(no_type(similar_types(btf, &name))),
        }
    }

    pub(super) fn kind<'b>(&self, btf: &'b Btf) -> Kind<'b> {
        if let Some(pointers) = self.pointers.checked_sub(1) {
            return Kind::Pointer(Self { pointers, ..*self });
        }
        let resolved = self.id.and_then(|id| btf.resolve(id));
        let Some((id, shape)) = resolved.and_then(|id| Some((id, btf.describe(id)?.shape))) else {
            return Kind::Unknown;
        };
        match shape {
            Shape::Pointer(to) => Kind::Pointer(Self::of(to)),
            Shape::Array { element, count, .. } => Kind::Array {
                element: Self::of(element),
                count: count.into(),
            },
            shape => Kind::Other(id, shape),
        }
    }

    /// Its bytes; `None` where it has no size, as `void`.
    pub(super) fn size(&self, btf: &Btf) -> Option<u64> {
        match self.pointers {
            0 => btf.size_of(self.id?).map(ByteLen::get),
            _ => Some(POINTER_LEN),
        }
    }

    /// Its name, as C writes it.
    #[must_use]
    pub fn name(&self, btf: &Btf) -> String {
        let (mut current, mut stars, mut extents) = (*self, String::new(), String::new());
        for _ in 0..MAX_LAYERS {
            stars.push_str(&"*".repeat(current.pointers));
            current.pointers = 0;
            let Some(of) = current.id.and_then(|id| btf.describe(id)) else {
                return spaced("void", &stars, &extents);
            };
            let name = String::from_utf8_lossy(btf.text(of.name)).into_owned();
            let or_anonymous = |keyword: &str| match name.as_str() {
                "" => format!("{keyword} {{…}}"),
                name => format!("{keyword} {name}"),
            };
            let words = match of.shape {
                Shape::Pointer(to) => {
                    stars.push('*');
                    current = Self::of(to);
                    continue;
                }
                Shape::Array { element, count, .. } => {
                    extents.push_str(&format!("[{count}]"));
                    current = Self::of(element);
                    continue;
                }
                Shape::Qualified(_, to) | Shape::Tagged(to) => {
                    current = Self::of(to);
                    continue;
                }
                Shape::Composite { kind, .. } | Shape::Forward(kind) => {
                    or_anonymous(composite_word(kind))
                }
                Shape::Enum { .. } => or_anonymous("enum"),
                Shape::Prototype { .. } => "function".to_owned(),
                _ => name,
            };
            return spaced(&words, &stars, &extents);
        }
        spaced("…", &stars, &extents)
    }
}

fn spaced(words: &str, stars: &str, extents: &str) -> String {
    match (stars, extents) {
        ("", "") => words.to_owned(),
        _ => format!("{words} {stars}{extents}"),
    }
}

fn composite_word(kind: CompositeKind) -> &'static str {
    match kind {
        CompositeKind::Struct => "struct",
        CompositeKind::Union => "union",
    }
}

/// Whether a type is one that `keyword` names; without a keyword, a typedef or a number.
fn has_keyword(btf: &Btf, id: TypeId, keyword: Option<&str>) -> bool {
    match btf.describe(id).map(|of| of.shape) {
        Some(Shape::Composite { kind, .. }) => keyword == Some(composite_word(kind)),
        Some(Shape::Enum { .. }) => keyword == Some("enum"),
        Some(Shape::Int { .. } | Shape::Float(_) | Shape::Typedef(_)) => keyword.is_none(),
        _ => false,
    }
}

/// Types that contain `name`, or that it contains, the shortest first.
fn similar_types(btf: &Btf, name: &str) -> Vec<String> {
    let shapes = btf.types().filter(|(_, of)| {
        matches!(
            of.shape,
            Shape::Composite { .. } | Shape::Enum { .. } | Shape::Typedef(_) | Shape::Int { .. }
        )
    });
    let names = shapes.filter_map(|(id, of)| {
        let text = std::str::from_utf8(btf.text(of.name)).ok()?;
        alike(text, name).then(|| Type::of(id).name(btf))
    });
    closest(names.collect())
}

/// Whether one name is a part of the other, or both begin alike for most of their length.
pub(super) fn alike(one: &str, other: &str) -> bool {
    const LEAST: usize = 3;
    if one.len() < LEAST || other.len() < LEAST {
        return false;
    }
    let common = one.bytes().zip(other.bytes()).take_while(|(a, b)| a == b);
    let most = one.len().max(other.len()).saturating_sub(2).max(LEAST);
    one.contains(other) || other.contains(one) || common.count() >= most
}

/// The shortest few, each once.
pub(super) fn closest(mut names: Vec<String>) -> Vec<String> {
    names.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
    names.dedup();
    names.truncate(MAX_SIMILAR);
    names
}
