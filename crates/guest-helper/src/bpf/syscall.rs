//! The one system call that has no safe wrapper: `bpf(2)`.
//!
//! Layouts are those of the manual page `bpf(2)` and of `linux/bpf.h`'s user-space interface.
#![expect(unsafe_code, reason = "bpf(2) is reached through syscall(2)")]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

const BPF_MAP_CREATE: libc::c_int = 0;
const BPF_MAP_UPDATE_ELEM: libc::c_int = 2;
const BPF_MAP_TYPE_ARRAY: u32 = 2;
const BPF_F_MMAPABLE: u32 = 1 << 10;
const BPF_ANY: u64 = 0;

/// Start of `union bpf_attr` for `BPF_MAP_CREATE`.
#[repr(C)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
}

/// Start of `union bpf_attr` for `BPF_MAP_UPDATE_ELEM`.
#[repr(C)]
struct UpdateElement {
    map_fd: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// An array map of `entries` values of `value_bytes` each, that user space may map.
pub(super) fn create_array_map(value_bytes: u32, entries: u32) -> io::Result<OwnedFd> {
    let attr = MapCreate {
        map_type: BPF_MAP_TYPE_ARRAY,
        key_size: 4,
        value_size: value_bytes,
        max_entries: entries,
        map_flags: BPF_F_MMAPABLE,
    };
    // SAFETY: `attr` is a live, initialised start of `union bpf_attr` whose size is passed along;
    // the kernel only reads it, and it holds no pointers.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_MAP_CREATE,
            &raw const attr,
            size_of::<MapCreate>(),
        )
    };
    let fd = RawFd::try_from(checked(fd)?).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Copies `value` into element `index` of `map`; `value` is as long as the map's values.
pub(super) fn update_element(map: &OwnedFd, index: u32, value: &[u8; 4096]) -> io::Result<()> {
    let attr = UpdateElement {
        map_fd: map.as_raw_fd().cast_unsigned(),
        pad: 0,
        key: (&raw const index).expose_provenance() as u64,
        value: value.as_ptr().expose_provenance() as u64,
        flags: BPF_ANY,
    };
    // SAFETY: `attr` is as above. The kernel reads 4 bytes at `key`, which is `index`, and the
    // map's value size at `value`: 4096, the only size that `create_array_map` is called with.
    let done = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_MAP_UPDATE_ELEM,
            &raw const attr,
            size_of::<UpdateElement>(),
        )
    };
    checked(done).map(drop)
}

fn checked(returned: libc::c_long) -> io::Result<libc::c_long> {
    if returned < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(returned)
    }
}
