use vread_linux::typed::spelled_by_compilers;

/// A variable's type as C writes it, taken apart: `const struct proto *[*][14]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notation {
    /// Whether the variable, or what a pointer points to, is `const`.
    pub is_const: bool,
    /// Whether it is `volatile`.
    pub is_volatile: bool,
    /// The type that everything else is made of.
    pub base: Base,
    /// How many pointers lie between the variable and its base.
    pub pointers: usize,
    /// The extents of an array, the outermost first.
    pub extents: Vec<Extent>,
}

/// What is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Base {
    /// Nothing: `void`.
    Void,
    /// A struct of this name; of one without a name, `{` and the names of its members.
    Struct(&'static str),
    /// A union of this name.
    Union(&'static str),
    /// An enumeration of this name.
    Enum(&'static str),
    /// A typedef or a number of this name.
    Plain(&'static str),
}

/// How many elements an array has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Extent {
    /// So many.
    Count(u32),
    /// `*`: as many as fit before the next symbol; it is a matter of the kernel's configuration.
    Room,
    /// Nobody knows.
    Open,
}

impl Notation {
    /// Whether the variable is of the base type itself.
    pub(crate) fn is_plain(&self) -> bool {
        !self.is_const && !self.is_volatile && self.pointers == 0 && self.extents.is_empty()
    }

    /// Reads a type of our own tables.
    pub(crate) fn parse(text: &'static str) -> Option<Self> {
        let (declarator, extents) = match text.split_once('[') {
            Some((declarator, extents)) => (declarator, parse_extents(extents)?),
            None => (text, Vec::new()),
        };
        let pointers = declarator.matches('*').count();
        let mut words = declarator.trim_end_matches(['*', ' ']);
        let (mut is_const, mut is_volatile) = (false, false);
        loop {
            if let Some(rest) = words.strip_prefix("const ") {
                (is_const, words) = (true, rest);
            } else if let Some(rest) = words.strip_prefix("volatile ") {
                (is_volatile, words) = (true, rest);
            } else {
                break;
            }
        }
        let base = match words.split_once(' ') {
            _ if words == "void" => Base::Void,
            Some(("struct", name)) => Base::Struct(name),
            Some(("union", name)) => Base::Union(name),
            Some(("enum", name)) => Base::Enum(name),
            _ => Base::Plain(spelled_by_compilers(words).unwrap_or(words)),
        };
        Some(Self {
            is_const,
            is_volatile,
            base,
            pointers,
            extents,
        })
    }
}

/// The extents behind the first `[`.
fn parse_extents(text: &str) -> Option<Vec<Extent>> {
    let all = text.strip_suffix(']')?.split("][");
    let extent = |text: &str| match text {
        "*" => Some(Extent::Room),
        "" => Some(Extent::Open),
        count => count.parse().ok().map(Extent::Count),
    };
    all.map(extent).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_a_type_apart() {
        let parsed = Notation::parse("const struct proto *[*][14]").unwrap();
        assert_eq!(
            parsed,
            Notation {
                is_const: true,
                is_volatile: false,
                base: Base::Struct("proto"),
                pointers: 1,
                extents: vec![Extent::Room, Extent::Count(14)],
            }
        );
        let parsed = Notation::parse("volatile unsigned long").unwrap();
        assert!(parsed.is_volatile);
        assert_eq!(parsed.base, Base::Plain("long unsigned int"));
        let parsed = Notation::parse("struct mem_section **").unwrap();
        assert_eq!(
            (parsed.base, parsed.pointers),
            (Base::Struct("mem_section"), 2)
        );
        assert_eq!(Notation::parse("char []").unwrap().extents, [Extent::Open]);
        assert_eq!(Notation::parse("void *").unwrap().base, Base::Void);
        assert_eq!(Notation::parse("char [x]"), None);
    }
}
