//! Proofs and seals: keyed hashes (HMAC-SHA-256) by which the ranks of a job know each other's words.
//!
//! Both sides of a connection hold the job's key and choose a number used once. Each proves with both numbers that it holds
//! the key, so that what was heard of another connection proves nothing. Each direction has a key of its own,
//! derived from key and numbers, and each frame a count: a frame that is sent again, later, in another order or back to its
//! sender has a wrong seal. Contents are no secret and stay readable.

use std::fmt;
use std::io::{self, Read};

use hmac::{Hmac, Mac};
use sha2::Sha256;

/// The secret of a job. It is never printed.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Key([u8; 32]);

/// A number used once.
pub(super) type Nonce = [u8; 16];
/// A keyed hash.
pub(super) type Tag = [u8; 32];

/// Which side speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Caller,
    Listener,
}

/// What is said in the open before both sides have proved themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Meeting {
    /// Node of the caller.
    pub node: u32,
    pub caller: Nonce,
    pub listener: Nonce,
}

/// Uses of the key. All are hashed with the same fields of fixed lengths, so that none can stand for another.
const PROOF: u8 = 1;
const FRAMES: u8 = 2;

/// Seals the frames of one direction of one connection, or looks at their seals.
#[derive(Debug)]
pub(super) struct Seal {
    key: Key,
    /// Frames so far.
    count: u64,
}

impl Key {
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// One that nobody can foretell.
    pub fn fresh() -> io::Result<Self> {
        fresh().map(Self)
    }

    /// For MPI, and for nothing else.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A hash with this key. A key shorter than a block of the hash is filled up with zeros, as HMAC has it.
    fn hash(&self) -> Hmac<Sha256> {
        let mut block = [0; 64];
        let (own, _) = block.split_at_mut(self.0.len());
        own.copy_from_slice(&self.0);
        Hmac::new(&block.into())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(secret)")
    }
}

impl Side {
    fn code(self) -> u8 {
        match self {
            Self::Caller => 1,
            Self::Listener => 2,
        }
    }
}

impl Meeting {
    /// Shows that `side` holds `key` in this very meeting.
    pub fn proof(&self, key: &Key, side: Side) -> Tag {
        self.hash(key, PROOF, side).finalize().into_bytes().into()
    }

    /// Whether `tag` is the proof of `side`; takes equally long for every wrong one.
    pub fn is_proof(&self, key: &Key, side: Side, tag: &Tag) -> bool {
        self.hash(key, PROOF, side).verify_slice(tag).is_ok()
    }

    fn hash(&self, key: &Key, usage: u8, side: Side) -> Hmac<Sha256> {
        let mut hash = key.hash();
        hash.update(&[usage, side.code()]);
        hash.update(&self.node.to_le_bytes());
        hash.update(&self.caller);
        hash.update(&self.listener);
        hash
    }
}

impl Seal {
    /// Of the frames that `side` sends after `meeting`.
    pub fn new(key: &Key, meeting: &Meeting, side: Side) -> Self {
        Self { key: Key(meeting.hash(key, FRAMES, side).finalize().into_bytes().into()), count: 0 }
    }

    /// The seal of the next frame.
    pub fn close(&mut self, frame: &[u8]) -> Tag {
        let hash = self.hash(frame);
        self.count += 1;
        hash.finalize().into_bytes().into()
    }

    /// Whether `tag` is the seal of the next frame, and `frame` that frame; takes equally long for every wrong one.
    pub fn opens(&mut self, frame: &[u8], tag: &Tag) -> bool {
        let is_right = self.hash(frame).verify_slice(tag).is_ok();
        self.count += u64::from(is_right);
        is_right
    }

    fn hash(&self, frame: &[u8]) -> Hmac<Sha256> {
        let mut hash = self.key.hash();
        hash.update(&self.count.to_le_bytes());
        hash.update(frame);
        hash
    }
}

/// Bytes that nobody can foretell.
pub(super) fn fresh<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = Key([7; 32]);
    const MEETING: Meeting = Meeting { node: 3, caller: [1; 16], listener: [2; 16] };

    /// Test case 1 of RFC 4231, whose key has 20 bytes: filled up with zeros it is the same key.
    #[test]
    fn the_hash_is_hmac_sha_256() {
        let mut key = Key::default();
        key.0[..20].fill(0x0b);
        let mut hash = key.hash();
        hash.update(b"Hi There");
        let hex: String = hash.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    }

    #[test]
    fn a_proof_holds_for_one_key_meeting_and_side() {
        let tag = MEETING.proof(&KEY, Side::Caller);
        assert!(MEETING.is_proof(&KEY, Side::Caller, &tag));
        assert!(!MEETING.is_proof(&KEY, Side::Listener, &tag), "reflected");
        assert!(!MEETING.is_proof(&Key([8; 32]), Side::Caller, &tag), "another job");
        for other in [
            Meeting { node: 2, ..MEETING },
            Meeting { caller: [9; 16], ..MEETING },
            Meeting { listener: [9; 16], ..MEETING },
            Meeting { caller: MEETING.listener, listener: MEETING.caller, ..MEETING },
        ] {
            assert!(!other.is_proof(&KEY, Side::Caller, &tag), "{other:?}");
        }
    }

    #[test]
    fn a_seal_holds_for_one_frame_at_one_place_of_one_direction() {
        let opener = || Seal::new(&KEY, &MEETING, Side::Caller);
        let mut seal = opener();
        let (first, second) = (seal.close(b"first"), seal.close(b"second"));
        let mut right = opener();
        assert!(right.opens(b"first", &first) && right.opens(b"second", &second));
        assert!(!right.opens(b"second", &second), "replayed");
        assert!(!opener().opens(b"second", &second), "reordered, or the first one held back");
        assert!(!opener().opens(b"firsT", &first), "forged");
        assert!(!opener().opens(b"firs", &first), "truncated");
        assert!(!Seal::new(&KEY, &MEETING, Side::Listener).opens(b"first", &first), "reflected");
        let later = Meeting { listener: [5; 16], ..MEETING };
        assert!(!Seal::new(&KEY, &later, Side::Caller).opens(b"first", &first), "of an earlier connection");
        let mut patient = opener();
        assert!(!patient.opens(b"forged", &first) && patient.opens(b"first", &first));
    }

    #[test]
    fn keys_differ_and_are_not_printed() {
        assert_ne!(Key::fresh().unwrap(), Key::fresh().unwrap());
        assert_eq!(format!("{KEY:?}"), "Key(secret)");
    }
}
