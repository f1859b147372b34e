//! What goes over a connection byte by byte, for tests and fuzzers that say it themselves: in pieces, to the wrong listener,
//! or under a wrong key.

use super::seal::{Key, Meeting, Nonce, Seal, Side};
use super::wire::GREETING;

/// What a caller says before it has heard anything.
pub(super) fn greeting(node: u32, nonce: &Nonce) -> Vec<u8> {
    [&GREETING[..], &node.to_le_bytes(), nonce].concat()
}

/// Greeting and proof, for a listener whose number is known beforehand.
pub(super) fn call(key: &Key, meeting: &Meeting) -> Vec<u8> {
    [&greeting(meeting.node, &meeting.caller)[..], &meeting.proof(key, Side::Caller)].concat()
}

/// A frame with its length before it and its seal behind it.
pub(super) fn sealed(seal: &mut Seal, frame: &[u8]) -> Vec<u8> {
    let tag = seal.close(frame);
    [&(frame.len() as u32).to_le_bytes(), frame, &tag].concat()
}
