//! The other nodes' side: calls rank 0, tells it of this node, and hears of all others.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::super::clock::Moment;
use super::super::writer::Heartbeat;
use super::hub::take;
use super::invitation::Invitation;
use super::refusals::Refusals;
use super::seal::fresh;
use super::wire::{Wire, WireError};
use super::{ANSWER, PERIOD, frame};
use crate::error::CommError;

/// How long one address may take to answer.
const CONNECT: Duration = Duration::from_secs(2);
/// Time between two looks whether it has ended.
const LOOK: Duration = Duration::from_millis(100);

/// Calls until it is dropped.
#[derive(Debug)]
pub(super) struct Spoke {
    caller: Arc<Caller>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Caller {
    invitation: Invitation,
    node: usize,
    heartbeat: Heartbeat,
    ended: AtomicBool,
    refusals: Refusals,
}

impl Spoke {
    pub fn start(invitation: Invitation, node: usize, heartbeat: Heartbeat) -> Result<Self, CommError> {
        let rank = heartbeat.rank();
        let ended = AtomicBool::new(false);
        let caller = Arc::new(Caller { invitation, node, heartbeat, ended, refusals: Refusals::default() });
        let own = caller.clone();
        let thread = std::thread::Builder::new()
            .name("heartbeat-spoke".to_owned())
            .spawn(move || own.run())
            .map_err(|error| CommError::CommThread { rank, reason: error.to_string() })?;
        Ok(Self { caller, thread: Some(thread) })
    }

    /// Frames and listeners refused so far.
    #[cfg(test)]
    pub fn num_refused(&self) -> u64 {
        self.caller.refusals.num()
    }
}

impl Drop for Spoke {
    fn drop(&mut self) {
        self.caller.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Caller {
    fn run(&self) {
        let mut has_warned = false;
        while !self.ended.load(Ordering::Relaxed) {
            let mut failed = Vec::new();
            for address in &self.invitation.addresses {
                if let Err(error) = self.talk(*address) {
                    self.refusals.note(*address, &error);
                    failed.push(format!("{address}: {error}"));
                }
            }
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
    fn talk(&self, address: SocketAddr) -> Result<(), WireError> {
        let stream = TcpStream::connect_timeout(&address, CONNECT)?;
        let world_size = self.heartbeat.members().len();
        let wire = Wire::over(stream, &self.ended, ANSWER, frame::max_bytes(world_size))?;
        let node = u32::try_from(self.node).unwrap_or(u32::MAX);
        let mut line = wire.call(&self.invitation.key, node, fresh()?)?;
        while !self.ended.load(Ordering::Relaxed) {
            let own = self.heartbeat.rows_of_node(self.node, Moment::now());
            line.send(&frame::encode(&own, self.heartbeat.memory().speaker()))?;
            let bytes = line.receive()?;
            let now = Moment::now();
            let news = frame::decode(&bytes, world_size, now).ok_or(WireError::Senseless)?;
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
