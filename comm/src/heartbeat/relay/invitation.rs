//! What rank 0 tells the others over MPI, so that they find its socket and strangers do not.

use std::net::SocketAddr;

use super::seal::Key;
use crate::error::CommError;

/// Addresses to try; none where rank 0 could not open a socket.
const MAX_ADDRESSES: usize = 64;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Invitation {
    pub key: Key,
    pub addresses: Vec<SocketAddr>,
}

/// In front of the message.
const OPEN: u8 = b'+';
const NO_INTERFACE: u8 = b'-';

impl Invitation {
    /// Of a listener, or why there is none.
    pub fn encode(opened: Result<&Self, &CommError>) -> Vec<u8> {
        match opened {
            Ok(invitation) => {
                let mut bytes = vec![OPEN];
                bytes.extend(invitation.key.bytes());
                let addresses: Vec<String> =
                    invitation.addresses.iter().take(MAX_ADDRESSES).map(ToString::to_string).collect();
                bytes.extend(addresses.join("\n").into_bytes());
                bytes
            }
            Err(CommError::NoInterface { name, known }) => {
                [&[NO_INTERFACE][..], name.as_bytes(), b"\n", known.as_bytes()].concat()
            }
            Err(error) => {
                tracing::warn!("stuck ranks of other nodes cannot be named: {error}");
                [&[OPEN][..], Key::default().bytes()].concat()
            }
        }
    }

    /// # Errors
    /// [`CommError::NoInterface`] as rank 0 has it.
    pub fn decode(bytes: &[u8]) -> Result<Self, CommError> {
        if let Some((&NO_INTERFACE, text)) = bytes.split_first() {
            let text = String::from_utf8_lossy(text);
            let (name, known) = text.split_once('\n').unwrap_or((&text, ""));
            return Err(CommError::NoInterface { name: name.to_owned(), known: known.to_owned() });
        }
        let none = || Self { key: Key::default(), addresses: Vec::new() };
        let Some((key, text)) = bytes.get(1..).and_then(|rest| rest.split_first_chunk()) else {
            return Ok(none());
        };
        let text = String::from_utf8_lossy(text);
        let addresses = text.lines().take(MAX_ADDRESSES).filter_map(|line| line.parse().ok()).collect();
        Ok(Self { key: Key::new(*key), addresses })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invitations_and_refusals_survive_the_journey() {
        let addresses = vec!["10.0.0.5:4711".parse().unwrap(), "[2001:db8::5]:80".parse().unwrap()];
        let invitation = Invitation { key: Key::new([7; 32]), addresses };
        assert_eq!(Invitation::decode(&Invitation::encode(Ok(&invitation))), Ok(invitation));
        let refused = CommError::NoInterface { name: "eth1".into(), known: "eth0, lo".into() };
        assert_eq!(Invitation::decode(&Invitation::encode(Err(&refused))), Err(refused));
        let failed = CommError::NoSocket { reason: "no more files".into() };
        assert_eq!(Invitation::decode(&Invitation::encode(Err(&failed))).unwrap().addresses, []);
        for garbage in [&b""[..], b"+", b"x123", &[b'+'; 40]] {
            assert_eq!(Invitation::decode(garbage).unwrap().addresses, []);
        }
    }
}
