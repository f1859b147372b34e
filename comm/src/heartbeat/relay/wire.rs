//! Bytes on the socket: a greeting that strangers cannot give, and frames whose length has a bound of its own.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::invitation::Key;

/// The first bytes of a caller, with the version of the frames.
const GREETING: [u8; 8] = *b"dtrainH1";

/// Time after which a wait looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(200);

/// A connected socket.
pub(super) struct Wire<'a> {
    stream: TcpStream,
    /// Set when nobody wants the connection any more.
    ended: &'a AtomicBool,
    timeout: Duration,
    max_bytes: usize,
}

impl<'a> Wire<'a> {
    /// Messages of at most `max_bytes`, for which the other side is given `timeout`.
    pub fn new(
        stream: TcpStream,
        ended: &'a AtomicBool,
        timeout: Duration,
        max_bytes: usize,
    ) -> io::Result<Self> {
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LOOK))?;
        stream.set_write_timeout(Some(timeout))?;
        Ok(Self { stream, ended, timeout, max_bytes })
    }

    /// Calls as the relay of `node`, and hears whether it is the right one that answers.
    pub fn call(&mut self, key: &Key, node: u32) -> io::Result<()> {
        let (own, others) = halves(key);
        self.stream.write_all(&[&GREETING[..], own, &node.to_le_bytes()].concat())?;
        let mut answer = [0; 16];
        self.read(&mut answer)?;
        if same(&answer, others) { Ok(()) } else { Err(stranger()) }
    }

    /// Hears a caller, and answers if it belongs to the job; returns its node.
    pub fn answer(&mut self, key: &Key) -> io::Result<u32> {
        let (others, own) = halves(key);
        let mut call = [0; 28];
        self.read(&mut call)?;
        let (greeting, rest) = call.split_at(GREETING.len());
        let (secret, node) = rest.split_at(16);
        if greeting != GREETING || !same(secret, others) {
            return Err(stranger());
        }
        self.stream.write_all(own)?;
        Ok(node.try_into().map_or(u32::MAX, u32::from_le_bytes))
    }

    /// Sends a frame.
    pub fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        let len = u32::try_from(frame.len()).map_err(io::Error::other)?;
        self.stream.write_all(&len.to_le_bytes())?;
        self.stream.write_all(frame)
    }

    /// Receives a frame. Its length is compared with what a frame of this world can have before anything is held.
    pub fn receive(&mut self) -> io::Result<Vec<u8>> {
        let mut len = [0; 4];
        self.read(&mut len)?;
        let len = u32::from_le_bytes(len) as usize;
        if len > self.max_bytes {
            return Err(io::Error::from(ErrorKind::InvalidData));
        }
        let mut frame = vec![0; len];
        self.read(&mut frame)?;
        Ok(frame)
    }

    /// Fills `buffer`, in short reads, so that an end is noticed.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        let deadline = Instant::now() + self.timeout;
        let mut rest = buffer;
        while !rest.is_empty() {
            if self.ended.load(Ordering::Relaxed) {
                return Err(io::Error::from(ErrorKind::Interrupted));
            }
            match self.stream.read(rest) {
                Ok(0) => return Err(io::Error::from(ErrorKind::UnexpectedEof)),
                Ok(count) => rest = rest.split_at_mut_checked(count).map_or(&mut [], |(_, later)| later),
                Err(error) if is_pause(&error) => {}
                Err(error) => return Err(error),
            }
            if !rest.is_empty() && Instant::now() > deadline {
                return Err(io::Error::from(ErrorKind::TimedOut));
            }
        }
        Ok(())
    }
}

fn is_pause(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

fn stranger() -> io::Error {
    io::Error::from(ErrorKind::PermissionDenied)
}

fn halves(key: &Key) -> (&[u8], &[u8]) {
    key.split_at(key.len() / 2)
}

/// Compares without telling by its duration how much was right.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differences, (a, b)| differences | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    const SHORT: Duration = Duration::from_millis(300);
    const KEY: Key = [7; 32];

    /// What a listener with [`KEY`] makes of a caller, and the caller of it.
    fn meet<T: Send>(
        caller: impl FnOnce(&mut Wire<'_>) -> T + Send,
        listener: impl FnOnce(&mut Wire<'_>) -> io::Result<Vec<u8>>,
    ) -> (T, io::Result<Vec<u8>>) {
        let ended = AtomicBool::new(false);
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        std::thread::scope(|scope| {
            let ended = &ended;
            let called = scope.spawn(move || {
                let stream = TcpStream::connect(address).unwrap();
                caller(&mut Wire::new(stream, ended, SHORT, 100).unwrap())
            });
            let heard = listener(&mut Wire::new(socket.accept().unwrap().0, ended, SHORT, 100).unwrap());
            (called.join().unwrap(), heard)
        })
    }

    fn welcome(wire: &mut Wire<'_>) -> io::Result<Vec<u8>> {
        assert_eq!(wire.answer(&KEY)?, 3);
        wire.receive()
    }

    #[test]
    fn ranks_of_the_job_understand_each_other() {
        let (called, heard) = meet(
            |wire| {
                wire.call(&KEY, 3)?;
                wire.send(b"news")
            },
            welcome,
        );
        called.unwrap();
        assert_eq!(heard.unwrap(), b"news");
    }

    #[test]
    fn strangers_are_refused_on_both_sides() {
        let mut other = KEY;
        other[3] = 8;
        let (called, heard) = meet(|wire| wire.call(&other, 3), welcome);
        assert_eq!(heard.unwrap_err().kind(), ErrorKind::PermissionDenied);
        assert!(called.is_err());
        other = KEY;
        other[20] = 8;
        let (called, _) = meet(|wire| wire.call(&other, 3), welcome);
        assert_eq!(called.unwrap_err().kind(), ErrorKind::PermissionDenied);
        let (_, heard) =
            meet(|wire| wire.stream.write_all(b"GET / HTTP/1.1\r\nHost: nobody\r\n\r\n"), welcome);
        assert_eq!(heard.unwrap_err().kind(), ErrorKind::PermissionDenied);
    }

    #[test]
    fn a_caller_that_says_nothing_is_not_waited_for() {
        let (_, heard) = meet(|_| std::thread::sleep(SHORT * 2), welcome);
        assert_eq!(heard.unwrap_err().kind(), ErrorKind::TimedOut);
    }

    #[test]
    fn a_length_from_outside_allocates_nothing() {
        let (_, heard) = meet(
            |wire| {
                wire.call(&KEY, 3).unwrap();
                wire.stream.write_all(&u32::MAX.to_le_bytes()).unwrap();
            },
            welcome,
        );
        assert_eq!(heard.unwrap_err().kind(), ErrorKind::InvalidData);
    }
}
