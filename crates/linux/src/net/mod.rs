//! The network: interfaces, and the sockets that processes have open.

mod interfaces;
mod sockets;

pub use interfaces::Interface;
pub(crate) use interfaces::InterfaceLayout;
pub(crate) use sockets::SocketLayout;
pub use sockets::{Endpoint, Owner, Socket};
