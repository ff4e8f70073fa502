use super::Kernel;
use crate::LinuxError;
use crate::net::{Interface, InterfaceLayout, Socket, SocketLayout};
use crate::record::again_if_torn;
use crate::tasks::Threads;

impl Kernel {
    /// The interfaces of the first network namespace.
    ///
    /// # Errors
    ///
    /// [`LinuxError`] where symbols or types are missing, or interfaces cannot be read.
    pub fn interfaces(&self) -> Result<Vec<Interface>, LinuxError> {
        let layout = InterfaceLayout::from_btf(self.need_btf()?)?;
        let net = self.need_symbol("init_net")?;
        again_if_torn(|| layout.read(self.virt(), net))
    }

    /// The sockets that processes have open, of all network namespaces. Those that nobody has open any more
    /// (such as connections that wait for their end) and those of the kernel's own are not among them.
    ///
    /// # Errors
    ///
    /// [`LinuxError`] where symbols or types are missing, or tasks cannot be read.
    pub fn sockets(&self) -> Result<Vec<Socket>, LinuxError> {
        let layout = SocketLayout::from_btf(self.need_btf()?)?;
        let operations = self.need_symbol("socket_file_ops")?;
        let tasks = self.tasks(Threads::Count)?;
        layout.read(self.virt(), &tasks.processes, operations)
    }
}
