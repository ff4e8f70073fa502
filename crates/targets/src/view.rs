use std::fmt;

/// Which layout of a target's memory as a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum View {
    /// As `/proc/kcore` lays it out: text, vmalloc space, modules, page descriptors and RAM, at file
    /// offsets that follow the virtual addresses.
    Kcore,
    /// As a dump lays it out: text and RAM one after another, with physical addresses; what crash and
    /// makedumpfile want.
    Vmcore,
}

impl View {
    /// The file's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Kcore => "kcore",
            Self::Vmcore => "vmcore",
        }
    }
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
