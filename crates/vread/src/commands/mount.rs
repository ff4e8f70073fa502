//! `vread mount`

use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use anyhow::Context as _;
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};
use vread_addr::{ByteLen, FileOffset};
use vread_iov_iter::{IovIter, Progress, SourceFailure};
use vread_kcore::{EndOfFile, KcoreImage};
use vread_kcore_fuse::{MountOptions, Mounted, OpenFile, ServedFile};
use vread_nofault::UserBuf;
use vread_targets::{Session, Target, TargetError, TargetWord, View};
use vread_vmlinux::AddressForm;

use super::{
    recovered_file::RecoveredFile,
    said_file::{Said, SaidFile},
};
use crate::{Outcome, arguments::MountArguments};

/// What can be refused before the target is opened.
pub(crate) fn check(arguments: &MountArguments) -> Result<(), TargetError> {
    let word = arguments.target.word()?;
    if arguments.churn && word != TargetWord::Arena {
        let target = word.to_string();
        return Err(TargetError::NoAreasToChange { target });
    }
    Ok(())
}

pub(crate) fn run(target: &Arc<Target>, arguments: &MountArguments) -> anyhow::Result<Outcome> {
    let session = Session::new(Arc::clone(target));
    let mut files: Vec<Box<dyn ServedFile>> = Vec::new();
    for view in View::ALL {
        match ViewFile::new(Arc::clone(&session), view) {
            Ok(file) => files.push(Box::new(file)),
            // Nothing is served of a target whose segments cannot be had; else each view is one more.
            Err(error) if files.is_empty() => return Err(error),
            Err(error) => tracing::warn!("no file {}: {error:#}", view.name()),
        }
    }
    // A target without a kernel has no vmlinux, and says nothing about itself.
    if target.ask_kernel(Ok).is_ok() {
        for what in Said::ALL {
            files.push(Box::new(SaidFile::new(Arc::clone(target), what)));
        }
        for form in [AddressForm::LinkTime, AddressForm::RunTime] {
            files.push(Box::new(RecoveredFile::new(Arc::clone(&session), form)));
        }
    }
    let names: Vec<String> = files.iter().map(|file| file.name().to_owned()).collect();
    // Before the mount, so that no signal finds it without a watcher.
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("cannot wait for signals")?;
    let word = target.word().to_string();
    let options = MountOptions {
        on_failure: Box::new(move |failure| {
            tell!("vread: {word}: {failure}; reading fails with EIO, end with Ctrl-C");
        }),
    };
    let mounted = Mounted::mount(files, &arguments.dir, options)?;
    let dir = mounted.dir().display();
    tell!(
        "{} is mounted: {dir}/{{{}}}",
        target.word(),
        names.join(",")
    );
    tell!("leave with Ctrl-C, or with: fusermount3 -u {dir}");
    let unmounter = mounted.unmounter();
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            for _ in signals.forever() {
                unmounter.unmount();
            }
        })
        .context("cannot start the thread that waits for signals")?;
    match arguments.churn {
        true => churn_meanwhile(target, || Ok(mounted.wait()?))?,
        false => mounted.wait()?,
    }
    Ok(Outcome::All)
}

/// Lets the arena's areas come and go while `wait` waits.
fn churn_meanwhile(
    target: &Target,
    wait: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let churn = thread::Builder::new()
            .name("churn".into())
            .spawn_scoped(scope, || target.churn(&stop))
            .context("cannot start the thread that changes areas")?;
        let waited = wait();
        stop.store(true, Ordering::Relaxed);
        let rounds = churn.join();
        waited?;
        if let Ok(rounds) = rounds {
            tell!("{} rounds of areas that came and went", rounds?);
        }
        Ok(())
    })
}

/// One view of the target as a file.
#[derive(Debug)]
struct ViewFile {
    session: Arc<Session>,
    view: View,
    /// The size of the image made last.
    size: AtomicU64,
}

/// The image that one opener has.
#[derive(Debug)]
struct OpenView {
    target: Arc<Target>,
    image: KcoreImage,
}

impl ViewFile {
    fn new(session: Arc<Session>, view: View) -> anyhow::Result<Self> {
        let size = AtomicU64::new(session.last().image(view)?.size().get());
        Ok(Self {
            session,
            view,
            size,
        })
    }
}

impl ServedFile for ViewFile {
    fn name(&self) -> &str {
        self.view.name()
    }

    fn size(&self) -> ByteLen {
        ByteLen::new(self.size.load(Ordering::Relaxed))
    }

    fn open(&self) -> Result<Box<dyn OpenFile>, Box<dyn Error + Send + Sync>> {
        let target = self.session.current()?;
        let image = target.image(self.view)?;
        self.size.store(image.size().get(), Ordering::Relaxed);
        Ok(Box::new(OpenView { target, image }))
    }
}

impl OpenFile for OpenView {
    fn read_at(&self, at: FileOffset, iter: &mut IovIter<'_, UserBuf<'_>>) -> Progress {
        self.target
            .read_at(&self.image, at, iter, EndOfFile::AtSize)
            // A position that no file has: the kernel does not let it through.
            .unwrap_or_else(|_| Progress::failed(SourceFailure::Os(EINVAL)))
    }
}

const EINVAL: i32 = 22;
