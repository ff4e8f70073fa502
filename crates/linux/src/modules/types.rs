use std::sync::Arc;

use vread_addr::VirtAddr;

use crate::btf::MAX_BTF_LEN;
use crate::list::walk_list;
use crate::record::{Field, Shape};
use crate::virt_mem::VirtMem;
use crate::{Btf, LinuxError};

/// The most modules whose types are read (G73): each may be asked for a type.
const MAX_MODULES: usize = 1 << 12;

/// The types that a module adds to those of the image.
#[derive(Debug, Clone)]
pub struct ModuleTypes {
    /// The module's name.
    pub name: Arc<str>,
    /// Its types, or why they cannot be believed.
    pub btf: Result<Arc<Btf>, LinuxError>,
}

/// What of `struct btf_module` and of `struct btf` is needed to read modules' types. `struct module` itself has
/// members for them, which are empty once a module runs: the bytes are in a copy that its `struct btf` leads to.
#[derive(Debug)]
pub(crate) struct TypesLayout {
    list: Shape,
    link: Field,
    btf: Field,
    types: Shape,
    name: Field,
    data: Field,
    data_size: Field,
    start_id: Field,
    start_str_off: Field,
}

impl TypesLayout {
    pub(crate) fn from_btf(btf: &Btf) -> Result<Self, LinuxError> {
        let mut list = Shape::new("a module's entry in the list of types");
        let mut types = Shape::new("a module's types");
        Ok(Self {
            link: list.need(btf, "btf_module.list")?,
            btf: list.need(btf, "btf_module.btf")?,
            name: types.need(btf, "btf.name")?,
            data: types.need(btf, "btf.data")?,
            data_size: types.need(btf, "btf.data_size")?,
            start_id: types.need(btf, "btf.start_id")?,
            start_str_off: types.need(btf, "btf.start_str_off")?,
            list,
            types,
        })
    }

    /// The types of all modules that have some, in the order in which `head` lists them.
    pub(crate) fn read(
        &self,
        virt: VirtMem<'_>,
        head: VirtAddr,
        base: &Arc<Btf>,
    ) -> Result<Vec<ModuleTypes>, LinuxError> {
        let mut modules = Vec::new();
        // All modules together: a hostile target has many, and may have one table for all.
        let mut bytes_left = MAX_BTF_LEN;
        walk_list(virt, "the types of modules", head, MAX_MODULES, |node| {
            let malformed = LinuxError::Malformed {
                what: "a module's entry in the list of types",
                at: node,
                why: "its address is out of range",
            };
            let at = node.checked_sub(self.link.offset()).ok_or(malformed)?;
            let types = self.list.read(virt, at)?.pointer(self.btf);
            let record = self.types.read(virt, types)?;
            let at = record.pointer(self.data);
            let number = |field| record.number(field);
            let len = usize::try_from(number(self.data_size)).unwrap_or(usize::MAX);
            let starts = (number(self.start_id), number(self.start_str_off));
            modules.push(ModuleTypes {
                name: record.text(self.name).into(),
                btf: read_split(virt, at, len, starts, base, &mut bytes_left).map(Arc::new),
            });
            Ok(())
        })?;
        Ok(modules)
    }
}

/// The types in the `len` bytes at `at`, which go on from type and name `starts`.
fn read_split(
    virt: VirtMem<'_>,
    at: VirtAddr,
    len: usize,
    starts: (u64, u64),
    base: &Arc<Btf>,
    bytes_left: &mut usize,
) -> Result<Btf, LinuxError> {
    let malformed = |why| LinuxError::Malformed {
        what: "a module's types",
        at,
        why,
    };
    let as_u64 = |len: usize| u64::try_from(len).unwrap_or(u64::MAX);
    // Type 0 is `void`.
    let ends = (
        as_u64(base.len()).saturating_add(1),
        as_u64(base.names_len()),
    );
    if starts != ends {
        return Err(malformed("they do not go on from those of the image"));
    }
    let left = bytes_left.checked_sub(len);
    *bytes_left = left.ok_or(malformed("more than all modules of a kernel have"))?;
    Ok(Btf::parse_split(virt.read_vec(at, len)?, Arc::clone(base))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::btf::BtfError;
    use crate::btf::forge::{Forge, STRUCT};
    use crate::forged::{ForgedRam, virt};

    const AT: u64 = 0xffff_8880_0000_0000;
    const PAGES: u64 = 64;
    /// The list's head, its entries of 24 bytes, the one `struct btf`, and the bytes that it leads to.
    const HEAD: u64 = 0x8000;
    const ENTRIES: u64 = 0x9000;
    const TYPES: u64 = 0xa000;
    const DATA: u64 = 0xb000;

    /// The structs that the layout is taken from.
    fn image() -> Arc<Btf> {
        let mut forge = Forge::default();
        let long = forge.int("long", 8);
        let int = forge.int("int", 4);
        let char = forge.int("char", 1);
        let name = forge.array(char, 56);
        let link = forge.composite(
            STRUCT,
            "list_head",
            16,
            &[("next", long, 0), ("prev", long, 64)],
        );
        forge.composite(
            STRUCT,
            "btf_module",
            24,
            &[("list", link, 0), ("btf", long, 128)],
        );
        let members = [
            ("data", long, 0),
            ("data_size", int, 64),
            ("start_id", int, 96),
            ("start_str_off", int, 128),
            ("name", name, 160),
        ];
        forge.composite(STRUCT, "btf", 80, &members);
        Arc::new(Btf::parse(forge.bytes()).unwrap())
    }

    /// So many modules that share one table, which says that it has `len` bytes and goes on from `starts`.
    fn read(modules: u64, len: u32, starts: (u32, u32)) -> Vec<ModuleTypes> {
        let base = image();
        let mut ram = ForgedRam::new(512);
        for page in 0..PAGES {
            ram.map(AT + page * 4096, page * 4096);
        }
        let entry = |index: u64| match index % (modules + 1) {
            0 => HEAD,
            index => ENTRIES + (index - 1) * 24,
        };
        for index in 0..=modules {
            ram.put_u64(entry(index), AT + entry(index + 1));
            ram.put_u64(entry(index) + 8, AT + entry(index + modules));
            if index > 0 {
                ram.put_u64(entry(index) + 16, AT + TYPES);
            }
        }
        ram.put_u64(TYPES, AT + DATA);
        for (at, word) in [(8, len), (12, starts.0), (16, starts.1)] {
            ram.put(TYPES + at, &word.to_le_bytes());
        }
        ram.put(TYPES + 20, b"nf_nat\0");
        ram.put(DATA, &added(&base));
        let mem = ram.open();
        let layout = TypesLayout::from_btf(&base).unwrap();
        layout
            .read(virt(&mem), VirtAddr::new(AT + HEAD), &base)
            .unwrap()
    }

    fn added(base: &Btf) -> Vec<u8> {
        let mut forge = Forge::going_on_from(base);
        forge.composite(STRUCT, "nf_nat_pernet", 24, &[]);
        forge.bytes()
    }

    fn right() -> (u32, (u32, u32)) {
        let base = image();
        let number = |len| u32::try_from(len).unwrap();
        let starts = (number(base.len()) + 1, number(base.names_len()));
        (number(added(&base).len()), starts)
    }

    #[test]
    fn reads_what_each_module_adds() {
        let (len, starts) = right();
        let modules = read(2, len, starts);
        assert_eq!(modules.len(), 2);
        assert_eq!(&*modules[1].name, "nf_nat");
        let btf = modules[1].btf.as_ref().unwrap();
        assert_eq!(btf.bytes(), added(&image()));
        assert!(btf.find("nf_nat_pernet").is_some());
    }

    #[test]
    fn refuses_types_that_go_on_from_something_else() {
        let (len, (id, name)) = right();
        for starts in [(id + 1, name), (id, name - 1), (0, 0)] {
            let modules = read(1, len, starts);
            assert!(matches!(modules[0].btf, Err(LinuxError::Malformed { .. })));
        }
    }

    #[test]
    fn one_module_with_forged_types_does_not_end_the_list() {
        let (len, starts) = right();
        let modules = read(3, len - 1, starts);
        assert_eq!(modules.len(), 3);
        let is_short = |module: &ModuleTypes| {
            matches!(&module.btf, Err(LinuxError::Btf(BtfError::Short { .. })))
        };
        assert!(modules.iter().all(is_short));
        // Longer than all memory.
        assert!(read(1, u32::MAX, starts)[0].btf.is_err());
    }

    #[test]
    fn counts_the_bytes_of_all_modules() {
        let (base, (_, starts)) = (image(), right());
        let mut left = 100;
        let ram = ForgedRam::new(512);
        let mem = ram.open();
        let starts = (u64::from(starts.0), u64::from(starts.1));
        let refused = read_split(virt(&mem), VirtAddr::new(AT), 101, starts, &base, &mut left);
        let Err(LinuxError::Malformed { why, .. }) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(why, "more than all modules of a kernel have");
        assert_eq!(left, 100);
    }
}
