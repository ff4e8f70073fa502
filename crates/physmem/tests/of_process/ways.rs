//! Which way is taken, and how a refusal is told.

use std::env;
use std::process::Command;

use nix::unistd::{Gid, Uid, setgid, setuid};
use vread_addr::{ByteLen, PhysAddr, PhysRange, VirtAddr};
use vread_physmem::{Access, AccessMode, OpenError, PhysMem};

use crate::vmm::{PAGE, PAGES, Ram, Vmm};
use crate::{LOOK, is_root};

const LEN: usize = PAGES * PAGE;
const NOBODY: u32 = 65534;

pub(crate) fn takes_the_fastest_way() {
    let vmm = Vmm::start();
    let mode = |kinds: &[Ram]| {
        let ranges = kinds.iter().zip((0_u64..).step_by(1 << 30));
        let ranges: Vec<_> = ranges
            .map(|(kind, start)| {
                let len = ByteLen::from_usize(LEN);
                let range = PhysRange::from_len(PhysAddr::new(start), len).unwrap();
                (range, vmm.addr(*kind))
            })
            .collect();
        PhysMem::of_process(vmm.pid(), &ranges)
            .unwrap()
            .access_mode()
    };
    assert_eq!(mode(&[Ram::Memfd]), AccessMode::Mapped);
    assert_eq!(mode(&[Ram::Anonymous]), AccessMode::VmReadv);
    assert_eq!(mode(&[Ram::PrivateFile]), AccessMode::VmReadv);
    assert_eq!(mode(&[Ram::Memfd, Ram::Anonymous]), AccessMode::Mixed);
    // These two have no name but the mapping, whose link takes a capability to follow.
    let nameless = if is_root() {
        AccessMode::Mapped
    } else {
        AccessMode::VmReadv
    };
    assert_eq!(mode(&[Ram::ClosedMemfd]), nameless);
    assert_eq!(mode(&[Ram::SharedAnonymous]), nameless);
}

pub(crate) fn a_demanded_way() {
    let vmm = Vmm::start();
    let open = |kind, access| PhysMem::of_process_with(vmm.pid(), &vmm.whole(kind), access);
    let mapped = open(Ram::Memfd, Access::Mapped).unwrap();
    assert_eq!(mapped.access_mode(), AccessMode::Mapped);
    let read = open(Ram::Memfd, Access::VmReadv).unwrap();
    assert_eq!(read.access_mode(), AccessMode::VmReadv);
    for kind in [Ram::Anonymous, Ram::PrivateFile] {
        let error = open(kind, Access::Mapped).unwrap_err();
        assert!(matches!(error, OpenError::CannotMap { .. }), "{error}");
        assert!(error.to_string().contains("share=on"), "{error}");
    }
}

pub(crate) fn refusals_name_their_cause() {
    let mut vmm = Vmm::start();
    let nothing = [(vmm.whole(Ram::Memfd)[0].0, VirtAddr::new(0x1000))];
    let error = PhysMem::of_process(vmm.pid(), &nothing).unwrap_err();
    assert!(matches!(error, OpenError::NotMapped { addr, .. } if addr == VirtAddr::new(0x1000)));
    let wraps = [(nothing[0].0, VirtAddr::new(u64::MAX - 4095))];
    let error = PhysMem::of_process(vmm.pid(), &wraps).unwrap_err();
    assert!(matches!(error, OpenError::Wraps { .. }));
    let ranges = vmm.whole(Ram::Memfd);
    let pid = vmm.pid();
    vmm.end();
    drop(vmm);
    for nobody in [pid, 0, u32::MAX] {
        let error = PhysMem::of_process(nobody, &ranges).unwrap_err();
        assert!(matches!(error, OpenError::NoProcess { .. }), "{error}");
        assert!(error.to_string().contains(&nobody.to_string()));
    }
}

pub(crate) fn no_permission_says_what_to_do() {
    let vmm = Vmm::start();
    let mut look = Command::new(env::current_exe().unwrap());
    // Somebody else's process: init's for an ordinary user, ours for nobody's.
    let pid = if is_root() { vmm.pid() } else { 1 };
    look.args([LOOK, &pid.to_string()]);
    let output = look.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("not permitted"), "{text}");
    assert!(text.contains("root"), "{text}");
}

/// The child of the test above.
pub(crate) fn look_into(pid: u32) {
    if is_root() {
        // Now, not as it started: nobody may be kept from running this program where it lies.
        setgid(Gid::from_raw(NOBODY)).unwrap();
        setuid(Uid::from_raw(NOBODY)).unwrap();
    }
    let range = PhysRange::from_len(PhysAddr::new(0), ByteLen::new(4096)).unwrap();
    match PhysMem::of_process(pid, &[(range, VirtAddr::new(0x1000))]) {
        Ok(_) => println!("opened it"),
        Err(error) => println!("{error}"),
    }
}
