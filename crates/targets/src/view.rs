use std::fmt;

/// Which layout of a target's memory as a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum View {
    /// As `/proc/kcore` lays it out: text, vmalloc space, modules, page descriptors and RAM, at file
    /// offsets that follow the virtual addresses.
    Kcore,
    /// As a dump lays it out: text and RAM one after another, with physical addresses; what crash and
    /// makedumpfile want. Its notes have the registers of each processor.
    Vmcore,
    /// As [`Vmcore`](Self::Vmcore), for crash's live mode: the kernel runs, no task has panicked.
    VmcoreLive,
}

impl View {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Kcore, Self::Vmcore, Self::VmcoreLive];

    /// The file's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Kcore => "kcore",
            Self::Vmcore => "vmcore",
            Self::VmcoreLive => "vmcore.live",
        }
    }
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
