//! `vread net`

use std::io::{self, Write};

use serde::Serialize;
use vread_linux::{
    Kernel,
    net::{Endpoint, Interface, Owner, Socket},
};
use vread_targets::Target;

use crate::{Outcome, arguments::NetArguments, json, printable::Printable};

#[derive(Debug, Serialize)]
struct JsonNet<'a> {
    interfaces: Vec<JsonInterface<'a>>,
    sockets: Vec<JsonSocket<'a>>,
}

#[derive(Debug, Serialize)]
struct JsonInterface<'a> {
    index: u32,
    name: &'a str,
    mtu: u32,
    flags: String,
    operstate: String,
    hardware: String,
    /// With the bits of their networks: `127.0.0.1/8`.
    addresses: Vec<String>,
}

#[derive(Debug, Serialize)]
struct JsonSocket<'a> {
    protocol: String,
    state: String,
    local: Option<String>,
    remote: Option<String>,
    sock: String,
    owners: Vec<JsonOwner<'a>>,
}

#[derive(Debug, Serialize)]
struct JsonOwner<'a> {
    pid: u32,
    name: &'a str,
    fd: u64,
}

pub(crate) fn run(
    target: &Target,
    arguments: &NetArguments,
    out: &mut dyn Write,
) -> anyhow::Result<Outcome> {
    let interfaces = target.ask_kernel(Kernel::interfaces)?;
    let sockets = target.ask_kernel(Kernel::sockets)?;
    if arguments.listing.json {
        let net = JsonNet {
            interfaces: interfaces.iter().map(JsonInterface::from).collect(),
            sockets: sockets.iter().map(JsonSocket::from).collect(),
        };
        json::write(out, &net)?;
        writeln!(out)?;
        return Ok(Outcome::All);
    }
    for interface in &interfaces {
        print_interface(out, interface)?;
    }
    for socket in &sockets {
        print_socket(out, socket)?;
    }
    Ok(Outcome::All)
}

fn print_interface(out: &mut dyn Write, interface: &Interface) -> io::Result<()> {
    let JsonInterface {
        index,
        name,
        mtu,
        operstate,
        hardware,
        addresses,
        ..
    } = JsonInterface::from(interface);
    let addresses = addresses.join(" ");
    let line = format!("{index}: {name} {operstate} mtu {mtu} {hardware} {addresses}");
    writeln!(out, "{}", Printable(line.trim_end()))
}

fn print_socket(out: &mut dyn Write, socket: &Socket) -> io::Result<()> {
    let JsonSocket {
        protocol,
        state,
        local,
        remote,
        owners,
        ..
    } = JsonSocket::from(socket);
    let or_none = |end: Option<String>| end.unwrap_or_else(|| "-".to_owned());
    let (local, remote) = (or_none(local), or_none(remote));
    let owners: Vec<String> = owners
        .iter()
        .map(|JsonOwner { pid, name, fd }| format!("{pid}/{name}:{fd}"))
        .collect();
    let owners = owners.join(" ");
    let line = format!("{protocol:<10} {state:<11} {local:<24} {remote:<24} {owners}");
    writeln!(out, "{}", Printable(line.trim_end()))
}

/// The protocol in a word: `tcp`, `udp6`, `unix`, or the numbers of others.
fn protocol(socket: &Socket) -> String {
    // SOCK_STREAM, SOCK_DGRAM, SOCK_RAW; IPPROTO_TCP, IPPROTO_UDP.
    let internet = match (socket.kind, socket.protocol) {
        (1, 6) => "tcp",
        (2, 17) => "udp",
        (3, _) => "raw",
        _ => "inet",
    };
    match socket.family {
        1 => "unix".to_owned(),
        2 => internet.to_owned(),
        10 => format!("{internet}6"),
        16 => "netlink".to_owned(),
        17 => "packet".to_owned(),
        40 => "vsock".to_owned(),
        other => format!("family-{other}"),
    }
}

/// Linux's `TCP_…` states by name, as ss writes them.
fn state(number: u8) -> String {
    const STATES: [&str; 12] = [
        "established",
        "syn-sent",
        "syn-recv",
        "fin-wait-1",
        "fin-wait-2",
        "time-wait",
        "closed",
        "close-wait",
        "last-ack",
        "listen",
        "closing",
        "syn-recv",
    ];
    let index = usize::from(number).checked_sub(1);
    let name = index.and_then(|index| STATES.get(index));
    name.map_or_else(|| number.to_string(), |name| (*name).to_owned())
}

/// As /sys/class/net has it: one that nobody has started is down.
fn operstate(interface: &Interface) -> String {
    const IFF_UP: u32 = 1;
    if interface.flags & IFF_UP == 0 {
        return "down".to_owned();
    }
    let number = interface.operstate;
    let states = [
        "unknown",
        "notpresent",
        "down",
        "lowerlayerdown",
        "testing",
        "dormant",
        "up",
    ];
    let name = states.get(usize::from(number));
    name.map_or_else(|| number.to_string(), |name| (*name).to_owned())
}

fn end(endpoint: &Endpoint) -> Option<String> {
    match endpoint {
        Endpoint::None => None,
        Endpoint::Internet(addr, port) => Some(std::net::SocketAddr::new(*addr, *port).to_string()),
        Endpoint::Unix(name) => Some(name.clone()),
    }
}

impl<'a> From<&'a Interface> for JsonInterface<'a> {
    fn from(interface: &'a Interface) -> Self {
        let hardware: Vec<String> = interface
            .hardware
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let ipv4 = interface.ipv4.iter();
        let ipv4 = ipv4.map(|(addr, bits)| format!("{addr}/{bits}"));
        let ipv6 = interface.ipv6.iter();
        let ipv6 = ipv6.map(|(addr, bits)| format!("{addr}/{bits}"));
        Self {
            index: interface.index,
            name: &interface.name,
            mtu: interface.mtu,
            flags: format!("{:#x}", interface.flags),
            operstate: operstate(interface),
            hardware: hardware.join(":"),
            addresses: ipv4.chain(ipv6).collect(),
        }
    }
}

impl<'a> From<&'a Socket> for JsonSocket<'a> {
    fn from(socket: &'a Socket) -> Self {
        Self {
            protocol: protocol(socket),
            state: state(socket.state),
            local: end(&socket.local),
            remote: end(&socket.remote),
            sock: format!("{:#x}", socket.at),
            owners: socket.owners.iter().map(JsonOwner::from).collect(),
        }
    }
}

impl<'a> From<&'a Owner> for JsonOwner<'a> {
    fn from(owner: &'a Owner) -> Self {
        Self {
            pid: owner.pid,
            name: &owner.name,
            fd: owner.fd,
        }
    }
}
