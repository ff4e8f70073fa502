use std::fmt;
use std::sync::Arc;

use vread_addr::{ByteLen, VirtAddr};

use super::Module;
use crate::list::walk_list;
use crate::record::{Field, Shape};
use crate::virt_mem::VirtMem;
use crate::{Btf, LinuxError};

/// The most modules that may use others, over all (G73): each entry is read with two structs behind it.
const MAX_USERS: usize = 1 << 15;
/// The letter of each taint flag, from bit 0 on, as the kernel's documentation lists them. Flags that
/// are newer than this list are `?`.
const TAINT_LETTERS: &[u8] = b"PFSRMBUDAWCIOELKXTNJ";

/// How many more users may be read: a hostile target has many modules, and may have one list for all.
#[derive(Debug)]
pub(crate) struct UsersLeft(usize);

impl UsersLeft {
    pub(crate) fn new() -> Self {
        Self(MAX_USERS)
    }
}

/// A line of `/proc/modules`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleLine {
    /// Its name.
    pub name: Arc<str>,
    /// The bytes of all its memory.
    pub size: ByteLen,
    /// How many hold it, or `None` in a kernel that cannot unload modules.
    pub references: Option<i64>,
    /// The modules that use it.
    pub used_by: Vec<String>,
    /// Whether it can never be unloaded: it has a way in and none out.
    pub permanent: bool,
    /// Whether it is being loaded or unloaded.
    pub state: ModuleState,
    /// Where its memory begins.
    pub base: VirtAddr,
    /// Its taint flags, one bit each.
    pub taints: u64,
}

/// `enum module_state` of Linux.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModuleState {
    /// In use.
    Live,
    /// Being loaded.
    Coming,
    /// Being unloaded.
    Going,
    /// A number that no known kernel has.
    Other(u64),
}

impl ModuleLine {
    /// The taint flags as letters.
    #[must_use]
    pub fn taint_letters(&self) -> String {
        let letter = |bit: u32| {
            let set = self.taints >> bit & 1 == 1;
            let index = usize::try_from(bit).ok()?;
            let letter = TAINT_LETTERS.get(index).copied().unwrap_or(b'?');
            set.then_some(char::from(letter))
        };
        (0..u64::BITS).filter_map(letter).collect()
    }
}

impl fmt::Display for ModuleState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Live => "Live",
            Self::Coming => "Loading",
            Self::Going => "Unloading",
            Self::Other(_) => "Unknown",
        })
    }
}

/// As in `/proc/modules`, without the line's end.
impl fmt::Display for ModuleLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.size.get())?;
        match self.references {
            Some(references) => write!(f, " {references} ")?,
            None => f.write_str(" - ")?,
        }
        for user in &self.used_by {
            write!(f, "{user},")?;
        }
        match (self.permanent, self.used_by.is_empty()) {
            (true, _) => f.write_str("[permanent],")?,
            (false, true) => f.write_str("-")?,
            (false, false) => {}
        }
        write!(f, " {} {:#018x}", self.state, self.base.get())?;
        if self.taints == 0 {
            return Ok(());
        }
        let sign = match self.state {
            ModuleState::Coming => "+",
            ModuleState::Going => "-",
            _ => "",
        };
        write!(f, " ({}{sign})", self.taint_letters())
    }
}

/// What a listing reads of each module besides its name and memory.
pub(crate) struct ListingLayout {
    module: Shape,
    state: Field,
    references: Option<Field>,
    users: Option<Field>,
    init: Field,
    exit: Option<Field>,
    taints: Field,
    /// `module_use`: the link in the used module's list, and who uses it.
    uses: Shape,
    use_link: Option<Field>,
    user: Option<Field>,
    name: Shape,
    user_name: Field,
}

impl ListingLayout {
    pub(crate) fn from_btf(btf: &Btf) -> Result<Self, LinuxError> {
        let mut module = Shape::new("a module");
        let mut uses = Shape::new("a module's user");
        let mut name = Shape::new("a module's name");
        Ok(Self {
            state: module.need(btf, "module.state")?,
            references: module.find_moving(btf, "module.refcnt"),
            users: module.find(btf, "module.source_list"),
            init: module.need(btf, "module.init")?,
            exit: module.find(btf, "module.exit"),
            taints: module.need(btf, "module.taints")?,
            use_link: uses.find(btf, "module_use.source_list"),
            user: uses.find(btf, "module_use.source"),
            user_name: name.need(btf, "module.name")?,
            module,
            uses,
            name,
        })
    }

    /// The line of `module`. Lines that are read one after another share `users_left`.
    pub(crate) fn read(
        &self,
        virt: VirtMem<'_>,
        module: &Module,
        users_left: &mut UsersLeft,
    ) -> Result<ModuleLine, LinuxError> {
        let record = self.module.read(virt, module.at)?;
        let size = module.memory.iter();
        let size = size.fold(ByteLen::ZERO, |sum, part| sum.saturating_add(part.len()));
        let base = module.memory.first().map(|part| part.start());
        let unloads = self.references.is_some() && self.users.is_some();
        let has_exit = self.exit.is_none_or(|exit| record.number(exit) != 0);
        Ok(ModuleLine {
            name: Arc::clone(&module.name),
            size,
            // The list of modules itself holds one.
            references: self
                .references
                .map(|references| record.signed(references).saturating_sub(1)),
            used_by: match self.users {
                Some(users) => self.read_users(virt, record.address_of(users), users_left)?,
                None => Vec::new(),
            },
            permanent: unloads && record.number(self.init) != 0 && !has_exit,
            state: match record.number(self.state) {
                0 => ModuleState::Live,
                1 => ModuleState::Coming,
                2 => ModuleState::Going,
                other => ModuleState::Other(other),
            },
            base: base.unwrap_or_default(),
            taints: record.number(self.taints),
        })
    }

    fn read_users(
        &self,
        virt: VirtMem<'_>,
        head: VirtAddr,
        users_left: &mut UsersLeft,
    ) -> Result<Vec<String>, LinuxError> {
        let (Some(link), Some(user)) = (self.use_link, self.user) else {
            return Ok(Vec::new());
        };
        let mut users = Vec::new();
        walk_list(virt, "the users of a module", head, users_left.0, |node| {
            let malformed = LinuxError::Malformed {
                what: "a module's user",
                at: node,
                why: "its address is out of range",
            };
            let at = node.checked_sub(link.offset()).ok_or(malformed)?;
            let user = self.uses.read(virt, at)?.pointer(user);
            users.push(self.name.read(virt, user)?.text(self.user_name));
            Ok(())
        })?;
        users_left.0 = users_left.0.saturating_sub(users.len());
        Ok(users)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> ModuleLine {
        ModuleLine {
            name: "dummy".into(),
            size: ByteLen::new(16384),
            references: Some(0),
            used_by: Vec::new(),
            permanent: false,
            state: ModuleState::Live,
            base: VirtAddr::new(0xffff_ffff_c012_3000),
            taints: 0,
        }
    }

    #[test]
    fn writes_lines_as_the_kernel_does() {
        // G62.
        assert_eq!(
            line().to_string(),
            "dummy 16384 0 - Live 0xffffffffc0123000"
        );
        let used = ModuleLine {
            references: Some(2),
            used_by: vec!["a".into(), "b".into()],
            ..line()
        };
        assert_eq!(
            used.to_string(),
            "dummy 16384 2 a,b, Live 0xffffffffc0123000"
        );
        let odd = ModuleLine {
            references: None,
            permanent: true,
            state: ModuleState::Coming,
            taints: 1 << 12 | 1 << 13 | 1 << 40,
            ..line()
        };
        assert_eq!(
            odd.to_string(),
            "dummy 16384 - [permanent], Loading 0xffffffffc0123000 (OE?+)"
        );
    }
}
