use alloc::sync::Arc;
use alloc::vec::Vec;

use lock_api::RawRwLock;
use vread_addr::{ByteLen, PAGE_SIZE, PageCount, Pfn, VirtAddr, VirtRange};

use super::area_state::{AreaKind, AreaState, Shared};
use super::block::{BLOCK_PAGES, Block, MAX_BLOCK_RUN};
use super::vmap::frames_len;
use super::{Arena, ArenaError, FrameProvider};
use crate::{VmapArea, VmapAreaFlags};

impl<P: FrameProvider, R: RawRwLock> Arena<P, R> {
    /// Maps frames of the caller's for a short time: up to 64 of them in a block that many share, more
    /// in an area of their own. There is no guard page behind them (V6, V21).
    ///
    /// # Errors
    ///
    /// [`ArenaError::ZeroSize`] for no frame, [`ArenaError::Frame`], [`ArenaError::TooLarge`],
    /// [`ArenaError::NoSpace`].
    pub fn vm_map_ram(&self, frames: &[Pfn]) -> Result<VirtAddr, ArenaError> {
        let size = frames_len(frames)?;
        let pages = PageCount::to_hold(size);
        if size.is_zero() {
            return Err(ArenaError::ZeroSize);
        }
        if pages > MAX_BLOCK_RUN {
            let flags = VmapAreaFlags::RAM;
            let (start, shared) = self.ram_area(size, PAGE_SIZE, AreaKind::Ram, None)?;
            self.map(start, frames);
            shared.write().area.flags = flags;
            return Ok(start);
        }
        loop {
            let mut blocks = self.blocks.write();
            for shared in blocks.iter() {
                if let Some(start) = self.map_in_block(shared, pages, frames) {
                    // A full block is found through its address alone (V24).
                    blocks.retain(|shared| !is_full(shared));
                    return Ok(start);
                }
            }
            drop(blocks);
            let shared = self.new_block()?;
            self.blocks.write().push(shared);
        }
    }

    /// Takes the mapping of `count` pages at `addr` away that [`vm_map_ram`](Self::vm_map_ram) made. When
    /// this returns, nobody reads the frames through it any more.
    ///
    /// # Errors
    ///
    /// [`ArenaError::Unaligned`], [`ArenaError::NotAnArea`], [`ArenaError::InsideArea`],
    /// [`ArenaError::WrongKind`]; [`ArenaError::OutOfArea`] where the area has another size;
    /// [`ArenaError::NotMapped`] where the block has no such run in use.
    pub fn vm_unmap_ram(&self, addr: VirtAddr, count: PageCount) -> Result<(), ArenaError> {
        const CALL: &str = "vm_unmap_ram";
        if !addr.is_page_aligned() {
            return Err(ArenaError::Unaligned { addr });
        }
        let len = count.checked_bytes().unwrap_or(ByteLen::new(u64::MAX));
        if count > MAX_BLOCK_RUN {
            let shared = self.index.read().at(addr)?;
            let area_len = {
                let area = shared.read();
                area.check(addr, AreaKind::Ram, CALL)?;
                area.area.range.len()
            };
            return match area_len == len {
                true => self.free_area(addr, AreaKind::Ram, CALL),
                false => Err(ArenaError::OutOfArea { addr, len }),
            };
        }
        let found = self.index.read().find_exceeding(addr);
        let shared = found.ok_or(ArenaError::NotAnArea { addr })?;
        let spent = {
            let mut area = shared.write();
            let start = area.area.range.start();
            let offset = addr
                .checked_offset_from(start)
                .ok_or(ArenaError::NotAnArea { addr })?;
            area.check(start, AreaKind::Block, CALL)?;
            let run = area.block.as_mut().and_then(|block| {
                // V24: the run is given up first, then unmapped.
                block.give_back(PageCount::to_hold(offset).get(), count)?;
                Some(block.is_spent())
            });
            let spent = run.ok_or(ArenaError::NotMapped { addr })?;
            if let Some(range) = VirtRange::from_len(addr, len) {
                self.unmap(range);
            }
            spent.then_some(start)
        };
        match spent {
            // A spent block was full before, so that nobody finds it in the list of blocks.
            Some(start) => self.free_area(start, AreaKind::Block, CALL),
            None => Ok(()),
        }
    }

    pub(super) fn purge_fragmented_blocks(&self) {
        let mut spent = Vec::new();
        self.blocks.write().retain(|shared| {
            let mut area = shared.write();
            let idle = area.block.as_mut().is_some_and(Block::spend_if_idle);
            if idle {
                spent.push(area.area.range.start());
            }
            !idle
        });
        for start in spent {
            // Nobody else frees it: it is in use nowhere, and out of the list of blocks.
            let _freed = self.free_area(start, AreaKind::Block, "purge_vmap_area_lazy");
        }
    }

    fn map_in_block(
        &self,
        shared: &Shared<R>,
        pages: PageCount,
        frames: &[Pfn],
    ) -> Option<VirtAddr> {
        let mut area = shared.write();
        let start = area.area.range.start();
        let first = area.block.as_mut()?.take(pages)?;
        // WRAP: the run lies in the block.
        let at = start.wrapping_add(PageCount::new(first).checked_bytes()?);
        self.map(at, frames);
        Some(at)
    }

    fn new_block(&self) -> Result<Shared<R>, ArenaError> {
        let size = BLOCK_PAGES.checked_bytes().unwrap_or_default();
        let block = Some(Block::new());
        let (_start, shared) = self.ram_area(size, size, AreaKind::Block, block)?;
        shared.write().area.flags = VmapAreaFlags::RAM | VmapAreaFlags::BLOCK;
        Ok(shared)
    }

    /// An area without descriptor and guard page, in transition until it gets its type flags (V3).
    fn ram_area(
        &self,
        size: ByteLen,
        align: ByteLen,
        kind: AreaKind,
        block: Option<Block>,
    ) -> Result<(VirtAddr, Shared<R>), ArenaError> {
        let request = self.request(size, align, self.window(), Some)?;
        self.index.write().insert(request, |range| AreaState {
            area: VmapArea {
                range,
                flags: VmapAreaFlags::empty(),
                vm: None,
            },
            kind,
            frames: Vec::new(),
            block,
        })
    }
}

fn is_full<R: RawRwLock>(shared: &Arc<lock_api::RwLock<R, AreaState>>) -> bool {
    shared.read().block.as_ref().is_none_or(Block::is_full)
}
