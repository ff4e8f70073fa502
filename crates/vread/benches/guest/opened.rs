//! A guest as vread sees it.

use vread_guests::Guest;
use vread_physmem::Access;
use vread_targets::{Target, TargetWord};

/// The guest, mapped, by its first QMP socket.
pub(crate) fn open(guest: &Guest) -> Target {
    let word = TargetWord::QemuSocket(guest.qmp_path().to_owned());
    Target::open(word, Access::Mapped).unwrap()
}
