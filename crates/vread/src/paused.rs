//! A guest that stands still while a command reads.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use anyhow::Context as _;
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::{Handle, Signals},
};
use vread_targets::{PauseEnd, Paused, Target};

/// The most output that is kept back while the guest stands still. Beyond it, output is written at once, and
/// the guest waits for whoever reads it.
const MAX_KEPT: usize = 64 << 20;

/// The exit code of a program that a signal has ended, as shells count it.
const SIGNALLED: i32 = 128;

/// Runs `command` with the guest of `target` stopped. What it writes goes to `out` when the guest runs again.
///
/// The guest runs on whatever comes of the command: also after an error, and when a signal ends us.
pub(crate) fn run_paused<T>(
    target: &Target,
    out: &mut dyn Write,
    command: impl FnOnce(&mut dyn Write) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    // Before the guest stops, so that no signal finds it stopped and nobody listening.
    let signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("cannot wait for signals")?;
    let held = Arc::new(Mutex::new(None));
    let watcher = Watcher::start(signals, Arc::clone(&held))?;
    let mut kept = Kept {
        bytes: Vec::new(),
        out,
    };
    {
        // Held all the while, so that a signal's watcher waits for the answer.
        let mut held = lock(&held);
        *held = Some(target.pause()?);
    }
    let result = command(&mut kept);
    let ended = resume(&held);
    drop(watcher);
    let written = kept.write_out();
    let value = result?;
    written?;
    ended?;
    Ok(value)
}

/// Lets the guest run on, if nobody else has meanwhile, and tells for how long it stood still.
fn resume(held: &Mutex<Option<Paused>>) -> anyhow::Result<()> {
    let Some(paused) = lock(held).take() else {
        return Ok(());
    };
    match paused.resume()? {
        PauseEnd::Ran { paused } => {
            tell!(
                "vread: the guest was paused for {:.1} ms",
                paused.as_secs_f64() * 1e3
            );
        }
        PauseEnd::LeftStopped => {
            tell!("vread: the guest had been stopped before, and was left so");
        }
        _ => {}
    }
    Ok(())
}

fn lock(held: &Mutex<Option<Paused>>) -> std::sync::MutexGuard<'_, Option<Paused>> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets the guest run on when a signal ends us. Dropping it ends the watch.
struct Watcher {
    handle: Handle,
}

impl Watcher {
    fn start(mut signals: Signals, held: Arc<Mutex<Option<Paused>>>) -> anyhow::Result<Self> {
        let handle = signals.handle();
        let watch = move || {
            if let Some(signal) = signals.forever().next() {
                if let Err(error) = resume(&held) {
                    tell!("vread: {error}; send `cont` to the guest's QMP socket");
                }
                std::process::exit(SIGNALLED.saturating_add(signal));
            }
        };
        thread::Builder::new()
            .name("signals".into())
            .spawn(watch)
            .context("cannot start the thread that waits for signals")?;
        Ok(Self { handle })
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.handle.close();
    }
}

/// Output that waits until the guest runs again.
struct Kept<'o> {
    bytes: Vec<u8>,
    out: &'o mut dyn Write,
}

impl Kept<'_> {
    fn write_out(&mut self) -> io::Result<()> {
        let bytes = std::mem::take(&mut self.bytes);
        self.out.write_all(&bytes)
    }
}

impl Write for Kept<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len().saturating_add(bytes.len()) > MAX_KEPT {
            self.write_out()?;
            self.out.write_all(bytes)?;
        } else {
            self.bytes.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
