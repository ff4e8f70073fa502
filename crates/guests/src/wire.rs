//! The host's end of the wire to a guest.

use std::io::{self, BufReader};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use vread_guest_helper::protocol::{self, Failure, Request};

use crate::error::GuestError;

/// Between two looks whether QEMU has called.
const PAUSE: Duration = Duration::from_millis(5);

const BUFFER_BYTES: usize = 1 << 18;

/// Made before QEMU starts, which calls it: so the wire is there before the guest is.
#[derive(Debug)]
pub(crate) struct Listener(UnixListener);

impl Listener {
    pub(crate) fn new(path: &Path) -> Result<Self, GuestError> {
        let listener = UnixListener::bind(path).map_err(GuestError::file(path))?;
        listener
            .set_nonblocking(true)
            .map_err(GuestError::file(path))?;
        Ok(Self(listener))
    }

    /// Waits for QEMU to call, or for `give_up` to name a reason not to.
    pub(crate) fn accept(
        &self,
        deadline: Instant,
        mut give_up: impl FnMut() -> Option<String>,
    ) -> io::Result<Wire> {
        loop {
            match self.0.accept() {
                Ok((stream, _)) => return Wire::new(stream),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            if let Some(reason) = give_up() {
                return Err(io::Error::other(reason));
            }
            if Instant::now() >= deadline {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "QEMU did not call"));
            }
            std::thread::sleep(PAUSE);
        }
    }
}

/// A wire with a guest at its end.
///
/// # Invariants
/// While `step` is [`Step::Kept`], the next reply on the wire is that of the next request.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: BufReader<UnixStream>,
    step: Step,
}

/// Whether replies still belong to the requests they follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Kept,
    /// A request was sent and its reply was not read to its end.
    Lost,
}

impl Wire {
    fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(false)?;
        let stream = BufReader::with_capacity(BUFFER_BYTES, stream);
        // INVARIANT: nothing was asked yet.
        Ok(Self {
            stream,
            step: Step::Kept,
        })
    }

    /// Bounds the silence while a reply is due.
    pub(crate) fn set_patience(&self, patience: Duration) -> io::Result<()> {
        // Zero would mean for ever.
        let patience = Some(patience.max(PAUSE));
        self.stream.get_ref().set_read_timeout(patience)?;
        self.stream.get_ref().set_write_timeout(patience)
    }

    pub(crate) fn ask(&mut self, request: &Request) -> io::Result<Result<Vec<u8>, Failure>> {
        if self.step == Step::Lost {
            return Err(io::Error::other(
                "an earlier request got no answer, so no later one can",
            ));
        }
        self.step = Step::Lost;
        protocol::send_request(self.stream.get_mut(), request)?;
        let reply = self.receive()?;
        // INVARIANT: the reply was read to its end.
        self.step = Step::Kept;
        Ok(reply)
    }

    /// A reply that the guest sends unasked.
    pub(crate) fn receive(&mut self) -> io::Result<Result<Vec<u8>, Failure>> {
        protocol::receive_reply(&mut self.stream).map_err(|error| {
            if error.kind() == io::ErrorKind::WouldBlock {
                return io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the guest was silent for too long",
                );
            }
            error
        })
    }
}
