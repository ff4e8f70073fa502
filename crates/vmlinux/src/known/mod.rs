//! Kernel variables that BTF does not know, with their types.
//!
//! BTF has the types of functions and of per-CPU variables, and of no other variable. What debuggers
//! start from, such as `init_task`, is named here, once for each range of kernels in which it has one
//! type. Types are those of the debug files of Debian's 5.10, 6.1, 6.12 and 7.2. When a file is written
//! each is held against the kernel's BTF and symbols: a type that is not there, that two types share the
//! name of, or that is larger than the room up to the next symbol is left out.

mod core;
mod devices;
mod memory;
mod notation;

pub use notation::{Base, Extent, Notation};

/// A kernel's version, major and minor.
type Version = (u16, u16);

/// A variable and its type, in the kernels from one to another.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    /// The symbol.
    pub name: &'static str,
    of: &'static str,
    from: Version,
    /// The last one.
    to: Version,
}

const fn known(name: &'static str, of: &'static str) -> Known {
    Known {
        name,
        of,
        from: (0, 0),
        to: (u16::MAX, u16::MAX),
    }
}

impl Known {
    const fn from(self, major: u16, minor: u16) -> Self {
        Self {
            from: (major, minor),
            ..self
        }
    }

    const fn to(self, major: u16, minor: u16) -> Self {
        Self {
            to: (major, minor),
            ..self
        }
    }

    /// Its type.
    pub fn notation(&self) -> Option<Notation> {
        Notation::parse(self.of)
    }
}

/// The variables that a kernel of this release may have.
pub fn variables(release: &str) -> impl Iterator<Item = &'static Known> {
    let version = version(release);
    let all = core::KNOWN
        .iter()
        .chain(memory::KNOWN)
        .chain(devices::KNOWN);
    all.filter(move |known| match version {
        Some(version) => (known.from..=known.to).contains(&version),
        // Of a release that says nothing, only what is the same in all.
        None => known.from == (0, 0) && known.to == (u16::MAX, u16::MAX),
    })
}

/// The type of a kernel variable that BTF does not know, as C writes it, in a kernel of this release.
///
/// Whether the kernel at hand has such a variable and such a type is for the caller to find out.
#[must_use]
pub fn written_type(release: &str, variable: &str) -> Option<&'static str> {
    let mut named = variables(release).filter(|known| known.name == variable);
    named.next().map(|known| known.of)
}

/// `6.12` of `6.12.48+deb13-cloud-amd64`.
fn version(release: &str) -> Option<Version> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut number = || numbers.next()?.parse().ok();
    Some((number()?, number()?))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn reads_versions() {
        assert_eq!(version("6.12.48+deb13-cloud-amd64"), Some((6, 12)));
        assert_eq!(version("7.2-rc3"), Some((7, 2)));
        assert_eq!(version("next"), None);
        assert_eq!(version("99999.1"), None);
    }

    #[test]
    fn every_type_is_written_in_a_way_that_is_understood() {
        for release in ["5.10", "6.1", "6.12", "7.2"] {
            for known in variables(release) {
                assert!(known.notation().is_some(), "{}: {}", known.name, known.of);
            }
        }
    }

    #[test]
    fn no_variable_has_two_types_in_one_kernel() {
        for release in ["5.10", "6.1", "6.6", "6.12", "7.0", "7.2", "8.0"] {
            let mut seen = HashSet::new();
            for known in variables(release) {
                assert!(seen.insert(known.name), "{release}: {}", known.name);
            }
        }
    }

    #[test]
    fn a_type_holds_in_its_range_only() {
        let of = |release, name| {
            let mut found = variables(release).filter(|known| known.name == name);
            found.next().map(|known| known.of)
        };
        assert_eq!(
            of("6.12.1", "file_systems"),
            Some("struct file_system_type *")
        );
        assert_eq!(of("7.2.0", "file_systems"), Some("struct hlist_head"));
        // Between the kernels that were looked at.
        assert_eq!(of("6.18.0", "file_systems"), None);
        assert_eq!(of("6.18.0", "init_task"), Some("struct task_struct"));
    }
}
