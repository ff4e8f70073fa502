use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender},
    thread::{self, available_parallelism},
    time::Duration,
};

use fuser::{Config, MountOption, Session, SessionUnmounter};

use crate::{
    MAX_READ, MountError, SOURCE, ServedFile, detach,
    filesystem::{KcoreFs, Owner},
    mount_point,
};

/// The most worker threads. A reader occupies one; more readers than that take turns.
const MAX_WORKERS: usize = 8;

/// How long files may stay open after the mount was taken away, before the server ends under them.
const GRACE: Duration = Duration::from_millis(500);

/// What the mount tells its owner.
pub struct MountOptions {
    /// Gets each failure of a read or an open once, in words.
    pub on_failure: Box<dyn Fn(&str) + Send + Sync>,
}

impl fmt::Debug for MountOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MountOptions").finish_non_exhaustive()
    }
}

/// A mount that is being served. Dropping it takes the mount away.
#[derive(Debug)]
pub struct Mounted {
    dir: PathBuf,
    session: SessionUnmounter,
    events: Receiver<Event>,
    unmounter: Unmounter,
    state: State,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Serving,
    Gone,
}

/// Ends a mount, from any thread.
#[derive(Debug, Clone)]
pub struct Unmounter {
    events: SyncSender<Event>,
}

#[derive(Debug)]
enum Event {
    /// Somebody wants the mount gone.
    Unmount,
    /// The kernel has ended the conversation, or it broke off.
    Ended(io::Result<()>),
}

impl Unmounter {
    /// Asks for the end; [`Mounted::wait`] returns soon after.
    pub fn unmount(&self) {
        // A full or closed channel: the end is on its way.
        let _ = self.events.try_send(Event::Unmount);
    }
}

impl Mounted {
    /// Mounts `files` on the folder `dir` and serves them from threads of its own.
    ///
    /// A dead mount of ours, left at `dir` by a crash, is cleared first.
    ///
    /// # Errors
    ///
    /// Why `dir` cannot be mounted on, or the system's reason.
    pub fn mount(
        files: Vec<Box<dyn ServedFile>>,
        dir: &Path,
        options: MountOptions,
    ) -> Result<Self, MountError> {
        for file in &files {
            let name = file.name();
            if name.is_empty() || name.contains(['/', '\0']) || name == "." || name == ".." {
                return Err(MountError::BadName { name: name.into() });
            }
        }
        let dir = mount_point::prepare(dir)?;
        let owner = Owner {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
        };
        let filesystem = KcoreFs::new(files, owner, options.on_failure);
        let mut session = match Session::new(filesystem, &dir, &config()) {
            Ok(session) => session,
            Err(source) => return Err(MountError::Mount { dir, source }),
        };
        let (events_in, events) = mpsc::sync_channel(4);
        let mounted = Self {
            dir,
            session: session.unmount_callable(),
            events,
            unmounter: Unmounter {
                events: events_in.clone(),
            },
            state: State::Serving,
        };
        let serving = thread::Builder::new()
            .name("fuse".into())
            .spawn(move || events_in.send(Event::Ended(session.run())));
        match serving {
            Ok(_) => Ok(mounted),
            Err(source) => Err(MountError::Serve {
                dir: mounted.dir.clone(),
                source,
            }),
        }
    }

    /// The folder, as a canonical path.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A handle to end the mount from another thread.
    #[must_use]
    pub fn unmounter(&self) -> Unmounter {
        self.unmounter.clone()
    }

    /// Waits until the mount is gone: by an [`Unmounter`], or from outside (`fusermount3 -u`).
    ///
    /// Files that are still open when an [`Unmounter`] asks lose their server half a second later.
    ///
    /// # Errors
    ///
    /// The conversation with the kernel broke off, or the mount cannot be taken away.
    pub fn wait(mut self) -> Result<(), MountError> {
        match self.events.recv() {
            Ok(Event::Ended(ended)) => self.ended(ended),
            Ok(Event::Unmount) => {
                self.take_away()?;
                match self.events.recv_timeout(GRACE) {
                    Ok(Event::Ended(ended)) => self.ended(ended),
                    Ok(Event::Unmount)
                    | Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Ok(()),
                }
            }
            // The serving thread died without a word.
            Err(_) => self.ended(Err(io::Error::other("the serving thread has ended"))),
        }
    }

    fn ended(&mut self, ended: io::Result<()>) -> Result<(), MountError> {
        let result = ended.map_err(|source| MountError::Serve {
            dir: self.dir.clone(),
            source,
        });
        if result.is_ok() {
            self.state = State::Gone;
        }
        result
    }

    /// Takes the mount out of the tree.
    fn take_away(&mut self) -> Result<(), MountError> {
        if self.state == State::Gone {
            return Ok(());
        }
        // Refused while files are open, to root at least: then without waiting for them.
        self.session
            .unmount()
            .or_else(|_| detach::detach_now(&self.dir))
            .map_err(|source| MountError::Serve {
                dir: self.dir.clone(),
                source,
            })?;
        self.state = State::Gone;
        Ok(())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(error) = self.take_away() {
            tracing::warn!(%error, "the mount could not be taken away");
        }
    }
}

fn config() -> Config {
    let workers = available_parallelism().map_or(2, |cpus| cpus.get().clamp(2, MAX_WORKERS));
    let mut config = Config::default();
    config.n_threads = Some(workers);
    config.mount_options = vec![
        MountOption::FSName(SOURCE.into()),
        MountOption::CUSTOM(format!("max_read={MAX_READ}")),
        MountOption::RO,
        MountOption::NoExec,
        MountOption::NoSuid,
        MountOption::NoDev,
        MountOption::DefaultPermissions,
    ];
    config
}
