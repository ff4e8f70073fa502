//! The target `arena`: vmalloc space inside this process, to try everything on without a guest.

use std::{sync::atomic::AtomicBool, time::Instant};

use vread_addr::{ByteLen, PageCount, VirtAddr, VirtRange};
use vread_iov_iter::{Destination, IovIter, Progress};
use vread_kcore::{
    ElfMachine, KcoreError, KcoreImage, KcoreSegment, KernelMemory, OffsetRule, SegmentKind,
};
use vread_linux::{Symbol, SymbolOffset};

use vread_vmalloc::{Arena, ArenaError, HeapFrames, vread_iter};

use crate::{AreaLine, churn::Churn};

/// Where vmalloc space of x86_64 begins without KASLR, so that addresses look familiar.
const WINDOW_START: VirtAddr = VirtAddr::new(0xffff_c900_0000_0000);
const WINDOW_LEN: ByteLen = ByteLen::new(64 << 20);

const FRAMES: PageCount = PageCount::new(1024);

/// The offset rule of x86_64 with 4 levels of page tables, as the addresses are.
pub(crate) const RULE: OffsetRule = OffsetRule::X86_64_4_LEVEL;

const GREETING: &[u8] = b"This is vmalloc memory of an arena inside vread.\n";
const PATTERN_LEN: ByteLen = ByteLen::new(256 << 10);

/// An arena with a few areas: a text, a pattern, a hole where an area was freed, a window of device
/// memory (which reads as zeros), and a clock that moves.
#[derive(Debug)]
pub(crate) struct ArenaTarget {
    arena: Arena<HeapFrames>,
    symbols: Vec<Symbol>,
    clock: VirtAddr,
    made: Instant,
}

impl ArenaTarget {
    pub(crate) fn new() -> Result<Self, ArenaError> {
        let Some(window) = VirtRange::from_len(WINDOW_START, WINDOW_LEN) else {
            return Err(ArenaError::ZeroSize);
        };
        let arena = Arena::new(window, HeapFrames::new(FRAMES))?;
        let greeting = arena.vmalloc(ByteLen::from_usize(GREETING.len()))?;
        arena.write(greeting, GREETING)?;
        let freed = arena.vmalloc(PATTERN_LEN)?;
        let pattern = arena.vmalloc(PATTERN_LEN)?;
        arena.write(pattern, &pattern_bytes())?;
        let clock = arena.vmalloc(ByteLen::new(8))?;
        arena.vfree(freed)?;
        let symbol = |name: &str, addr| Symbol {
            addr,
            letter: 'd',
            name: name.into(),
            module: None,
        };
        Ok(Self {
            symbols: vec![
                symbol("greeting", greeting),
                symbol("pattern", pattern),
                symbol("nanoseconds", clock),
            ],
            arena,
            clock,
            made: Instant::now(),
        })
    }

    /// Names for the areas' first bytes, ascending.
    pub(crate) fn symbols(&self) -> &[Symbol] {
        &self.symbols
    }

    pub(crate) fn segments(&self) -> [KcoreSegment; 1] {
        let window = self.arena.window();
        [KcoreSegment {
            kind: SegmentKind::Vmalloc,
            start: window.start(),
            len: window.len(),
            phys: None,
        }]
    }

    pub(crate) fn kcore(&self) -> Result<KcoreImage, KcoreError> {
        KcoreImage::kcore(ElfMachine::X86_64, RULE, &self.segments(), &[])
    }

    pub(crate) fn vmcore(&self) -> Result<KcoreImage, KcoreError> {
        KcoreImage::vmcore(ElfMachine::X86_64, &self.segments(), &[])
    }

    /// The area that `addr` lies in, as the kernel would name an address of its own.
    pub(crate) fn resolve(&self, addr: VirtAddr) -> Option<String> {
        let area = self
            .arena
            .areas()
            .into_iter()
            .find(|area| area.range.contains(addr))?;
        let start = area.range.start();
        let symbol = self.symbols.iter().find(|symbol| symbol.addr == start)?;
        let covering = SymbolOffset {
            name: symbol.name.clone(),
            offset: addr.checked_offset_from(start)?,
            size: area.range.len(),
            module: None,
        };
        Some(covering.to_string())
    }

    pub(crate) fn vmallocinfo(&self) -> Vec<AreaLine> {
        let lines = self.arena.vmallocinfo().into_iter();
        lines.map(|line| AreaLine::from(&line)).collect()
    }

    /// Lets areas come and go until told to. Returns the rounds.
    pub(crate) fn churn(&self, stop: &AtomicBool) -> Result<u64, ArenaError> {
        Churn::new(&self.arena).run(stop)
    }

    /// Makes the clock show now.
    fn tick(&self) {
        let nanoseconds = u64::try_from(self.made.elapsed().as_nanos()).unwrap_or(u64::MAX);
        // The area is never freed, so this cannot be refused; and a clock that stands is no disaster.
        let _ = self.arena.write(self.clock, &nanoseconds.to_le_bytes());
    }
}

/// 64-bit words, each its own byte offset: a wrong byte tells where it came from.
fn pattern_bytes() -> Vec<u8> {
    (0..PATTERN_LEN.get())
        .step_by(8)
        .flat_map(u64::to_le_bytes)
        .collect()
}

impl<D: Destination> KernelMemory<D> for ArenaTarget {
    fn vread_iter(&self, iter: &mut IovIter<'_, D>, addr: VirtAddr, len: ByteLen) -> Progress {
        self.tick();
        vread_iter(&self.arena, iter, addr, len)
    }

    /// There are no other segments.
    fn copy_segment_to_iter_nofault(
        &self,
        _segment: &KcoreSegment,
        iter: &mut IovIter<'_, D>,
        _addr: VirtAddr,
        len: ByteLen,
    ) -> Progress {
        Progress::zeroed(ByteLen::from_usize(
            iter.zero_nofault(len.to_usize_clamped()),
        ))
    }
}
