//! News between nodes, over a socket of the job's own: the lowest rank of each node sends its node's slots to rank 0 once a
//! second, and gets those of all others back. The ranks of a node find them in the memory that they share.
//!
//! Training does not depend on it. Where nodes cannot reach each other the job goes on, and a stuck rank of another node is
//! named less well. What is heard can end a run, so it is believed only under a seal with the job's key, which
//! travels over MPI and nowhere else.

mod addresses;
#[cfg(test)]
mod attacks;
mod callers;
mod frame;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod hub;
mod invitation;
mod refusals;
mod seal;
mod site;
mod spoke;
mod wire;
#[cfg(any(test, feature = "fuzzing"))]
mod words;

use std::time::Duration;

use super::writer::Heartbeat;
use crate::collective::Collective;
use crate::error::CommError;
use crate::ext::CollectiveExt;
use hub::Hub;
use invitation::Invitation;
use site::Site;
use spoke::Spoke;

/// Time between two messages of a node.
const PERIOD: Duration = Duration::from_secs(1);
/// How long a peer may take to say something.
const ANSWER: Duration = Duration::from_secs(5);

/// This rank's part in the exchange of news; dropping it ends the part.
#[derive(Debug)]
pub(crate) struct Relay {
    _part: Part,
}

#[derive(Debug)]
enum Part {
    /// Rank 0.
    Hub { _hub: Hub },
    /// The lowest rank of another node.
    Spoke { _spoke: Spoke },
}

impl Relay {
    /// Starts the exchange where there are several nodes; all ranks call it.
    ///
    /// # Errors
    /// [`CommError::NoInterface`], on all ranks alike; what the transport reports.
    pub fn start(
        collective: &dyn Collective,
        heartbeat: &Heartbeat,
        interface: Option<&str>,
    ) -> Result<Option<Self>, CommError> {
        let world = collective.world();
        if world.num_nodes <= 1 {
            return Ok(None);
        }
        let own = Site::of_this_machine();
        // One rank speaks for each node.
        let introduction = if world.local_rank == 0 { own.encode() } else { Vec::new() };
        let introductions = collective.gather_bytes(&introduction)?;
        let mut opened = None;
        let mut message = Vec::new();
        if world.is_main() {
            let others = introductions.iter().skip(1).filter(|bytes| !bytes.is_empty());
            let others: Vec<Site> = others.map(|bytes| Site::decode(bytes)).collect();
            let listening = addresses::listen(&own, &others, interface);
            message = Invitation::encode(listening.as_ref().map(|opened| &opened.invitation));
            opened = listening.ok();
        }
        let message = collective.broadcast_bytes(message, 0)?;
        let invitation = Invitation::decode(&message)?;
        if let Some(opened) = opened {
            let _hub = Hub::start(opened.listeners, opened.invitation.key, heartbeat.clone())?;
            return Ok(Some(Self { _part: Part::Hub { _hub } }));
        }
        if world.local_rank != 0 || invitation.addresses.is_empty() {
            return Ok(None);
        }
        let _spoke = Spoke::start(invitation, world.node, heartbeat.clone())?;
        Ok(Some(Self { _part: Part::Spoke { _spoke } }))
    }
}
