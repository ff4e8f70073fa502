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

    fn member_of(&self, composite: TypeId, name: &[u8]) -> Option<Member> {
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
                let (offset, bits) = match record.has_bitfields {
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
