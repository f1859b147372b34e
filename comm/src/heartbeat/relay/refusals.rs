//! What was refused: counted, and said once.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use super::wire::WireError;

/// Counts callers and frames that do not belong to the job.
#[derive(Debug, Default)]
pub(super) struct Refusals(AtomicU64);

impl Refusals {
    /// Notes the end of a connection with `peer`. A caller that breaks off is none that was refused: it calls again.
    pub fn note(&self, peer: SocketAddr, error: &WireError) {
        if !error.is_refusal() {
            tracing::debug!(%peer, %error, "a connection for heartbeats has ended");
            return;
        }
        let before = self.0.fetch_add(1, Ordering::Relaxed);
        if before == 0 {
            tracing::warn!(
                "`{peer}` was refused at the port for heartbeats: {error}; the run goes on, and further ones are counted \
                 without a word (`comm.interface` chooses a network that others do not reach)"
            );
        } else {
            tracing::debug!(%peer, %error, "refused at the port for heartbeats");
        }
    }

    /// Refusals so far.
    pub fn num(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
