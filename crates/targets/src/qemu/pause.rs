//! Stopping a guest for a moment.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use super::{
    Status,
    qmp::{self, Qmp},
    query,
};
use crate::{TargetError, error::printable};

/// A guest whose processors stand still. It runs on when this is [resumed](Self::resume) or dropped, unless
/// somebody else had stopped it before.
#[derive(Debug)]
pub struct Paused {
    qmp: Qmp,
    stopped_by: StoppedBy,
    since: Instant,
}

/// Who stopped the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StoppedBy {
    /// This command: it owes the guest its running on.
    Us,
    /// Somebody else, before, or nobody has to any more.
    Others,
}

/// What a pause came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PauseEnd {
    /// The guest stood still for so long, and runs again.
    Ran {
        /// From QEMU's word that it stopped to the order to run on.
        paused: Duration,
    },
    /// The guest had been stopped by somebody else, and still is.
    LeftStopped,
}

impl Paused {
    /// Stops the guest of the QEMU that serves QMP on `socket`.
    pub(crate) fn stop(socket: &Path) -> Result<Self, TargetError> {
        let mut qmp = Qmp::connect(socket, qmp::ANSWER_TIMEOUT)?;
        let before = query::<Status>(&mut qmp, "query-status")?.status;
        if before != "running" {
            return Ok(Self {
                qmp,
                stopped_by: StoppedBy::Others,
                since: Instant::now(),
            });
        }
        // From here on the guest may stand still, whatever the answer is: dropping makes it run on.
        let mut paused = Self {
            qmp,
            stopped_by: StoppedBy::Us,
            since: Instant::now(),
        };
        paused.qmp.execute("stop", None)?;
        paused.since = Instant::now();
        let status = query::<Status>(&mut paused.qmp, "query-status")?.status;
        if status == "running" {
            return Err(TargetError::NotStopped {
                path: socket.to_owned(),
                status: printable(status.as_bytes()),
            });
        }
        Ok(paused)
    }

    /// Lets the guest run on.
    ///
    /// # Errors
    ///
    /// QEMU does not answer; whether the guest runs is not known then.
    pub fn resume(mut self) -> Result<PauseEnd, TargetError> {
        self.run_on()
    }

    fn run_on(&mut self) -> Result<PauseEnd, TargetError> {
        if self.stopped_by == StoppedBy::Others {
            return Ok(PauseEnd::LeftStopped);
        }
        self.stopped_by = StoppedBy::Others;
        let paused = self.since.elapsed();
        self.qmp.execute("cont", None)?;
        Ok(PauseEnd::Ran { paused })
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        if let Err(error) = self.run_on() {
            tracing::error!(%error, "the guest may still be paused; send `cont` to its QMP socket");
        }
    }
}
