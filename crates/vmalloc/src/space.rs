use core::iter;
use core::ops::Deref;

use vread_addr::{ByteLen, PhysAddr, VirtAddr};
use vread_iov_iter::SourceFailure;

use crate::VmapArea;

/// What [`vread_iter`](crate::vread_iter) asks of a kernel: which area comes next, and which pages
/// are behind an address.
pub trait VmapSpace {
    /// An area, and whatever keeps it from being freed for as long as this value lives: a lock's guard
    /// in a kernel (R28), a mere copy where nothing can be locked, as in a guest seen from outside.
    ///
    /// Nothing that sleeps or faults is done while one is alive.
    type Locked<'a>: Deref<Target = VmapArea>
    where
        Self: 'a;

    /// The lowest area whose end lies above `addr`, held (R3, V19).
    ///
    /// Only areas with a byte in `[addr, addr + within)` matter: for one that starts beyond, `None` is
    /// as good an answer.
    ///
    /// # Errors
    ///
    /// [`SourceFailure`] where the areas as a whole can no longer be read.
    fn find_vmap_area_exceed_addr_lock(
        &self,
        addr: VirtAddr,
        within: ByteLen,
    ) -> Result<Option<Self::Locked<'_>>, SourceFailure>;

    /// What is mapped at `addr`, a run of at most `max` bytes (at least 1): Linux's `vmalloc_to_page`
    /// for as long as the pages lie one after another. It may end early, but never empty.
    ///
    /// Translations are walked at every call: vmalloc space moves. For an address of a block area whose
    /// page is not in use, this is a hole (V26, R26).
    ///
    /// # Errors
    ///
    /// [`SourceFailure`] where the page tables as a whole can no longer be read.
    #[doc(alias = "vmalloc_to_page")]
    fn vmalloc_to_run(&self, addr: VirtAddr, max: ByteLen) -> Result<PageRun, SourceFailure>;

    /// The runs that follow one another from `addr` on, of at most `max` bytes (at least 1) each: what
    /// [`vmalloc_to_run`](Self::vmalloc_to_run) would say at each, for those that can tell it without a walk
    /// from the root. It may end early; none at all means that nothing is mapped in the page of `addr`. What is
    /// said behind `max` bytes in all has no meaning.
    ///
    /// Each is looked up when it is asked for.
    ///
    /// # Errors
    ///
    /// As for `vmalloc_to_run`, in place of the run that could not be read; no more is asked for then.
    fn vmalloc_to_runs(
        &self,
        addr: VirtAddr,
        max: ByteLen,
    ) -> impl Iterator<Item = Result<PageRun, SourceFailure>> {
        iter::once_with(move || self.vmalloc_to_run(addr, max))
    }
}

/// What is mapped at an address, and for how many bytes that holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageRun {
    /// Memory that lies one after another in physical space.
    Mapped {
        /// Where the first byte lies.
        phys: PhysAddr,
        /// How many bytes follow on.
        len: ByteLen,
    },
    /// Nothing is mapped.
    Hole {
        /// For how many bytes.
        len: ByteLen,
    },
}

impl PageRun {
    /// How many bytes the answer holds for.
    #[must_use]
    pub fn len(&self) -> ByteLen {
        match *self {
            Self::Mapped { len, .. } | Self::Hole { len } => len,
        }
    }

    /// Whether the answer is of no use, which [`VmapSpace::vmalloc_to_run`] never gives.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len().is_zero()
    }
}
