//! Which GPU each rank has, compared before NCCL is asked: NCCL's own message names no rank of the launcher.

use std::sync::Arc;

use crate::collective::Collective;
use crate::cuda;
use crate::error::CommError;
use crate::ext::CollectiveExt;

/// Where a rank computes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    node: u64,
    uuid: [u8; 16],
    /// `NCCL_HOSTID`, under which NCCL takes ranks for ranks of different nodes.
    host: Vec<u8>,
}

impl Place {
    /// This rank with a device of identity `uuid`.
    pub(super) fn of_this_rank(node: usize, uuid: [u8; 16]) -> Self {
        let host = std::env::var_os("NCCL_HOSTID").unwrap_or_default();
        Self { node: node as u64, uuid, host: host.into_encoded_bytes() }
    }

    fn encode(&self) -> Vec<u8> {
        [&self.node.to_le_bytes()[..], &self.uuid, &self.host].concat()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (node, rest) = bytes.split_first_chunk()?;
        let (uuid, host) = rest.split_first_chunk()?;
        Some(Self { node: u64::from_le_bytes(*node), uuid: *uuid, host: host.to_vec() })
    }
}

/// Refuses two ranks on one GPU; all ranks call it, and all get the same answer.
///
/// # Errors
/// [`CommError::DuplicateDevice`]; what `control` reports.
pub(super) fn refuse_duplicates(control: &Arc<dyn Collective>, own: &Place) -> Result<(), CommError> {
    let messages = control.gather_bytes(&own.encode())?;
    let places: Vec<_> = messages.iter().map(|message| Place::decode(message)).collect();
    match duplicates(&places) {
        None => Ok(()),
        Some((first, second, uuid)) => {
            Err(CommError::DuplicateDevice { first, second, uuid: cuda::format_uuid(&uuid) })
        }
    }
}

/// The lowest two ranks that are in one place.
fn duplicates(places: &[Option<Place>]) -> Option<(usize, usize, [u8; 16])> {
    places.iter().enumerate().find_map(|(second, place)| {
        let place = place.as_ref()?;
        let first = places.iter().take(second).position(|other| other.as_ref() == Some(place))?;
        Some((first, second, place.uuid))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_is_shared_by_ranks_of_different_hosts_only() {
        let place = |node, gpu, host: &str| {
            let place = Place { node, uuid: [gpu; 16], host: host.into() };
            Place::decode(&place.encode())
        };
        let different =
            [place(0, 1, ""), place(0, 2, ""), place(1, 1, ""), place(0, 1, "a"), place(0, 1, "b")];
        assert_eq!(duplicates(&different), None);
        let same = [place(0, 3, ""), place(0, 1, ""), place(0, 2, ""), place(0, 1, "")];
        assert_eq!(duplicates(&same), Some((1, 3, [1; 16])));
        assert_eq!(Place::decode(&[0; 23]), None);
    }
}
