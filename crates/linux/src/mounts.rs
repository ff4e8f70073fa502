//! What is mounted where.

use std::fmt;

use vread_addr::VirtAddr;

use crate::list::walk_list;
use crate::record::{Field, Record, Shape, again_if_torn};
use crate::virt_mem::VirtMem;
use crate::{Btf, LinuxError};

/// The most mounts; the kernel itself allows 100,000.
const MAX_MOUNTS: usize = 1 << 17;
/// How deep a tree of mounts may be (G73).
const MAX_TREE_DEPTH: usize = 128;
/// How many folders and mounts a path may lead through.
const MAX_STEPS: usize = 4096;
/// The longest name of a folder or a device.
const MAX_NAME_LEN: usize = 4096;
/// The most bytes of all paths and names together.
const MAX_TEXT: usize = 64 << 20;

/// A mount, as a line of `/proc/mounts` has it; options that only the file system itself could tell are not
/// among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// What is mounted.
    pub device: String,
    /// Where it is mounted, seen from the root of the first process.
    pub dir: String,
    /// The kind of file system.
    pub kind: String,
    /// `ro` or `rw`, and the options that every file system has.
    pub options: Vec<&'static str>,
    /// The kernel's number for it.
    pub id: u32,
}

/// Bits of `mnt_flags` in the order in which they are printed.
const MOUNT_OPTIONS: [(u64, &str); 7] = [
    (0x01, "nosuid"),
    (0x02, "nodev"),
    (0x04, "noexec"),
    (0x08, "noatime"),
    (0x10, "nodiratime"),
    (0x20, "relatime"),
    (0x80, "nosymfollow"),
];
/// Bits of `s_flags`.
const SUPER_OPTIONS: [(u64, &str); 4] = [
    (0x10, "sync"),
    (0x80, "dirsync"),
    (0x40, "mand"),
    (0x200_0000, "lazytime"),
];
const MNT_READONLY: u64 = 0x40;
const SB_RDONLY: u64 = 1;

/// As in `/proc/mounts`, without the line's end.
impl fmt::Display for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            device, dir, kind, ..
        } = self;
        let [device, dir, kind] = [device, dir, kind].map(|text| mangled(text));
        write!(f, "{device} {dir} {kind} {} 0 0", self.options.join(","))
    }
}

/// Spaces and the like as octal numbers, since spaces part the fields.
fn mangled(text: &str) -> String {
    let mut mangled = String::new();
    for character in text.chars() {
        match character {
            ' ' | '\t' | '\n' | '\\' | '#' => {
                mangled.push_str(&format!("\\{:03o}", u32::from(character)));
            }
            other => mangled.push(other),
        }
    }
    mangled
}

/// Where the members of what leads to mounts lie, from BTF.
pub(crate) struct MountLayout {
    task: Shape,
    nsproxy: Field,
    fs: Field,
    proxy: Shape,
    mnt_ns: Field,
    roots: Shape,
    root_mnt: Field,
    root_dentry: Field,
    namespace: Shape,
    /// Where mounts hang: a list, or since 6.8 a tree.
    mounts: Index,
    mount: Shape,
    parent: Field,
    mountpoint: Field,
    devname: Field,
    id: Field,
    mnt: Field,
    mnt_root: Field,
    mnt_sb: Field,
    mnt_flags: Field,
    sb: Shape,
    s_flags: Field,
    s_type: Field,
    s_subtype: Option<Field>,
    fs_type: Shape,
    type_name: Field,
    dentry: Shape,
    d_parent: Field,
    d_name: Field,
    node: Shape,
    left: Field,
    right: Field,
}

/// How the mounts of a namespace hang together, and where that link lies in each.
#[derive(Clone, Copy)]
enum Index {
    List { head: Field, link: Field },
    Tree { root: Field, link: Field },
}

impl MountLayout {
    pub(crate) fn from_btf(btf: &Btf) -> Result<Self, LinuxError> {
        let mut task = Shape::new("the first task");
        let mut proxy = Shape::new("a task's namespaces");
        let mut roots = Shape::new("a task's root");
        let mut namespace = Shape::new("a mount namespace");
        let mut mount = Shape::new("a mount");
        let mut sb = Shape::new("a file system");
        let mut fs_type = Shape::new("a kind of file system");
        let mut dentry = Shape::new("a folder's name");
        let mut node = Shape::new("a tree of mounts");
        let mounts = match namespace.find(btf, "mnt_namespace.list") {
            Some(head) => Index::List {
                head,
                link: mount.need(btf, "mount.mnt_list")?,
            },
            None => Index::Tree {
                root: namespace.need(btf, "mnt_namespace.mounts.rb_node")?,
                link: mount.need(btf, "mount.mnt_node")?,
            },
        };
        Ok(Self {
            nsproxy: task.need(btf, "task_struct.nsproxy")?,
            fs: task.need(btf, "task_struct.fs")?,
            task,
            mnt_ns: proxy.need(btf, "nsproxy.mnt_ns")?,
            proxy,
            root_mnt: roots.need(btf, "fs_struct.root.mnt")?,
            root_dentry: roots.need(btf, "fs_struct.root.dentry")?,
            roots,
            namespace,
            mounts,
            parent: mount.need(btf, "mount.mnt_parent")?,
            mountpoint: mount.need(btf, "mount.mnt_mountpoint")?,
            devname: mount.need(btf, "mount.mnt_devname")?,
            id: mount.need(btf, "mount.mnt_id")?,
            mnt: mount.need(btf, "mount.mnt")?,
            mnt_root: mount.need(btf, "mount.mnt.mnt_root")?,
            mnt_sb: mount.need(btf, "mount.mnt.mnt_sb")?,
            mnt_flags: mount.need(btf, "mount.mnt.mnt_flags")?,
            mount,
            s_flags: sb.need(btf, "super_block.s_flags")?,
            s_type: sb.need(btf, "super_block.s_type")?,
            s_subtype: sb.find(btf, "super_block.s_subtype"),
            sb,
            type_name: fs_type.need(btf, "file_system_type.name")?,
            fs_type,
            d_parent: dentry.need(btf, "dentry.d_parent")?,
            d_name: dentry.need(btf, "dentry.d_name.name")?,
            dentry,
            left: node.need(btf, "rb_node.rb_left")?,
            right: node.need(btf, "rb_node.rb_right")?,
            node,
        })
    }

    /// The mounts that the task at `task` sees, in the order of its `/proc/mounts`.
    pub(crate) fn read(&self, virt: VirtMem<'_>, task: VirtAddr) -> Result<Vec<Mount>, LinuxError> {
        let task = self.task.read(virt, task)?;
        let proxy = self.proxy.read(virt, task.pointer(self.nsproxy))?;
        let roots = self.roots.read(virt, task.pointer(self.fs))?;
        let root = roots.pointer(self.root_mnt).checked_sub(self.mnt.offset());
        let root = (root.unwrap_or_default(), roots.pointer(self.root_dentry));
        let at = proxy.pointer(self.mnt_ns);
        again_if_torn(|| {
            let namespace = self.namespace.read(virt, at)?;
            let mut text_left = MAX_TEXT;
            let mut mounts = Vec::new();
            for at in self.list(virt, &namespace)? {
                let Some(mount) = self.read_mount(virt, at, root)? else {
                    continue;
                };
                let text = mount.dir.len().saturating_add(mount.device.len());
                text_left = text_left.checked_sub(text).ok_or(LinuxError::TooMany {
                    what: "bytes of mounts' paths",
                    at,
                    limit: MAX_TEXT,
                })?;
                mounts.push(mount);
            }
            Ok(mounts)
        })
    }

    fn list(&self, virt: VirtMem<'_>, namespace: &Record) -> Result<Vec<VirtAddr>, LinuxError> {
        let mut found = Vec::new();
        let mut push = |node: VirtAddr, link: Field| {
            let mount = node.checked_sub(link.offset());
            found.push(mount.ok_or(LinuxError::NotMapped { addr: node })?);
            Ok(())
        };
        match self.mounts {
            Index::List { head, link } => {
                let head = namespace.address_of(head);
                walk_list(virt, "the list of mounts", head, MAX_MOUNTS, |node| {
                    push(node, link)
                })?;
            }
            Index::Tree { root, link } => {
                for node in self.in_order(virt, namespace.pointer(root))? {
                    push(node, link)?;
                }
            }
        }
        Ok(found)
    }

    /// The nodes of a tree from left to right. No recursion, and no more than can be.
    fn in_order(&self, virt: VirtMem<'_>, root: VirtAddr) -> Result<Vec<VirtAddr>, LinuxError> {
        let mut nodes = Vec::new();
        let mut above: Vec<(VirtAddr, VirtAddr)> = Vec::new();
        let mut next = root;
        loop {
            while next.get() != 0 {
                if above.len() >= MAX_TREE_DEPTH || nodes.len() >= MAX_MOUNTS {
                    return Err(LinuxError::TooMany {
                        what: "a tree of mounts",
                        at: next,
                        limit: MAX_MOUNTS,
                    });
                }
                let node = self.node.read(virt, next)?;
                above.push((next, node.pointer(self.right)));
                next = node.pointer(self.left);
            }
            let Some((node, right)) = above.pop() else {
                return Ok(nodes);
            };
            nodes.push(node);
            next = right;
        }
    }

    /// The mount at `at`; `None` for one that cannot be reached from `root`, and for the marks that readers
    /// of the list leave in it.
    fn read_mount(
        &self,
        virt: VirtMem<'_>,
        at: VirtAddr,
        root: (VirtAddr, VirtAddr),
    ) -> Result<Option<Mount>, LinuxError> {
        let mount = self.mount.read(virt, at)?;
        let sb = mount.pointer(self.mnt_sb);
        if sb.get() == 0 {
            return Ok(None);
        }
        let Some(dir) = self.path(virt, (at, mount.pointer(self.mnt_root)), root)? else {
            return Ok(None);
        };
        let sb = self.sb.read(virt, sb)?;
        let fs_type = self.fs_type.read(virt, sb.pointer(self.s_type))?;
        let mut kind = text(virt, fs_type.pointer(self.type_name))?;
        let subtype = self.s_subtype.map(|subtype| sb.pointer(subtype));
        if let Some(subtype) = subtype.filter(|at| at.get() != 0) {
            kind = format!("{kind}.{}", text(virt, subtype)?);
        }
        let device = match mount.pointer(self.devname) {
            none if none.get() == 0 => "none".to_owned(),
            name => text(virt, name)?,
        };
        let (mount_flags, super_flags) = (mount.number(self.mnt_flags), sb.number(self.s_flags));
        let read_only = mount_flags & MNT_READONLY != 0 || super_flags & SB_RDONLY != 0;
        let mut options = vec![if read_only { "ro" } else { "rw" }];
        let set = |flags: u64, names: &[(u64, &'static str)]| {
            let set = names.iter().filter(move |(bit, _)| flags & bit != 0);
            set.map(|(_, name)| *name).collect::<Vec<_>>()
        };
        options.extend(set(super_flags, &SUPER_OPTIONS));
        options.extend(set(mount_flags, &MOUNT_OPTIONS));
        Ok(Some(Mount {
            device,
            dir,
            kind,
            options,
            id: u32::try_from(mount.number(self.id) & 0xffff_ffff).unwrap_or_default(),
        }))
    }

    /// The path from `root` to a folder, each a mount and a name in it.
    fn path(
        &self,
        virt: VirtMem<'_>,
        folder: (VirtAddr, VirtAddr),
        root: (VirtAddr, VirtAddr),
    ) -> Result<Option<String>, LinuxError> {
        let (mut mount_at, mut dentry_at) = folder;
        let mut names = Vec::new();
        let mut len = 0_usize;
        for _ in 0..MAX_STEPS {
            if (mount_at, dentry_at) == root {
                names.reverse();
                return Ok(Some(format!("/{}", names.join("/"))));
            }
            let mount = self.mount.read(virt, mount_at)?;
            if dentry_at == mount.pointer(self.mnt_root) {
                let parent = mount.pointer(self.parent);
                if parent == mount_at {
                    return Ok(None);
                }
                dentry_at = mount.pointer(self.mountpoint);
                mount_at = parent;
                continue;
            }
            let dentry = self.dentry.read(virt, dentry_at)?;
            let name = text(virt, dentry.pointer(self.d_name))?;
            len = len.saturating_add(name.len());
            if len > MAX_NAME_LEN {
                break;
            }
            names.push(name);
            dentry_at = dentry.pointer(self.d_parent);
        }
        Err(LinuxError::TooMany {
            what: "folders in a mount's path",
            at: mount_at,
            limit: MAX_STEPS,
        })
    }
}

fn text(virt: VirtMem<'_>, at: VirtAddr) -> Result<String, LinuxError> {
    let text = virt.read_string(at, MAX_NAME_LEN)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}
