use std::{
    ffi::{OsStr, OsString},
    fmt,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::PathBuf,
};

use crate::{TargetError, error::printable};

/// What to look at, as said on a command line.
///
/// | word | target |
/// |---|---|
/// | `qemu:/run/vm.sock` | the guest of the QEMU that serves QMP on this socket |
/// | `qemu:1234` | the guest of the QEMU with this process id |
/// | `arena` | a vmalloc arena inside this process |
///
/// A socket whose name is a number is said with its folder: `qemu:./1234`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TargetWord {
    /// A QEMU's guest, by the path of its QMP socket.
    QemuSocket(PathBuf),
    /// A QEMU's guest, by QEMU's process id.
    QemuPid(u32),
    /// A vmalloc arena of our own.
    Arena,
}

impl TargetWord {
    /// Reads the word.
    ///
    /// # Errors
    ///
    /// [`TargetError::UnknownWord`] and [`TargetError::NothingAfterQemu`].
    pub fn parse(word: &OsStr) -> Result<Self, TargetError> {
        let bytes = word.as_bytes();
        if bytes == b"arena" {
            return Ok(Self::Arena);
        }
        let Some(rest) = bytes.strip_prefix(b"qemu:") else {
            return Err(TargetError::UnknownWord {
                word: printable(bytes),
            });
        };
        if rest.is_empty() {
            return Err(TargetError::NothingAfterQemu);
        }
        if rest.iter().all(u8::is_ascii_digit)
            && let Some(pid) = str::from_utf8(rest).ok().and_then(|pid| pid.parse().ok())
        {
            return Ok(Self::QemuPid(pid));
        }
        Ok(Self::QemuSocket(PathBuf::from(OsString::from_vec(
            rest.to_vec(),
        ))))
    }
}

impl fmt::Display for TargetWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::QemuSocket(path) => write!(f, "qemu:{}", path.display()),
            Self::QemuPid(pid) => write!(f, "qemu:{pid}"),
            Self::Arena => f.write_str("arena"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(word: &str) -> Result<TargetWord, TargetError> {
        TargetWord::parse(OsStr::new(word))
    }

    #[test]
    fn reads_each_kind() {
        assert_eq!(parse("arena").unwrap(), TargetWord::Arena);
        assert_eq!(parse("qemu:17").unwrap(), TargetWord::QemuPid(17));
        assert_eq!(
            parse("qemu:./17").unwrap(),
            TargetWord::QemuSocket("./17".into())
        );
        assert_eq!(
            parse("qemu:99999999999").unwrap(),
            TargetWord::QemuSocket("99999999999".into())
        );
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        assert!(matches!(parse("qemu:"), Err(TargetError::NothingAfterQemu)));
        let error = parse("vbox:\u{1b}[31m").unwrap_err().to_string();
        assert!(error.contains("`vbox:\\x1b[31m`"), "{error}");
    }
}
