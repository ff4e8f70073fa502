use bitflags::bitflags;

bitflags! {
    /// `vm_struct.flags` (V5; Linux 7.2, where nothing is said since 5.10). Unknown bits are kept.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct VmFlags: u64 {
        /// Device memory: its content must never be read.
        const IOREMAP = 0x1;
        /// The pages belong to the allocation.
        const ALLOC = 0x2;
        /// The caller's pages are mapped.
        const MAP = 0x4;
        /// May be mapped to user space.
        const USERMAP = 0x8;
        /// Coherent DMA memory, which can be read.
        const DMA_COHERENT = 0x10;
        /// The area is listed, its pages and its mapping are not complete.
        const UNINITIALIZED = 0x20;
        /// The size counts no trailing guard page.
        const NO_GUARD = 0x40;
        /// Shadow memory is allocated; of no effect on reads.
        const KASAN = 0x80;
        /// The direct map's permissions are restored on free.
        const FLUSH_RESET_PERMS = 0x100;
        /// The mapped pages are freed with the area.
        const MAP_PUT_PAGES = 0x200;
        /// Huge leaves are allowed (since 6.1).
        const ALLOW_HUGE_VMAP = 0x400;
        /// Pages come and go: treated as a hole (since 6.12).
        const SPARSE = 0x1000;
        const _ = !0;
    }
}

bitflags! {
    /// The type bits of `vmap_area.flags` (V2; since 6.12). The byte above them, a node number, is
    /// masked off before a value gets here.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct VmapAreaFlags: u64 {
        /// Made by `vm_map_ram`.
        const RAM = 0x1;
        /// Subdivided by a block; only together with [`RAM`](Self::RAM).
        const BLOCK = 0x2;
    }
}
