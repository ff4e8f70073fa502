use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::{fmt, io};

use rustix::event::{self, EventfdFlags, PollFd, PollFlags, Timespec};
use rustix::process::{self, Pid, PidfdFlags};

/// Whether a process still runs: the process that was opened, never another that got its number later.
///
/// A thread of ours waits for its end, so that the question costs one load; [`Liveness::ask`] asks the
/// kernel.
pub(crate) struct Liveness {
    pidfd: Arc<OwnedFd>,
    ended: Arc<AtomicBool>,
    stop: Arc<OwnedFd>,
    watch: Option<JoinHandle<()>>,
}

impl Liveness {
    /// Of the process that has the number `pid` now.
    pub(crate) fn of(pid: Pid) -> io::Result<Self> {
        let pidfd = Arc::new(process::pidfd_open(pid, PidfdFlags::empty())?);
        let stop = Arc::new(event::eventfd(0, EventfdFlags::CLOEXEC)?);
        let ended = Arc::new(AtomicBool::new(false));
        let watch = {
            let (pidfd, stop, ended) = (pidfd.clone(), stop.clone(), ended.clone());
            thread::Builder::new()
                .name("vread-liveness".to_owned())
                .stack_size(64 << 10)
                .spawn(move || {
                    if wait_for_either(&pidfd, &stop) {
                        ended.store(true, Ordering::Release);
                    }
                })?
        };
        Ok(Self {
            pidfd,
            ended,
            stop,
            watch: Some(watch),
        })
    }

    /// Whether the end was noticed; it may have come a moment ago without being noticed yet.
    #[inline]
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Whether the process has ended by now. A system call.
    pub(crate) fn ask(&self) -> bool {
        if self.has_ended() {
            return true;
        }
        let mut fds = [PollFd::new(&*self.pidfd, PollFlags::IN)];
        let at_once = Timespec::default();
        // An error tells nothing new; the thread still watches.
        let ended = event::poll(&mut fds, Some(&at_once)).is_ok_and(|ready| ready > 0);
        if ended {
            self.ended.store(true, Ordering::Release);
        }
        ended
    }
}

/// Sleeps until the process has ended (`true`) or nobody wants to know any more.
fn wait_for_either(pidfd: &OwnedFd, stop: &OwnedFd) -> bool {
    loop {
        let mut fds = [
            PollFd::new(pidfd, PollFlags::IN),
            PollFd::new(stop, PollFlags::IN),
        ];
        match event::poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) => {}
            // Out of kernel memory: leave the question to `ask`.
            Err(_) => return false,
            Ok(_) => {
                let [ended, stopped] = &fds;
                if !stopped.revents().is_empty() {
                    return false;
                }
                if !ended.revents().is_empty() {
                    return true;
                }
            }
        }
    }
}

impl Drop for Liveness {
    fn drop(&mut self) {
        let told = rustix::io::write(&*self.stop, &1_u64.to_ne_bytes());
        if let (Ok(_), Some(watch)) = (told, self.watch.take()) {
            // It cannot have panicked, and there is nobody to tell.
            let _joined = watch.join();
        }
    }
}

impl fmt::Debug for Liveness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Liveness")
            .field("pidfd", &self.pidfd)
            .field("ended", &self.has_ended())
            .finish_non_exhaustive()
    }
}
