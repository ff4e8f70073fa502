//! BTF made up in a test.

use super::TypeId;

pub(crate) const STRUCT: u32 = 4;
pub(crate) const UNION: u32 = 5;

#[derive(Default)]
pub(crate) struct Forge {
    types: Vec<u8>,
    strings: Vec<u8>,
    count: u32,
    /// Bytes of names before the first one.
    names_before: u32,
}

impl Forge {
    /// What a module adds to `base`.
    pub(crate) fn going_on_from(base: &super::Btf) -> Self {
        Self {
            count: u32::try_from(base.len()).unwrap(),
            names_before: u32::try_from(base.names_len()).unwrap(),
            ..Self::default()
        }
    }

    pub(crate) fn next_id(&self) -> TypeId {
        TypeId(self.count + 1)
    }

    pub(crate) fn int(&mut self, name: &str, size: u32) -> TypeId {
        let name = self.name(name);
        self.record(name, 1, 0, false, size, &[size * 8])
    }

    pub(crate) fn typedef(&mut self, name: &str, to: TypeId) -> TypeId {
        let name = self.name(name);
        self.record(name, 8, 0, false, to.0, &[])
    }

    pub(crate) fn array(&mut self, of: TypeId, count: u32) -> TypeId {
        self.record(0, 3, 0, false, 0, &[of.0, of.0, count])
    }

    pub(crate) fn composite(
        &mut self,
        kind: u32,
        name: &str,
        size: u32,
        members: &[(&str, TypeId, u32)],
    ) -> TypeId {
        let name = self.name(name);
        let mut words = Vec::new();
        for (member, of, bits) in members {
            words.extend([self.name(member), of.0, *bits]);
        }
        self.record(name, kind, members.len() as u32, false, size, &words)
    }

    pub(crate) fn bit_fields(
        &mut self,
        name: &str,
        size: u32,
        members: &[(&str, TypeId, u32, u32)],
    ) -> TypeId {
        let name = self.name(name);
        let mut words = Vec::new();
        for (member, of, bits, width) in members {
            words.extend([self.name(member), of.0, width << 24 | bits]);
        }
        self.record(name, STRUCT, members.len() as u32, true, size, &words)
    }

    pub(crate) fn record(
        &mut self,
        name: u32,
        kind: u32,
        vlen: u32,
        flag: bool,
        size_or_type: u32,
        tail: &[u32],
    ) -> TypeId {
        let info = u32::from(flag) << 31 | kind << 24 | vlen;
        for word in [name, info, size_or_type].iter().chain(tail) {
            self.types.extend_from_slice(&word.to_le_bytes());
        }
        self.count += 1;
        TypeId(self.count)
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let (types, strings) = (self.types.len() as u32, self.strings.len() as u32 + 1);
        let mut bytes = vec![0x9f, 0xeb, 1, 0];
        for word in [24, 0, types, types, strings] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.extend_from_slice(&self.types);
        bytes.push(0);
        bytes.extend_from_slice(&self.strings);
        bytes
    }

    fn name(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        // Behind the empty string, which is first.
        let at = self.names_before + self.strings.len() as u32 + 1;
        self.strings.extend_from_slice(name.as_bytes());
        self.strings.push(0);
        at
    }
}
