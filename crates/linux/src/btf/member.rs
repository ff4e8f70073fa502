use vread_addr::ByteLen;

use super::parse::{Btf, BtfKind, TypeId};

/// How deep anonymous structs and unions may lie in one another.
const MAX_DEPTH: usize = 16;
/// How many members are looked at in the search for one.
const MAX_MEMBERS: usize = 1 << 16;

/// Where a member of a struct lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Bits from the start of the struct.
    pub bit_offset: u64,
    /// The width, for a bit-field.
    pub bits: Option<u32>,
    /// Its type.
    pub kind: TypeId,
}

impl Member {
    /// Bytes from the start of the struct, or `None` for a bit-field.
    #[must_use]
    pub fn offset(&self) -> Option<ByteLen> {
        let whole = self.bits.is_none() && self.bit_offset.is_multiple_of(8);
        whole.then(|| ByteLen::new(self.bit_offset >> 3))
    }
}

impl Btf {
    /// The member that `path` names, as in `vmap_area.va_start` or `module.mem`; more dots go into the
    /// member's own type. Members of anonymous structs and unions count as those of the outer one.
    #[must_use]
    pub fn member(&self, path: &str) -> Option<Member> {
        let mut names = path.split('.');
        let mut current = self.find(names.next()?)?;
        let mut found = None;
        for name in names {
            let inner = self.member_of(current, name.as_bytes())?;
            let before = found.map_or(0, |outer: Member| outer.bit_offset);
            current = inner.kind;
            found = Some(Member {
                bit_offset: before.checked_add(inner.bit_offset)?,
                ..inner
            });
        }
        found
    }

    /// Bytes from the start of the first type of `path` to the member that it names.
    #[must_use]
    pub fn offset_of(&self, path: &str) -> Option<ByteLen> {
        self.member(path)?.offset()
    }

    /// The size in bytes of the member that `path` names.
    #[must_use]
    pub fn size_of_member(&self, path: &str) -> Option<ByteLen> {
        self.size_of(self.member(path)?.kind)
    }

    /// The member `name` of a struct or union, or of an anonymous one in it.
    pub(crate) fn member_of(&self, composite: TypeId, name: &[u8]) -> Option<Member> {
        // Composites still to be searched: the outer one, then the anonymous ones in it. No recursion:
        // a type that contains itself must not cost more than the limits.
        let mut pending = vec![(composite, 0_u64, 0_usize)];
        let mut seen = 0_usize;
        while let Some((id, base, depth)) = pending.pop() {
            let record = self.record(self.resolve(id)?)?;
            if !matches!(record.kind, BtfKind::Struct | BtfKind::Union) {
                continue;
            }
            for (member_name, kind, word) in self.members(record) {
                seen = seen.saturating_add(1);
                if seen > MAX_MEMBERS {
                    return None;
                }
                let (offset, bits) = match record.flag {
                    true => (word & 0x00ff_ffff, word >> 24),
                    false => (word, 0),
                };
                let bit_offset = base.checked_add(u64::from(offset))?;
                let member_name = self.string(member_name)?;
                if member_name == name {
                    let bits = (bits != 0).then_some(bits);
                    return Some(Member {
                        bit_offset,
                        bits,
                        kind,
                    });
                }
                if member_name.is_empty() && depth < MAX_DEPTH {
                    pending.push((kind, bit_offset, depth.saturating_add(1)));
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse::forge::{Forge, STRUCT, UNION};
    use super::*;

    #[test]
    fn finds_members_of_anonymous_composites_under_the_outer_name() {
        // G41; the shape is that of `vmap_area`, whose descriptor shares a word with another number.
        let mut forge = Forge::default();
        let long = forge.int("unsigned long", 8);
        let inner = forge.composite(
            UNION,
            "",
            8,
            &[("subtree_max_size", long, 0), ("vm", long, 0)],
        );
        forge.composite(
            STRUCT,
            "vmap_area",
            24,
            &[("va_start", long, 0), ("", inner, 64), ("flags", long, 128)],
        );
        let btf = Btf::parse(forge.bytes()).unwrap();
        let at = |path| btf.offset_of(path).map(ByteLen::get);
        assert_eq!(at("vmap_area.va_start"), Some(0));
        assert_eq!(at("vmap_area.vm"), Some(8));
        assert_eq!(at("vmap_area.flags"), Some(16));
        assert_eq!(at("vmap_area.nothing"), None);
        assert_eq!(at("nothing.vm"), None);
        assert_eq!(at("vmap_area"), None);
        assert_eq!(btf.size_of_struct("vmap_area"), Some(ByteLen::new(24)));
        assert_eq!(btf.size_of_member("vmap_area.vm"), Some(ByteLen::new(8)));
    }

    #[test]
    fn goes_into_a_member_of_a_named_type() {
        let mut forge = Forge::default();
        let long = forge.int("long", 8);
        let list = forge.composite(
            STRUCT,
            "vmap_node_list",
            16,
            &[("root", long, 0), ("head", long, 64)],
        );
        let alias = forge.typedef("list_t", list);
        forge.composite(
            STRUCT,
            "vmap_node",
            24,
            &[("lock", long, 0), ("busy", alias, 64)],
        );
        let btf = Btf::parse(forge.bytes()).unwrap();
        assert_eq!(btf.offset_of("vmap_node.busy.head"), Some(ByteLen::new(16)));
    }

    #[test]
    fn tells_a_bit_field_from_a_member() {
        let mut forge = Forge::default();
        let int = forge.int("int", 4);
        forge.bit_fields(
            "info",
            4,
            &[
                ("flags", int, 0, 5),
                ("level", int, 5, 3),
                ("plain", int, 32, 0),
            ],
        );
        let btf = Btf::parse(forge.bytes()).unwrap();
        let level = btf.member("info.level").unwrap();
        assert_eq!(
            (level.bit_offset, level.bits, level.offset()),
            (5, Some(3), None)
        );
        assert_eq!(btf.offset_of("info.plain"), Some(ByteLen::new(4)));
    }

    #[test]
    fn ends_in_a_struct_that_contains_itself() {
        // G41: no recursion over a target's types, and a limit on the members looked at.
        let mut forge = Forge::default();
        let own = forge.next_id();
        forge.composite(
            STRUCT,
            "ouroboros",
            8,
            &[("", own, 0), ("", own, 0), ("", own, 0)],
        );
        let btf = Btf::parse(forge.bytes()).unwrap();
        assert_eq!(btf.offset_of("ouroboros.tail"), None);
    }
}
