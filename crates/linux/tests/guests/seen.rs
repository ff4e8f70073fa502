//! A guest seen from outside.

use vread_addr::{ByteLen, FileOffset, PhysAddr, PhysRange, VirtAddr};
use vread_guests::Guest;
use vread_iov_iter::{IovIter, Progress};
use vread_kcore::{KcoreImage, ReadOptions, read_kcore_iter};
use vread_linux::Kernel;
use vread_nofault::UserBuf;
use vread_physmem::PhysMem;

/// A name and the test.
pub(crate) type Test = (&'static str, fn(&Guest));

/// The guest's RAM, below the hole for devices, so one range.
pub(crate) fn open(guest: &Guest) -> PhysMem {
    let file = guest.memory_file().unwrap();
    let len = std::fs::metadata(file).unwrap().len();
    let ram = PhysRange::from_len(PhysAddr::new(0), ByteLen::new(len)).unwrap();
    PhysMem::from_file(file, &[(ram, FileOffset::new(0))]).unwrap()
}

pub(crate) fn attach(guest: &Guest) -> Kernel {
    let kernel = Kernel::attach(open(guest)).unwrap();
    assert!(kernel.missing().is_empty(), "{:?}", kernel.missing());
    kernel
}

/// A kernel with its kcore.
pub(crate) struct Seen {
    pub(crate) kernel: Kernel,
    pub(crate) image: KcoreImage,
}

impl Seen {
    pub(crate) fn new(guest: &Guest) -> Self {
        let kernel = attach(guest);
        let image = kernel.kcore_image().unwrap();
        Self { kernel, image }
    }

    /// `len` bytes of kernel memory through the whole read path, and how they came about.
    pub(crate) fn read(&self, addr: u64, len: u64) -> (Vec<u8>, Progress) {
        // Not zeros, so that zeros must have been written.
        let mut bytes = vec![0xa5; usize::try_from(len).unwrap()];
        let at = self.image.offset_of(VirtAddr::new(addr)).unwrap();
        let mut segment = UserBuf::new(&mut bytes);
        let mut iter = IovIter::ubuf(&mut segment);
        let options = ReadOptions::default();
        let progress = read_kcore_iter(&self.image, &self.kernel, &mut iter, at, options).unwrap();
        assert_eq!(progress.stopped, None);
        assert_eq!(progress.advanced().get(), len);
        (bytes, progress)
    }
}
