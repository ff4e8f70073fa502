//! Where the file cannot be written.

use std::process::Command;

use vread_guests::Guest;

use crate::program::target;

/// A disk of 8 MiB: a clear error, and neither the file nor a part of it.
pub(crate) fn a_full_disk_leaves_nothing_behind(guest: &Guest) {
    let folder = tempfile::tempdir().unwrap();
    let script = "\
        mount -t tmpfs -o size=8m none \"$1\" || exit 77
        echo old > \"$1/vmlinux\"
        \"$2\" vmlinux \"$3\" -o \"$1/vmlinux\"
        echo \"status $?\"
        ls -A \"$1\"
        cat \"$1/vmlinux\"";
    // Root may mount; others may where they are root of their own.
    let namespaces: &[&str] = match rustix::process::geteuid().is_root() {
        true => &["--mount"],
        false => &["--user", "--map-root-user", "--mount"],
    };
    let output = Command::new("unshare")
        .args(namespaces)
        .args(["sh", "-c", script, "sh"])
        .arg(folder.path())
        .arg(env!("CARGO_BIN_EXE_vread"))
        .arg(target(guest))
        .output()
        .unwrap();
    let (said, listed) = (
        String::from_utf8_lossy(&output.stderr),
        String::from_utf8_lossy(&output.stdout),
    );
    assert_eq!(listed, "status 2\nvmlinux\nold\n", "{said}");
    assert!(
        said.contains("vmlinux: cannot be written, and is left as it was"),
        "{said}"
    );
    assert!(said.contains("No space left on device"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}
