use std::fmt;

use crate::LinuxError;

/// Something that an attached kernel lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// What: a word such as `symbols`, `types` or `areas`.
    pub what: &'static str,
    /// What does not work without it.
    pub consequence: &'static str,
    /// Why it is missing.
    pub why: LinuxError,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            what,
            consequence,
            why,
        } = self;
        write!(f, "no {what} ({why}): {consequence}")
    }
}
