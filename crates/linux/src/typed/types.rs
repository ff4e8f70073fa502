use vread_addr::ByteLen;

use super::{TypedError, spelled_by_compilers};
use crate::Btf;
use crate::btf::{CompositeKind, Shape, TypeId};

/// How many similar names a message lists.
const MAX_SIMILAR: usize = 6;
/// How many pointers and arrays may stand around a type.
const MAX_LAYERS: usize = 16;
/// The bytes of a pointer on x86_64.
pub(super) const POINTER_LEN: u64 = 8;

/// One of the kernel's types, or so many pointers to it, or an array of these: `struct task_struct *[8]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Type {
    /// `None` for `void`.
    pub(super) id: Option<TypeId>,
    pub(super) pointers: usize,
    /// How many there are, if it is an array.
    pub(super) elements: Option<u64>,
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
            elements: None,
        }
    }

    /// Where an array is, its first element is.
    pub(super) fn pointer_to(self) -> Self {
        Self {
            pointers: self.pointers.saturating_add(1),
            elements: None,
            ..self
        }
    }

    /// The type that `text` names, as C writes it: `struct page`, `pid_t`, `unsigned long`, `void *`,
    /// `char [16]`.
    ///
    /// # Errors
    ///
    /// [`TypedError::NoType`], with names that are like it.
    pub fn parse(btf: &Btf, text: &str) -> Result<Self, TypedError> {
        let no_type = |similar| TypedError::NoType {
            wanted: text.to_owned(),
            similar,
        };
        let words = Words::split(text);
        if words.pointers > MAX_LAYERS {
            return Err(no_type(Vec::new()));
        }
        let found = match words.is_void() {
            true => None,
            false => {
                // A module's own, or one of the image.
                let found = words
                    .find(btf)
                    .or_else(|| btf.base().and_then(|base| words.find(base)));
                let Some(id) = found else {
                    return Err(no_type(similar_types(btf, &words.name)));
                };
                Some(id)
            }
        };
        Ok(Self {
            id: found,
            pointers: words.pointers,
            elements: words.elements,
        })
    }

    /// Whether `text` names one of these types, those of the base not among them.
    pub(super) fn is_own(btf: &Btf, text: &str) -> bool {
        Words::split(text).find(btf).is_some()
    }

    pub(super) fn kind<'b>(&self, btf: &'b Btf) -> Kind<'b> {
        if let Some(count) = self.elements {
            let element = Self {
                elements: None,
                ..*self
            };
            return Kind::Array { element, count };
        }
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
        let one = match self.pointers {
            0 => btf.size_of(self.id?).map(ByteLen::get),
            _ => Some(POINTER_LEN),
        };
        one?.checked_mul(self.elements.unwrap_or(1))
    }

    /// Its name, as C writes it.
    #[must_use]
    pub fn name(&self, btf: &Btf) -> String {
        let (mut current, mut stars, mut extents) = (*self, String::new(), String::new());
        if let Some(count) = self.elements {
            extents.push_str(&format!("[{count}]"));
        }
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

/// A type as C writes it, taken apart.
struct Words<'t> {
    keyword: Option<&'t str>,
    name: String,
    pointers: usize,
    /// Of an array.
    elements: Option<u64>,
}

impl<'t> Words<'t> {
    fn split(text: &'t str) -> Self {
        let (one, elements) = match text.trim_end().strip_suffix(']') {
            Some(array) => array
                .split_once('[')
                .and_then(|(one, count)| Some((one, Some(count.trim().parse().ok()?))))
                .unwrap_or((text, None)),
            None => (text, None),
        };
        let words: Vec<&str> = one
            .split(|c: char| c.is_whitespace() || c == '*')
            .filter(|word| !matches!(*word, "" | "const" | "volatile"))
            .collect();
        let (keyword, name) = match words.as_slice() {
            [keyword @ ("struct" | "union" | "enum"), name] => (Some(*keyword), (*name).to_owned()),
            words => {
                let words = words.join(" ");
                let name = spelled_by_compilers(&words).map(str::to_owned);
                (None, name.unwrap_or(words))
            }
        };
        Self {
            keyword,
            name,
            pointers: one.matches('*').count(),
            elements,
        }
    }

    fn is_void(&self) -> bool {
        self.keyword.is_none() && self.name == "void"
    }

    /// The first of these types that is called so.
    fn find(&self, btf: &Btf) -> Option<TypeId> {
        let keyword = self.keyword;
        let found = match keyword {
            Some("struct" | "union") => btf.find(&self.name),
            _ => None,
        };
        found
            .filter(|id| has_keyword(btf, *id, keyword))
            .or_else(|| {
                let mut all = btf.types();
                let wanted = |(id, of): &(TypeId, crate::btf::BtfType<'_>)| {
                    btf.text(of.name) == self.name.as_bytes() && has_keyword(btf, *id, keyword)
                };
                all.find(wanted).map(|(id, _)| id)
            })
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
