use vread_addr::{ByteLen, VirtAddr};
use vread_linux::Kernel;

/// Where the kernel's image and its modules begin, whatever they were moved by (`__START_KERNEL_map` of
/// x86_64). Everything below is a number or an address that was not linked.
const START_KERNEL_MAP: VirtAddr = VirtAddr::new(0xffff_ffff_8000_0000);

/// Which addresses a vmlinux has. Nothing else differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AddressForm {
    /// Those that the image was linked at, as in the distribution's own file. drgn and crash add the
    /// distance to where it lies by themselves.
    LinkTime,
    /// Those of now. gdb knows of no distance.
    RunTime,
}

/// How addresses of now become those of a form.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Relocation {
    down: ByteLen,
    /// What to add to an address to find it in physical memory, modulo 2^64.
    pub(crate) to_phys: u64,
}

impl Relocation {
    pub(crate) fn new(kernel: &Kernel, form: AddressForm) -> Self {
        let to_linked = START_KERNEL_MAP.get().wrapping_neg();
        match form {
            AddressForm::LinkTime => Self {
                down: kernel.kaslr_offset(),
                to_phys: to_linked,
            },
            AddressForm::RunTime => Self {
                down: ByteLen::ZERO,
                // WRAP: as the kernel itself computes it.
                to_phys: to_linked.wrapping_add(kernel.phys_base()),
            },
        }
    }

    /// Every address as it is.
    #[cfg(test)]
    pub(crate) fn none() -> Self {
        Self {
            down: ByteLen::ZERO,
            to_phys: 0,
        }
    }

    /// The address in the file.
    pub(crate) fn apply(self, addr: VirtAddr) -> u64 {
        match addr >= START_KERNEL_MAP {
            // WRAP: a forged distance gives forged addresses, and nothing else.
            true => addr.get().wrapping_sub(self.down.get()),
            false => addr.get(),
        }
    }
}
