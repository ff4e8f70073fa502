//! Tasks that do nothing, so that a task list has something to show.

use std::io;
use std::process::{Child, Command};

/// First argument that makes a process of this program a sleeper.
pub(crate) const ROLE: &str = "sleep";

/// Name of a sleeping thread in `/proc/PID/task/TID/comm`.
const THREAD_NAME: &str = "vread-sleeper";

/// Sleeps until the guest ends.
pub(crate) fn sleep() -> ! {
    loop {
        std::thread::park();
    }
}

/// Starts `count` processes; their handles are kept, since nobody waits for them.
pub(crate) fn spawn_processes(count: u32, kept: &mut Vec<Child>) -> io::Result<Vec<u32>> {
    let mut pids = Vec::new();
    for _ in 0..count {
        let child = Command::new("/proc/self/exe").arg(ROLE).spawn()?;
        pids.push(child.id());
        kept.push(child);
    }
    Ok(pids)
}

/// Starts `count` threads of the helper.
pub(crate) fn spawn_threads(count: u32) -> io::Result<Vec<u32>> {
    let (tell, told) = std::sync::mpsc::channel();
    for _ in 0..count {
        let tell = tell.clone();
        std::thread::Builder::new()
            .name(THREAD_NAME.to_owned())
            .spawn(move || {
                // The receiver waits for exactly this message, so it is still there.
                let _ = tell.send(
                    rustix::thread::gettid()
                        .as_raw_nonzero()
                        .get()
                        .cast_unsigned(),
                );
                drop(tell);
                sleep()
            })?;
    }
    drop(tell);
    Ok(told.iter().take(count as usize).collect())
}
