//! Rank 0's side: hears every node, and tells each of all the others.

use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::super::clock::Moment;
use super::super::pulse::Heartbeat;
use super::ANSWER;
use super::frame::{self, News};
use super::invitation::Key;
use super::wire::Wire;
use crate::error::CommError;

/// Time between two looks for callers.
const LOOK: Duration = Duration::from_millis(100);
/// Callers at a time beyond one for each node: such as come back, and strangers.
const SPARE: usize = 16;

/// Listens until it is dropped.
#[derive(Debug)]
pub(super) struct Hub {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What the threads of the hub share.
struct Shared {
    key: Key,
    heartbeat: Heartbeat,
    ended: Arc<AtomicBool>,
    num_callers: AtomicUsize,
}

impl Hub {
    pub fn start(listener: TcpListener, key: Key, heartbeat: Heartbeat) -> Result<Self, CommError> {
        let failed = |error: std::io::Error| CommError::CommThread { rank: 0, reason: error.to_string() };
        listener.set_nonblocking(true).map_err(failed)?;
        let ended = Arc::new(AtomicBool::new(false));
        let shared = Shared { key, heartbeat, ended: ended.clone(), num_callers: AtomicUsize::new(0) };
        let thread = std::thread::Builder::new()
            .name("heartbeat-hub".to_owned())
            .spawn(move || listen(&listener, &Arc::new(shared)))
            .map_err(failed)?;
        Ok(Self { ended, thread: Some(thread) })
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn listen(listener: &TcpListener, shared: &Arc<Shared>) {
    let num_nodes = shared.heartbeat.members().iter().map(|member| member.node + 1).max().unwrap_or(1);
    while !shared.ended.load(Ordering::Relaxed) {
        let Ok((stream, _)) = listener.accept() else {
            std::thread::sleep(LOOK);
            continue;
        };
        if shared.num_callers.load(Ordering::Relaxed) >= num_nodes + SPARE {
            continue;
        }
        shared.num_callers.fetch_add(1, Ordering::Relaxed);
        let own = shared.clone();
        let hear = move || {
            // A caller that breaks off calls again.
            if let Err(error) = own.hear(stream) {
                tracing::debug!(%error, "a caller has gone");
            }
            own.num_callers.fetch_sub(1, Ordering::Relaxed);
        };
        if std::thread::Builder::new().name("heartbeat-node".to_owned()).spawn(hear).is_err() {
            shared.num_callers.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Shared {
    /// Exchanges news with one caller until it goes.
    fn hear(&self, stream: TcpStream) -> std::io::Result<()> {
        let world_size = self.heartbeat.members().len();
        let mut wire = Wire::new(stream, &self.ended, ANSWER, frame::max_bytes(world_size))?;
        let node = wire.answer(&self.key)? as usize;
        loop {
            let bytes = wire.receive()?;
            let now = Moment::now();
            let Some(news) = frame::decode(&bytes, world_size, now) else {
                return Err(std::io::Error::from(std::io::ErrorKind::InvalidData));
            };
            // A node speaks for its own ranks only, and never for those of this one.
            take(&self.heartbeat, &news, now, |of| of == node && of != 0);
            let mut others = self.heartbeat.rows(Moment::now());
            others.retain(|row| row.member.node != node);
            wire.send(&frame::encode(&others, self.heartbeat.memory().speaker()))?;
        }
    }
}

/// Writes down what was heard of ranks on nodes that `is_theirs` lets the sender speak for.
pub(super) fn take(heartbeat: &Heartbeat, news: &News, now: Moment, is_theirs: impl Fn(usize) -> bool) {
    for row in &news.rows {
        let member = heartbeat.members().get(row.rank).filter(|member| is_theirs(member.node));
        if let Some(page) = member.and_then(|_| heartbeat.memory().page(row.rank)) {
            page.take_news(row, now.before(row.heard_age));
        }
    }
    if let Some(speaker) = news.speaker {
        heartbeat.memory().claim(speaker);
    }
}
