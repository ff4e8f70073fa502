use std::net::{Ipv4Addr, Ipv6Addr};

use vread_addr::VirtAddr;

use crate::list::walk_list;
use crate::record::{Field, Shape};
use crate::virt_mem::VirtMem;
use crate::{Btf, LinuxError};

/// The most interfaces, and the most addresses of one.
const MAX_INTERFACES: usize = 1 << 14;
const MAX_ADDRESSES: usize = 1 << 10;
/// The most bytes of a hardware address.
const MAX_HARDWARE_LEN: usize = 32;

/// A network interface of the kernel's first network namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// The longest packet, in bytes.
    pub mtu: u32,
    /// Linux's `IFF_…` flags.
    pub flags: u32,
    /// What it can do now, by RFC 2863: 0 unknown, 2 down, 6 up.
    pub operstate: u8,
    /// The hardware address.
    pub hardware: Vec<u8>,
    /// IPv4 addresses, with the bits of their networks.
    pub ipv4: Vec<(Ipv4Addr, u8)>,
    /// IPv6 addresses, likewise.
    pub ipv6: Vec<(Ipv6Addr, u8)>,
}

/// Where the members of an interface and of its addresses lie, from BTF.
pub(crate) struct InterfaceLayout {
    dev_base_head: Field,
    device: Shape,
    dev_list: Field,
    ifindex: Field,
    name: Field,
    mtu: Field,
    flags: Field,
    operstate: Field,
    addr_len: Field,
    dev_addr: Field,
    ip_ptr: Option<Field>,
    ip6_ptr: Option<Field>,
    in_device: Shape,
    ifa_list: Option<Field>,
    ifa: Shape,
    ifa_next: Option<Field>,
    ifa_local: Option<Field>,
    ifa_prefixlen: Option<Field>,
    /// `inet6_dev`, whose list is in it.
    addr_list: Option<Field>,
    ifa6: Shape,
    if_list: Option<Field>,
    addr6: Option<Field>,
    prefix_len: Option<Field>,
}

impl InterfaceLayout {
    pub(crate) fn from_btf(btf: &Btf) -> Result<Self, LinuxError> {
        let mut net = Shape::new("a network namespace");
        let mut device = Shape::new("an interface");
        let mut in_device = Shape::new("an interface's IPv4 part");
        let mut ifa = Shape::new("an IPv4 address");
        let mut in6 = Shape::new("an interface's IPv6 part");
        let mut ifa6 = Shape::new("an IPv6 address");
        Ok(Self {
            dev_base_head: net.need(btf, "net.dev_base_head")?,
            dev_list: device.need(btf, "net_device.dev_list")?,
            ifindex: device.need(btf, "net_device.ifindex")?,
            name: device.need(btf, "net_device.name")?,
            mtu: device.need(btf, "net_device.mtu")?,
            flags: device.need(btf, "net_device.flags")?,
            operstate: device.need(btf, "net_device.operstate")?,
            addr_len: device.need(btf, "net_device.addr_len")?,
            dev_addr: device.need(btf, "net_device.dev_addr")?,
            ip_ptr: device.find(btf, "net_device.ip_ptr"),
            ip6_ptr: device.find(btf, "net_device.ip6_ptr"),
            device,
            ifa_list: in_device.find(btf, "in_device.ifa_list"),
            in_device,
            ifa_next: ifa.find(btf, "in_ifaddr.ifa_next"),
            ifa_local: ifa.find(btf, "in_ifaddr.ifa_local"),
            ifa_prefixlen: ifa.find(btf, "in_ifaddr.ifa_prefixlen"),
            ifa,
            addr_list: in6.find(btf, "inet6_dev.addr_list"),
            if_list: ifa6.find(btf, "inet6_ifaddr.if_list"),
            addr6: ifa6.find(btf, "inet6_ifaddr.addr"),
            prefix_len: ifa6.find(btf, "inet6_ifaddr.prefix_len"),
            ifa6,
        })
    }

    /// The interfaces of the namespace at `net`, in the kernel's order.
    pub(crate) fn read(
        &self,
        virt: VirtMem<'_>,
        net: VirtAddr,
    ) -> Result<Vec<Interface>, LinuxError> {
        let head = net
            .checked_add(self.dev_base_head.offset())
            .ok_or(LinuxError::NotMapped { addr: net })?;
        let mut devices = Vec::new();
        walk_list(
            virt,
            "the list of interfaces",
            head,
            MAX_INTERFACES,
            |node| {
                let device = node.checked_sub(self.dev_list.offset());
                devices.push(device.ok_or(LinuxError::NotMapped { addr: node })?);
                Ok(())
            },
        )?;
        devices
            .into_iter()
            .map(|at| self.read_one(virt, at))
            .collect()
    }

    fn read_one(&self, virt: VirtMem<'_>, at: VirtAddr) -> Result<Interface, LinuxError> {
        let device = self.device.read(virt, at)?;
        let number = |field| u32::try_from(device.number(field) & 0xffff_ffff).unwrap_or_default();
        let hardware_len = usize::try_from(device.number(self.addr_len)).unwrap_or_default();
        let leads = |field: Option<Field>| {
            let at = field.map(|field| device.pointer(field));
            at.filter(|at| at.get() != 0)
        };
        Ok(Interface {
            index: number(self.ifindex),
            name: device.text(self.name),
            mtu: number(self.mtu),
            flags: number(self.flags),
            operstate: u8::try_from(device.number(self.operstate) & 0xff).unwrap_or_default(),
            hardware: virt.read_vec(
                device.pointer(self.dev_addr),
                hardware_len.min(MAX_HARDWARE_LEN),
            )?,
            ipv4: match leads(self.ip_ptr) {
                Some(at) => self.read_ipv4(virt, at)?,
                None => Vec::new(),
            },
            ipv6: match leads(self.ip6_ptr) {
                Some(at) => self.read_ipv6(virt, at)?,
                None => Vec::new(),
            },
        })
    }

    fn read_ipv4(
        &self,
        virt: VirtMem<'_>,
        at: VirtAddr,
    ) -> Result<Vec<(Ipv4Addr, u8)>, LinuxError> {
        let mut addresses = Vec::new();
        let (Some(list), Some(next), Some(local), Some(bits)) = (
            self.ifa_list,
            self.ifa_next,
            self.ifa_local,
            self.ifa_prefixlen,
        ) else {
            return Ok(addresses);
        };
        let mut at = self.in_device.read(virt, at)?.pointer(list);
        while at.get() != 0 {
            if addresses.len() >= MAX_ADDRESSES {
                return Err(LinuxError::TooMany {
                    what: "IPv4 addresses of an interface",
                    at,
                    limit: MAX_ADDRESSES,
                });
            }
            let ifa = self.ifa.read(virt, at)?;
            let octets = ifa.bytes(local).first_chunk().copied().unwrap_or_default();
            let bits = u8::try_from(ifa.number(bits) & 0xff).unwrap_or_default();
            addresses.push((Ipv4Addr::from_octets(octets), bits));
            at = ifa.pointer(next);
        }
        Ok(addresses)
    }

    fn read_ipv6(
        &self,
        virt: VirtMem<'_>,
        at: VirtAddr,
    ) -> Result<Vec<(Ipv6Addr, u8)>, LinuxError> {
        let mut addresses = Vec::new();
        let (Some(list), Some(link), Some(addr), Some(bits)) =
            (self.addr_list, self.if_list, self.addr6, self.prefix_len)
        else {
            return Ok(addresses);
        };
        let head = at.checked_add(list.offset());
        let head = head.ok_or(LinuxError::NotMapped { addr: at })?;
        walk_list(
            virt,
            "IPv6 addresses of an interface",
            head,
            MAX_ADDRESSES,
            |node| {
                let at = node.checked_sub(link.offset());
                let ifa = self
                    .ifa6
                    .read(virt, at.ok_or(LinuxError::NotMapped { addr: node })?)?;
                let octets = ifa.bytes(addr).first_chunk().copied().unwrap_or_default();
                let bits = u8::try_from(ifa.number(bits) & 0xff).unwrap_or_default();
                addresses.push((Ipv6Addr::from_octets(octets), bits));
                Ok(())
            },
        )?;
        Ok(addresses)
    }
}
