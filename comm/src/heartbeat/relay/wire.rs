//! Bytes on the socket: both sides prove that they belong to the job, then exchange frames with a bound on their length and
//! a seal.
//!
//! ```text
//! caller    greeting (8)  node (4)  nonce (16)
//! listener  nonce (16)  proof (32)
//! caller    proof (32)
//! both      length (4)  frame  seal (32)      again and again
//! ```

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::seal::{Key, Meeting, Nonce, Seal, Side, Tag};

/// The first bytes of a caller, with the version of the exchange.
pub(super) const GREETING: [u8; 8] = *b"dtrainH2";
const CALL_BYTES: usize = 8 + 4 + 16;

/// Time after which a wait looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(200);

/// How long the other side has to prove itself.
pub(super) const PROVE: Duration = Duration::from_secs(2);

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    #[error("the exchange has ended")]
    Ended,
    #[error("closed by the other side")]
    Closed,
    #[error("no answer in time")]
    Silent,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("it does not prove that it belongs to this job")]
    Stranger,
    #[error("a frame of {0} bytes is longer than any of this job")]
    TooLong(usize),
    #[error("a frame ends in its middle")]
    Truncated,
    #[error("a frame has a wrong seal")]
    Forged,
    #[error("a frame makes no sense")]
    Senseless,
    #[error("too many callers at once")]
    Crowded,
}

impl WireError {
    /// Whether somebody tried what no rank of the job does.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Ended | Self::Closed | Self::Silent | Self::Io(_) => false,
            Self::Stranger
            | Self::TooLong(_)
            | Self::Truncated
            | Self::Forged
            | Self::Senseless
            | Self::Crowded => true,
        }
    }
}

/// A connection to somebody unknown.
pub(super) struct Wire<'a, S> {
    stream: S,
    /// Set when nobody wants the connection any more.
    ended: &'a AtomicBool,
    timeout: Duration,
    max_bytes: usize,
}

/// A connection to a rank of the job.
pub(super) struct Line<'a, S> {
    wire: Wire<'a, S>,
    outgoing: Seal,
    incoming: Seal,
}

impl<'a> Wire<'a, TcpStream> {
    /// Frames of at most `max_bytes`, for which the other side is given `timeout`.
    pub fn over(
        stream: TcpStream,
        ended: &'a AtomicBool,
        timeout: Duration,
        max_bytes: usize,
    ) -> Result<Self, WireError> {
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LOOK))?;
        stream.set_write_timeout(Some(timeout))?;
        Ok(Self::new(stream, ended, timeout, max_bytes))
    }
}

impl<'a, S: Read + Write> Wire<'a, S> {
    pub fn new(stream: S, ended: &'a AtomicBool, timeout: Duration, max_bytes: usize) -> Self {
        Self { stream, ended, timeout, max_bytes }
    }

    /// Calls as the relay of `node`, and hears whether it is the right one that answers.
    ///
    /// # Errors
    /// [`WireError::Stranger`] for whoever cannot prove that it belongs to the job.
    pub fn call(mut self, key: &Key, node: u32, nonce: Nonce) -> Result<Line<'a, S>, WireError> {
        let deadline = Instant::now() + PROVE.min(self.timeout);
        self.stream.write_all(&[&GREETING[..], &node.to_le_bytes(), &nonce].concat())?;
        let mut listener = Nonce::default();
        let mut proof = Tag::default();
        self.read(&mut listener, deadline).map_err(strange)?;
        self.read(&mut proof, deadline).map_err(strange)?;
        let meeting = Meeting { node, caller: nonce, listener };
        if !meeting.is_proof(key, Side::Listener, &proof) {
            return Err(WireError::Stranger);
        }
        self.stream.write_all(&meeting.proof(key, Side::Caller))?;
        Ok(Line::new(self, key, &meeting, Side::Caller))
    }

    /// Hears a caller, which has to prove that it belongs to the job; returns its node too.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub fn answer(mut self, key: &Key, nonce: Nonce) -> Result<(u32, Line<'a, S>), WireError> {
        let deadline = Instant::now() + PROVE.min(self.timeout);
        let mut call = [0; CALL_BYTES];
        self.read(&mut call, deadline).map_err(strange)?;
        let caller = (call.split_first_chunk())
            .filter(|(greeting, _)| **greeting == GREETING)
            .and_then(|(_, rest)| rest.split_first_chunk());
        let Some((node, caller)) = caller else { return Err(WireError::Stranger) };
        let node = u32::from_le_bytes(*node);
        let caller = caller.try_into().map_err(|_| WireError::Stranger)?;
        let meeting = Meeting { node, caller, listener: nonce };
        self.stream.write_all(&[&nonce[..], &meeting.proof(key, Side::Listener)].concat())?;
        let mut proof = Tag::default();
        self.read(&mut proof, deadline).map_err(strange)?;
        if !meeting.is_proof(key, Side::Caller, &proof) {
            return Err(WireError::Stranger);
        }
        Ok((node, Line::new(self, key, &meeting, Side::Listener)))
    }

    /// Fills `buffer`, in short reads, so that an end is noticed.
    fn read(&mut self, buffer: &mut [u8], deadline: Instant) -> Result<(), WireError> {
        let len = buffer.len();
        let mut rest = buffer;
        while !rest.is_empty() {
            if self.ended.load(Ordering::Relaxed) {
                return Err(WireError::Ended);
            }
            match self.stream.read(rest) {
                Ok(0) if rest.len() == len => return Err(WireError::Closed),
                Ok(0) => return Err(WireError::Truncated),
                Ok(count) => rest = rest.split_at_mut_checked(count).map_or(&mut [], |(_, later)| later),
                Err(error) if is_pause(&error) => {}
                Err(error) => return Err(error.into()),
            }
            if !rest.is_empty() && Instant::now() > deadline {
                return Err(WireError::Silent);
            }
        }
        Ok(())
    }
}

impl<'a, S: Read + Write> Line<'a, S> {
    fn new(wire: Wire<'a, S>, key: &Key, meeting: &Meeting, own: Side) -> Self {
        let other = if own == Side::Caller { Side::Listener } else { Side::Caller };
        Self { wire, outgoing: Seal::new(key, meeting, own), incoming: Seal::new(key, meeting, other) }
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// What the system reports.
    pub fn send(&mut self, frame: &[u8]) -> Result<(), WireError> {
        let len = u32::try_from(frame.len()).map_err(|_| WireError::TooLong(frame.len()))?;
        let seal = self.outgoing.close(frame);
        Ok(self.wire.stream.write_all(&[&len.to_le_bytes(), frame, &seal].concat())?)
    }

    /// Receives a frame. Its length is compared with what a frame of this world can have before anything is held.
    ///
    /// # Errors
    /// [`WireError`] for whatever is not the next frame of the other side; the connection is of no more use then.
    pub fn receive(&mut self) -> Result<Vec<u8>, WireError> {
        let deadline = Instant::now() + self.wire.timeout;
        let mut len = [0; 4];
        self.wire.read(&mut len, deadline)?;
        let len = u32::from_le_bytes(len) as usize;
        if len > self.wire.max_bytes {
            return Err(WireError::TooLong(len));
        }
        let mut frame = vec![0; len];
        let mut seal = Tag::default();
        for part in [&mut frame[..], &mut seal] {
            self.wire.read(part, deadline).map_err(|error| match error {
                WireError::Closed => WireError::Truncated,
                error => error,
            })?;
        }
        if self.incoming.opens(&frame, &seal) { Ok(frame) } else { Err(WireError::Forged) }
    }
}

fn is_pause(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// Before it has proved itself, whoever says something incomplete is a stranger.
fn strange(error: WireError) -> WireError {
    match error {
        WireError::Truncated => WireError::Stranger,
        error => error,
    }
}

#[cfg(test)]
mod tests;
