//! Memory of known content in the kernel: BPF array maps whose data is one vmalloc area each.

mod syscall;

use std::io;
use std::os::fd::OwnedFd;

use vread_guest_helper::pattern;
use vread_guest_helper::protocol::MapId;

/// One element of a map is one page, so that the data has no gaps.
const PAGE_BYTES: u64 = 4096;

/// The maps of this helper; a map's id is its place here and is not used again.
#[derive(Debug, Default)]
pub(crate) struct Maps(Vec<Option<Map>>);

#[derive(Debug)]
struct Map {
    fd: OwnedFd,
    pages: u32,
}

impl Maps {
    pub(crate) fn create(&mut self, bytes: u64, seed: u64) -> io::Result<MapId> {
        let pages = u32::try_from(bytes.div_ceil(PAGE_BYTES)).map_err(io::Error::other)?;
        let map = Map {
            fd: syscall::create_array_map(PAGE_BYTES as u32, pages)?,
            pages,
        };
        map.fill(seed)?;
        self.0.push(Some(map));
        Ok(MapId((self.0.len() - 1) as u32))
    }

    pub(crate) fn fill(&mut self, id: MapId, seed: u64) -> io::Result<()> {
        self.slot(id)?
            .as_ref()
            .map_or_else(|| Err(no_such(id)), |map| map.fill(seed))
    }

    pub(crate) fn close(&mut self, id: MapId) -> io::Result<()> {
        self.slot(id)?.take().map(drop).ok_or_else(|| no_such(id))
    }

    fn slot(&mut self, id: MapId) -> io::Result<&mut Option<Map>> {
        self.0.get_mut(id.0 as usize).ok_or_else(|| no_such(id))
    }
}

impl Map {
    fn fill(&self, seed: u64) -> io::Result<()> {
        let mut page = [0; PAGE_BYTES as usize];
        for index in 0..self.pages {
            pattern::fill(
                seed,
                u64::from(index) * (PAGE_BYTES / pattern::WORD_BYTES),
                &mut page,
            );
            syscall::update_element(&self.fd, index, &page)?;
        }
        Ok(())
    }
}

fn no_such(id: MapId) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("there is no map {}", id.0))
}
