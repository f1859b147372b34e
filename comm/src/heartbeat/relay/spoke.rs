//! The other nodes' side: calls rank 0, tells it of this node, and hears of all others.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::super::clock::Moment;
use super::super::pulse::Heartbeat;
use super::hub::take;
use super::invitation::Invitation;
use super::wire::Wire;
use super::{ANSWER, PERIOD, frame};
use crate::error::CommError;

/// How long one address may take to answer.
const CONNECT: Duration = Duration::from_secs(2);
/// Time between two looks whether it has ended.
const LOOK: Duration = Duration::from_millis(100);

/// Calls until it is dropped.
#[derive(Debug)]
pub(super) struct Spoke {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Spoke {
    pub fn start(invitation: Invitation, node: usize, heartbeat: Heartbeat) -> Result<Self, CommError> {
        let rank = heartbeat.rank();
        let ended = Arc::new(AtomicBool::new(false));
        let own = Caller { invitation, node, heartbeat, ended: ended.clone() };
        let thread = std::thread::Builder::new()
            .name("heartbeat-spoke".to_owned())
            .spawn(move || own.run())
            .map_err(|error| CommError::CommThread { rank, reason: error.to_string() })?;
        Ok(Self { ended, thread: Some(thread) })
    }
}

impl Drop for Spoke {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Caller {
    invitation: Invitation,
    node: usize,
    heartbeat: Heartbeat,
    ended: Arc<AtomicBool>,
}

impl Caller {
    fn run(&self) {
        let mut has_warned = false;
        while !self.ended.load(Ordering::Relaxed) {
            let failed = self
                .invitation
                .addresses
                .iter()
                .filter_map(|address| Some((address, self.talk(*address).err()?)));
            let failed: Vec<String> = failed.map(|(address, error)| format!("{address}: {error}")).collect();
            if !has_warned && !self.ended.load(Ordering::Relaxed) {
                has_warned = true;
                tracing::warn!(
                    "node {} has no news of the others ({}); `comm.interface` chooses the network of rank 0's node",
                    self.node,
                    failed.join(", ")
                );
            }
            self.sleep(PERIOD);
        }
    }

    /// Exchanges news over one address until it fails.
    fn talk(&self, address: SocketAddr) -> std::io::Result<()> {
        let stream = TcpStream::connect_timeout(&address, CONNECT)?;
        let world_size = self.heartbeat.members().len();
        let mut wire = Wire::new(stream, &self.ended, ANSWER, frame::max_bytes(world_size))?;
        wire.call(&self.invitation.key, u32::try_from(self.node).unwrap_or(u32::MAX))?;
        while !self.ended.load(Ordering::Relaxed) {
            let own = self.heartbeat.rows_of_node(self.node, Moment::now());
            wire.send(&frame::encode(&own, self.heartbeat.memory().speaker()))?;
            let bytes = wire.receive()?;
            let now = Moment::now();
            let Some(news) = frame::decode(&bytes, world_size, now) else {
                return Err(std::io::Error::from(std::io::ErrorKind::InvalidData));
            };
            take(&self.heartbeat, &news, now, |node| node != self.node);
            self.sleep(PERIOD);
        }
        Ok(())
    }

    /// Sleeps, but not past the end.
    fn sleep(&self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until && !self.ended.load(Ordering::Relaxed) {
            std::thread::sleep(LOOK);
        }
    }
}
