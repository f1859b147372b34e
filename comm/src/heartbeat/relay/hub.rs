//! Rank 0's side: hears every node, and tells each of all the others.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::super::clock::Moment;
use super::super::writer::Heartbeat;
use super::ANSWER;
use super::callers::{Callers, Place};
use super::frame::{self, News};
use super::refusals::Refusals;
use super::seal::{Key, fresh};
use super::wire::{Wire, WireError};
use crate::error::CommError;

/// Time between two looks for callers.
const LOOK: Duration = Duration::from_millis(100);

/// Listens until it is dropped.
#[derive(Debug)]
pub(super) struct Hub {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What the threads of the hub share.
#[derive(Debug)]
struct Shared {
    key: Key,
    heartbeat: Heartbeat,
    ended: AtomicBool,
    callers: Arc<Callers>,
    refusals: Refusals,
}

impl Hub {
    pub fn start(listeners: Vec<TcpListener>, key: Key, heartbeat: Heartbeat) -> Result<Self, CommError> {
        let failed = |error: std::io::Error| CommError::CommThread { rank: 0, reason: error.to_string() };
        for listener in &listeners {
            listener.set_nonblocking(true).map_err(failed)?;
        }
        let shared = Arc::new(Shared {
            key,
            heartbeat,
            ended: AtomicBool::new(false),
            callers: Arc::default(),
            refusals: Refusals::default(),
        });
        let own = shared.clone();
        let thread = std::thread::Builder::new()
            .name("heartbeat-hub".to_owned())
            .spawn(move || listen(&listeners, &own))
            .map_err(failed)?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Callers and frames refused so far.
    #[cfg(test)]
    pub fn num_refused(&self) -> u64 {
        self.shared.refusals.num()
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let num_refused = self.shared.refusals.num();
        if num_refused > 1 {
            tracing::info!(num_refused, "callers and frames were refused at the port for heartbeats");
        }
    }
}

fn listen(listeners: &[TcpListener], shared: &Arc<Shared>) {
    while !shared.ended.load(Ordering::Relaxed) {
        let mut is_idle = true;
        for (stream, peer) in listeners.iter().filter_map(|listener| listener.accept().ok()) {
            is_idle = false;
            let Some(place) = shared.callers.admit(peer.ip()) else {
                shared.refusals.note(peer, &WireError::Crowded);
                continue;
            };
            let own = shared.clone();
            // Without a thread the caller is dropped, and calls again.
            let _ = std::thread::Builder::new()
                .name("heartbeat-node".to_owned())
                .spawn(move || own.receive(stream, peer, place));
        }
        if is_idle {
            std::thread::sleep(LOOK);
        }
    }
}

impl Shared {
    fn receive(&self, stream: TcpStream, peer: SocketAddr, mut place: Place) {
        if let Err(error) = self.exchange(stream, &mut place) {
            self.refusals.note(peer, &error);
        }
    }

    /// Exchanges news with one caller until it goes.
    fn exchange(&self, stream: TcpStream, place: &mut Place) -> Result<(), WireError> {
        let members = self.heartbeat.members();
        let wire = Wire::over(stream, &self.ended, ANSWER, frame::max_bytes(members.len()))?;
        let (node, mut line) = wire.answer(&self.key, fresh()?)?;
        let node = node as usize;
        if node == 0 || members.iter().all(|member| member.node != node) {
            return Err(WireError::Senseless);
        }
        if !place.prove(node) {
            return Err(WireError::Crowded);
        }
        loop {
            let bytes = line.receive()?;
            let now = Moment::now();
            let news = frame::decode(&bytes, members.len(), now).ok_or(WireError::Senseless)?;
            // A node speaks for its own ranks only, and never for those of this one.
            take(&self.heartbeat, &news, now, |of| of == node && of != 0);
            let mut others = self.heartbeat.rows(Moment::now());
            others.retain(|row| row.member.node != node);
            line.send(&frame::encode(&others, self.heartbeat.memory().speaker()))?;
        }
    }
}

/// Writes down what was heard of ranks on nodes that `is_theirs` lets the sender speak for.
pub(super) fn take(heartbeat: &Heartbeat, news: &News, now: Moment, is_theirs: impl Fn(usize) -> bool) {
    for row in &news.rows {
        let member = heartbeat.members().get(row.rank).filter(|member| is_theirs(member.node));
        if let Some(slot) = member.and_then(|_| heartbeat.memory().slot(row.rank)) {
            slot.take_news(row, now.before(row.heard_age));
        }
    }
    if let Some(speaker) = news.speaker {
        heartbeat.memory().claim(speaker);
    }
}
