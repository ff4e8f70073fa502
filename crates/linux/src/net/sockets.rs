use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use vread_addr::{ByteLen, VirtAddr};

use crate::fields::until_nul;
use crate::record::{Field, Record, Shape, little_endian};
use crate::tasks::Process;
use crate::virt_mem::VirtMem;
use crate::{Btf, LinuxError};

/// The most descriptors of one process, and of all together.
const MAX_FDS: u64 = 1 << 20;
const MAX_FILES: usize = 1 << 18;
/// How many descriptors are copied at once.
const BATCH: u64 = 512;
/// The longest name of a unix socket, with its family.
const MAX_NAME_LEN: usize = 110;

const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// A socket that some process has open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Socket {
    /// Where its `struct sock` lies.
    pub at: VirtAddr,
    /// Linux's `AF_…`.
    pub family: u16,
    /// Linux's `SOCK_…`.
    pub kind: u16,
    /// The protocol's number in its family.
    pub protocol: u16,
    /// Linux's `TCP_…` states, which other protocols use too: 1 established, 7 closed, 10 listening.
    pub state: u8,
    /// This end.
    pub local: Endpoint,
    /// The other end.
    pub remote: Endpoint,
    /// Who has it open.
    pub owners: Vec<Owner>,
}

/// An end of a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// None, or of a family whose addresses are not read.
    None,
    /// An address and a port.
    Internet(IpAddr, u16),
    /// A path, or `@` and an abstract name.
    Unix(String),
}

/// A descriptor of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The process.
    pub pid: u32,
    /// Its name.
    pub name: String,
    /// The descriptor.
    pub fd: u64,
}

/// Where the members of what leads to a socket lie, from BTF.
pub(crate) struct SocketLayout {
    task: Shape,
    task_files: Field,
    files: Shape,
    fdt: Field,
    table: Shape,
    max_fds: Field,
    fds: Field,
    file: Shape,
    f_op: Field,
    private_data: Field,
    socket: Shape,
    sk: Field,
    sock: Shape,
    family: Field,
    state: Field,
    kind: Field,
    protocol: Field,
    daddr: Field,
    rcv_saddr: Field,
    dport: Field,
    num: Field,
    v6_daddr: Option<Field>,
    v6_rcv_saddr: Option<Field>,
    unix: Shape,
    unix_addr: Option<Field>,
    address: Shape,
    address_len: Option<Field>,
    address_name: Option<Field>,
}

impl SocketLayout {
    pub(crate) fn from_btf(btf: &Btf) -> Result<Self, LinuxError> {
        let mut task = Shape::new("a task");
        let mut files = Shape::new("a process's files");
        let mut table = Shape::new("a table of descriptors");
        let mut file = Shape::new("an open file");
        let mut socket = Shape::new("a socket");
        let mut sock = Shape::new("a socket's protocol part");
        let mut unix = Shape::new("a unix socket");
        let mut address = Shape::new("a unix socket's address");
        let moving = |shape: &mut Shape, name: &'static str| {
            let found = shape.find_moving(btf, name);
            found.ok_or(LinuxError::NoType { name })
        };
        Ok(Self {
            task_files: task.need(btf, "task_struct.files")?,
            task,
            fdt: files.need(btf, "files_struct.fdt")?,
            files,
            max_fds: table.need(btf, "fdtable.max_fds")?,
            fds: table.need(btf, "fdtable.fd")?,
            table,
            f_op: file.need(btf, "file.f_op")?,
            private_data: file.need(btf, "file.private_data")?,
            file,
            sk: socket.need(btf, "socket.sk")?,
            socket,
            family: sock.need(btf, "sock.__sk_common.skc_family")?,
            state: moving(&mut sock, "sock.__sk_common.skc_state")?,
            kind: sock.need(btf, "sock.sk_type")?,
            protocol: sock.need(btf, "sock.sk_protocol")?,
            daddr: sock.need(btf, "sock.__sk_common.skc_daddr")?,
            rcv_saddr: sock.need(btf, "sock.__sk_common.skc_rcv_saddr")?,
            dport: sock.need(btf, "sock.__sk_common.skc_dport")?,
            num: sock.need(btf, "sock.__sk_common.skc_num")?,
            v6_daddr: sock.find(btf, "sock.__sk_common.skc_v6_daddr"),
            v6_rcv_saddr: sock.find(btf, "sock.__sk_common.skc_v6_rcv_saddr"),
            sock,
            unix_addr: unix.find(btf, "unix_sock.addr"),
            unix,
            address_len: address.find(btf, "unix_address.len"),
            address_name: Field::find(btf, "unix_address.name"),
            address,
        })
    }

    /// The sockets among the descriptors of `processes`; files whose operations are those at `socket_ops`.
    pub(crate) fn read(
        &self,
        virt: VirtMem<'_>,
        processes: &[Process],
        socket_ops: VirtAddr,
    ) -> Result<Vec<Socket>, LinuxError> {
        let mut found: BTreeMap<VirtAddr, Socket> = BTreeMap::new();
        let mut files_left = MAX_FILES;
        for process in processes {
            let descriptors = match self.descriptors(virt, process.leader.at, &mut files_left) {
                Ok(descriptors) => descriptors,
                Err(LinuxError::Source(failure)) => return Err(failure.into()),
                Err(error @ LinuxError::TooMany { .. }) => return Err(error),
                // It ended meanwhile.
                Err(_) => continue,
            };
            for (fd, file) in descriptors {
                let owner = Owner {
                    pid: process.leader.tid,
                    name: process.leader.name.clone(),
                    fd,
                };
                match self.socket_of(virt, file, socket_ops) {
                    Ok(Some(socket)) => {
                        let socket = found.entry(socket.at).or_insert(socket);
                        socket.owners.push(owner);
                    }
                    Ok(None) => {}
                    Err(LinuxError::Source(failure)) => return Err(failure.into()),
                    Err(error) => {
                        tracing::debug!(pid = owner.pid, fd, %error, "not a file any more")
                    }
                }
            }
        }
        Ok(found.into_values().collect())
    }

    /// The open files of the task at `task`.
    fn descriptors(
        &self,
        virt: VirtMem<'_>,
        task: VirtAddr,
        left: &mut usize,
    ) -> Result<Vec<(u64, VirtAddr)>, LinuxError> {
        let files = self.task.read(virt, task)?.pointer(self.task_files);
        if files.get() == 0 {
            return Ok(Vec::new());
        }
        let table = self.files.read(virt, files)?.pointer(self.fdt);
        let table = self.table.read(virt, table)?;
        let count = table.number(self.max_fds).min(MAX_FDS);
        let array = table.pointer(self.fds);
        let mut open = Vec::new();
        for first in (0..count).step_by(usize::try_from(BATCH).unwrap_or(1)) {
            let batch = count.saturating_sub(first).min(BATCH);
            let at = ByteLen::new(first.saturating_mul(8));
            let at = array
                .checked_add(at)
                .ok_or(LinuxError::NotMapped { addr: array })?;
            let bytes = virt.read_vec(at, usize::try_from(batch.saturating_mul(8)).unwrap_or(0))?;
            for (fd, entry) in (first..).zip(bytes.chunks_exact(8)) {
                let file = VirtAddr::new(little_endian(entry));
                if file.get() == 0 {
                    continue;
                }
                *left = left.checked_sub(1).ok_or(LinuxError::TooMany {
                    what: "open files of all processes",
                    at: file,
                    limit: MAX_FILES,
                })?;
                open.push((fd, file));
            }
        }
        Ok(open)
    }

    fn socket_of(
        &self,
        virt: VirtMem<'_>,
        file: VirtAddr,
        socket_ops: VirtAddr,
    ) -> Result<Option<Socket>, LinuxError> {
        let file = self.file.read(virt, file)?;
        if file.pointer(self.f_op) != socket_ops {
            return Ok(None);
        }
        let socket = self.socket.read(virt, file.pointer(self.private_data))?;
        let at = socket.pointer(self.sk);
        if at.get() == 0 {
            return Ok(None);
        }
        let sock = self.sock.read(virt, at)?;
        let half = |field| u16::try_from(sock.number(field) & 0xffff).unwrap_or_default();
        let family = half(self.family);
        let internet = |addr: Option<IpAddr>, port: u16| match addr {
            Some(addr) => Endpoint::Internet(addr, port),
            None => Endpoint::None,
        };
        let (local_port, remote_port) = (half(self.num), half(self.dport).swap_bytes());
        let (local, remote) = match family {
            AF_INET => (
                internet(Some(ipv4(&sock, self.rcv_saddr)), local_port),
                internet(Some(ipv4(&sock, self.daddr)), remote_port),
            ),
            AF_INET6 => (
                internet(
                    self.v6_rcv_saddr.map(|field| ipv6(&sock, field)),
                    local_port,
                ),
                internet(self.v6_daddr.map(|field| ipv6(&sock, field)), remote_port),
            ),
            AF_UNIX => (self.unix_name(virt, at)?, Endpoint::None),
            _ => (Endpoint::None, Endpoint::None),
        };
        Ok(Some(Socket {
            at,
            family,
            kind: half(self.kind),
            protocol: half(self.protocol),
            state: u8::try_from(sock.number(self.state) & 0xff).unwrap_or_default(),
            local,
            remote,
            owners: Vec::new(),
        }))
    }

    fn unix_name(&self, virt: VirtMem<'_>, at: VirtAddr) -> Result<Endpoint, LinuxError> {
        let (Some(addr), Some(len), Some(name)) =
            (self.unix_addr, self.address_len, self.address_name)
        else {
            return Ok(Endpoint::None);
        };
        let at = self.unix.read(virt, at)?.pointer(addr);
        if at.get() == 0 {
            return Ok(Endpoint::None);
        }
        let len = self.address.read(virt, at)?.number(len);
        let len = usize::try_from(len).unwrap_or_default().min(MAX_NAME_LEN);
        let start = at.checked_add(name.offset());
        let bytes = virt.read_vec(start.ok_or(LinuxError::NotMapped { addr: at })?, len)?;
        // Its family stands before the name.
        let name = bytes.get(2..).unwrap_or_default();
        Ok(Endpoint::Unix(match name.split_first() {
            Some((0, rest)) => format!("@{}", String::from_utf8_lossy(rest)),
            _ => String::from_utf8_lossy(until_nul(name)).into_owned(),
        }))
    }
}

fn ipv4(sock: &Record, field: Field) -> IpAddr {
    let octets = sock.bytes(field).first_chunk().copied().unwrap_or_default();
    Ipv4Addr::from_octets(octets).into()
}

fn ipv6(sock: &Record, field: Field) -> IpAddr {
    let octets = sock.bytes(field).first_chunk().copied().unwrap_or_default();
    Ipv6Addr::from_octets(octets).into()
}
