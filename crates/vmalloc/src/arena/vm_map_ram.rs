use alloc::vec::Vec;

use lock_api::RawRwLock;
use vread_addr::{ByteLen, PAGE_SIZE, PageCount, Pfn, VirtAddr, VirtRange};

use super::area_state::{AreaKind, AreaState, Owns, Slot, check, check_mut};
use super::block::{BLOCK_PAGES, Block, MAX_BLOCK_RUN};
use super::vmap::frames_len;
use super::{Arena, ArenaError, FrameProvider};

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
            let (start, slot) = self.ram_area(size, PAGE_SIZE, AreaKind::Ram)?;
            if let Err(error) = self.map(start, frames) {
                self.abandon(start, slot);
                return Err(error);
            }
            slot.publish(Owns::Nothing);
            return Ok(start);
        }
        loop {
            let mut blocks = self.blocks.write();
            let mut found = None;
            // A full block is found through its address alone (V24).
            blocks.retain(|block| match found {
                Some(_) => true,
                None => {
                    let (at, room) = self.map_in_block(*block, pages, frames);
                    found = at;
                    room == Room::Left
                }
            });
            drop(blocks);
            if let Some(result) = found {
                return result;
            }
            let block = self.new_block()?;
            self.blocks.write().push(block);
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
            let slot = self.index.at(addr)?;
            let area_len = check(&slot.read(), addr, AreaKind::Ram, CALL)?.len;
            return match area_len == len {
                true => self.free_area(addr, AreaKind::Ram, CALL),
                false => Err(ArenaError::OutOfArea { addr, len }),
            };
        }
        let found = self.index.around(addr);
        let (start, slot) = found.ok_or(ArenaError::NotAnArea { addr })?;
        let spent = {
            let mut held = slot.write();
            let area = check_mut(&mut held, start, AreaKind::Block, CALL)?;
            let offset = addr
                .checked_offset_from(start)
                .ok_or(ArenaError::NotAnArea { addr })?;
            let run = area.block().and_then(|block| {
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
        self.blocks.write().retain(|start| {
            let Ok(slot) = self.index.at(*start) else {
                return false;
            };
            let mut area = slot.write();
            let block = area.as_mut().and_then(AreaState::block);
            let idle = block.is_some_and(Block::spend_if_idle);
            if idle {
                spent.push(*start);
            }
            !idle
        });
        for start in spent {
            // Nobody else frees it: it is in use nowhere, and out of the list of blocks.
            let _freed = self.free_area(start, AreaKind::Block, "purge_vmap_area_lazy");
        }
    }

    /// Where `frames` are mapped in the block at `start`, if it has room for them, and whether it has room
    /// for more.
    fn map_in_block(
        &self,
        start: VirtAddr,
        pages: PageCount,
        frames: &[Pfn],
    ) -> (Option<Result<VirtAddr, ArenaError>>, Room) {
        let Ok(slot) = self.index.at(start) else {
            return (None, Room::None);
        };
        let mut area = slot.write();
        let Some(block) = area.as_mut().and_then(AreaState::block) else {
            return (None, Room::None);
        };
        let mapped = block.take(pages).and_then(|first| {
            let offset = PageCount::new(first).checked_bytes()?;
            let at = start.checked_add(offset)?;
            let mapped = self.map(at, frames);
            if mapped.is_err() {
                block.give_back(first, pages);
            }
            Some(mapped.map(|()| at))
        });
        match block.is_full() {
            true => (mapped, Room::None),
            false => (mapped, Room::Left),
        }
    }

    fn new_block(&self) -> Result<VirtAddr, ArenaError> {
        let size = BLOCK_PAGES.checked_bytes().unwrap_or_default();
        let (start, slot) = self.ram_area(size, size, AreaKind::Block)?;
        slot.publish(Owns::Block(Block::new()));
        Ok(start)
    }

    /// An area without descriptor and guard page, in transition until it gets its type flags (V3).
    fn ram_area(
        &self,
        size: ByteLen,
        align: ByteLen,
        kind: AreaKind,
    ) -> Result<(VirtAddr, &Slot<R>), ArenaError> {
        let request = self.request(size, align, self.window(), Some)?;
        self.index.insert(request, kind)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Room {
    Left,
    None,
}
