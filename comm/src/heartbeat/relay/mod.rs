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
use crate::error::CommError;
use crate::world::World;
use addresses::Opened;
use hub::Hub;
use invitation::Invitation;
pub(crate) use site::Site;
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

/// Rank 0 opens its door to the nodes that have introduced themselves: the message to all ranks, which tells of the problem
/// where there is one, and what rank 0 listens on.
pub(crate) fn invite(
    own: &Site,
    introductions: &[Vec<u8>],
    interface: Option<&str>,
) -> (Vec<u8>, Option<Opened>) {
    let others = introductions.iter().skip(1).filter(|bytes| !bytes.is_empty());
    let others: Vec<Site> = others.map(|bytes| Site::decode(bytes)).collect();
    let listening = addresses::listen(own, &others, interface);
    let message = Invitation::encode(listening.as_ref().map(|opened| &opened.invitation));
    (message, listening.ok())
}

impl Relay {
    /// Takes this rank's part, if it has one, in the exchange that `invitation` tells of. `opened`: what rank 0 listens on.
    ///
    /// # Errors
    /// [`CommError::NoInterface`], on all ranks alike; what the system refuses.
    pub(crate) fn start(
        world: &World,
        invitation: &[u8],
        opened: Option<Opened>,
        heartbeat: &Heartbeat,
    ) -> Result<Option<Self>, CommError> {
        let invitation = Invitation::decode(invitation)?;
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
