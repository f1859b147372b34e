//! Frames around small binary values: `state.bin` and control messages. A frame says what it holds, in which version,
//! how long it is, and its checksum. The only file that knows bincode.
//!
//! Layout, little endian, 32 bytes before the payload:
//!
//! | bytes | content |
//! |---|---|
//! | 0..4 | `DTRN` |
//! | 4..8 | kind, such as `STAT` |
//! | 8..12 | version of the payload |
//! | 12..16 | zero |
//! | 16..24 | length of the payload |
//! | 24..32 | XXH3-64 of bytes 0..24 and the payload |

use serde::Serialize;
use serde::de::DeserializeOwned;
use xxhash_rust::xxh3::Xxh3;

const MAGIC: &[u8; 4] = b"DTRN";

/// Length of the frame before the payload.
pub const HEADER_BYTES: usize = 32;

/// Largest payload.
pub const MAX_PAYLOAD_BYTES: usize = 256 << 20;

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameKind {
    /// What the value is called in messages, such as "training state".
    pub name: &'static str,
    /// Four letters that tell kinds apart.
    pub tag: [u8; 4],
    /// Raised whenever the payload's type changes: bincode has no field names.
    pub version: u32,
}

/// A frame that cannot be written or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Shorter than a frame.
    #[error("{name}: {actual} bytes are shorter than a frame of {HEADER_BYTES}")]
    TooShort {
        /// What was expected.
        name: &'static str,
        /// Bytes given.
        actual: usize,
    },
    /// Other bytes than a frame begins with.
    #[error("{name}: does not begin with the mark of a dtrain frame")]
    Magic {
        /// What was expected.
        name: &'static str,
    },
    /// A frame of something else.
    #[error("{name}: the frame holds `{}` instead of `{}`", found.escape_ascii(), expected.escape_ascii())]
    Kind {
        /// What was expected.
        name: &'static str,
        /// The expected tag.
        expected: [u8; 4],
        /// The frame's tag.
        found: [u8; 4],
    },
    /// The payload has another type than this program's.
    #[error("{name}: version {found}, this program reads version {supported}")]
    Version {
        /// What was expected.
        name: &'static str,
        /// Version of the frame.
        found: u32,
        /// Version of this program.
        supported: u32,
    },
    /// The frame announces another length than it has, or more than is allowed.
    #[error("{name}: the payload has {actual} bytes and the frame announces {announced}")]
    Length {
        /// What was expected.
        name: &'static str,
        /// Announced bytes.
        announced: u64,
        /// Bytes after the frame's header.
        actual: u64,
    },
    /// The payload is longer than [`MAX_PAYLOAD_BYTES`].
    #[error("{name}: {actual} bytes are more than the {MAX_PAYLOAD_BYTES} that a frame may hold")]
    TooLong {
        /// What was to be framed.
        name: &'static str,
        /// Its bytes.
        actual: u64,
    },
    /// Other bytes than were written.
    #[error("{name}: checksum {actual:016x} instead of {expected:016x}")]
    Checksum {
        /// What was expected.
        name: &'static str,
        /// In the frame.
        expected: u64,
        /// Of the bytes.
        actual: u64,
    },
    /// The value cannot be encoded, or the payload is not of the type.
    #[error("{name}: {reason}")]
    Payload {
        /// What was expected.
        name: &'static str,
        /// In which way.
        reason: String,
    },
}

impl FrameError {
    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Version { found, supported, .. } if found > supported => {
                Some("use the version of dtrain that wrote it, or a newer one".into())
            }
            Self::Version { .. } => Some(
                "finish the run with the version of dtrain that wrote it, or start a new run from its weights with \
                 `init_from`"
                    .into(),
            ),
            _ => None,
        }
    }
}

/// Frames `value`.
///
/// # Errors
/// When the type cannot be encoded or the payload is longer than [`MAX_PAYLOAD_BYTES`].
pub fn encode<T: Serialize + ?Sized>(kind: &FrameKind, value: &T) -> Result<Vec<u8>, FrameError> {
    let name = kind.name;
    let payload = bincode::serde::encode_to_vec(value, bincode::config::standard().with_fixed_int_encoding())
        .map_err(|error| FrameError::Payload { name, reason: error.to_string() })?;
    if payload.len() > MAX_PAYLOAD_BYTES {
        return Err(FrameError::TooLong { name, actual: payload.len() as u64 });
    }
    Ok(seal(kind, &payload))
}

/// A frame around `payload`, whatever that is.
pub(crate) fn seal(kind: &FrameKind, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEADER_BYTES + payload.len());
    frame.extend_from_slice(MAGIC);
    frame.extend_from_slice(&kind.tag);
    frame.extend_from_slice(&kind.version.to_le_bytes());
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(&(payload.len() as u64).to_le_bytes());
    let checksum = checksum(&frame, payload);
    frame.extend_from_slice(&checksum.to_le_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// Reads a frame that fills `bytes`.
///
/// Memory stays within a small factor of `bytes.len()`, whatever the payload claims, for types whose elements take
/// at least one byte each.
///
/// # Errors
/// Anything but an intact frame of this kind and version.
pub fn decode<T: DeserializeOwned>(kind: &FrameKind, bytes: &[u8]) -> Result<T, FrameError> {
    let name = kind.name;
    let Some((header, payload)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return Err(FrameError::TooShort { name, actual: bytes.len() });
    };
    if field::<4>(header, 0) != *MAGIC {
        return Err(FrameError::Magic { name });
    }
    let found = field::<4>(header, 4);
    if found != kind.tag {
        return Err(FrameError::Kind { name, expected: kind.tag, found });
    }
    let announced = u64::from_le_bytes(field(header, 16));
    let actual = payload.len() as u64;
    if announced != actual {
        return Err(FrameError::Length { name, announced, actual });
    }
    if payload.len() > MAX_PAYLOAD_BYTES {
        return Err(FrameError::TooLong { name, actual });
    }
    // Before the version, so that a flipped bit is not taken for a newer program.
    let expected = u64::from_le_bytes(field(header, 24));
    let actual = checksum(header.get(..24).unwrap_or_default(), payload);
    if expected != actual {
        return Err(FrameError::Checksum { name, expected, actual });
    }
    let version = u32::from_le_bytes(field(header, 8));
    if version != kind.version {
        return Err(FrameError::Version { name, found: version, supported: kind.version });
    }
    decode_payload(payload).map_err(|reason| FrameError::Payload { name, reason })
}

/// bincode takes its limit as a constant: the smallest that admits the payload. With fixed-width integers a value
/// never claims more than it takes, so that the limit bounds what a forged length can allocate.
fn decode_payload<T: DeserializeOwned>(payload: &[u8]) -> Result<T, String> {
    const KIB: usize = 1 << 10;
    match payload.len().div_ceil(KIB) {
        0..=1 => decode_within::<T, KIB>(payload),
        2..=16 => decode_within::<T, { 16 * KIB }>(payload),
        17..=256 => decode_within::<T, { 256 * KIB }>(payload),
        257..=4096 => decode_within::<T, { 4096 * KIB }>(payload),
        4097..=32768 => decode_within::<T, { 32768 * KIB }>(payload),
        _ => decode_within::<T, MAX_PAYLOAD_BYTES>(payload),
    }
}

fn decode_within<T: DeserializeOwned, const LIMIT: usize>(payload: &[u8]) -> Result<T, String> {
    let config = bincode::config::standard().with_fixed_int_encoding().with_limit::<LIMIT>();
    match bincode::serde::decode_from_slice(payload, config) {
        Ok((value, used)) if used == payload.len() => Ok(value),
        Ok((_, used)) => Err(format!("{} bytes follow the value", payload.len() - used)),
        Err(error) => Err(error.to_string()),
    }
}

fn checksum(header: &[u8], payload: &[u8]) -> u64 {
    let mut hasher = Xxh3::new();
    hasher.update(header);
    hasher.update(payload);
    hasher.digest()
}

/// `N` bytes at `at`; zeros beyond the end, which the constant offsets above never reach.
fn field<const N: usize>(header: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    header.get(at..at + N).and_then(|bytes| bytes.try_into().ok()).unwrap_or([0; N])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    const KIND: FrameKind = FrameKind { name: "test value", tag: *b"TEST", version: 3 };

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    enum Phase {
        Warm,
        Main { left: u32 },
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Value {
        step: u64,
        loss: f64,
        names: Vec<String>,
        phase: Phase,
        best: Option<f32>,
        map: BTreeMap<String, Vec<u8>>,
    }

    fn value() -> impl Strategy<Value = Value> {
        let phase = prop_oneof![Just(Phase::Warm), any::<u32>().prop_map(|left| Phase::Main { left })];
        (
            any::<u64>(),
            -1e300..1e300,
            prop::collection::vec(".{0,12}", 0..5),
            phase,
            prop::option::of(-1e30f32..1e30),
            prop::collection::btree_map(".{0,8}", prop::collection::vec(any::<u8>(), 0..40), 0..4),
        )
            .prop_map(|(step, loss, names, phase, best, map)| Value {
                step,
                loss,
                names,
                phase,
                best,
                map,
            })
    }

    proptest! {
        #[test]
        fn values_come_back_and_any_changed_byte_is_noticed(v in value(), at in any::<prop::sample::Index>(), bit in 0..8u32) {
            let frame = encode(&KIND, &v).unwrap();
            prop_assert_eq!(&decode::<Value>(&KIND, &frame).unwrap(), &v);
            let mut bad = frame.clone();
            bad[at.index(frame.len())] ^= 1 << bit;
            prop_assert!(decode::<Value>(&KIND, &bad).is_err());
            prop_assert!(decode::<Value>(&KIND, &frame[..at.index(frame.len())]).is_err());
        }

        /// Also with a checksum that is right: what the decoder itself must withstand.
        #[test]
        fn forged_payloads_are_errors_or_values(payload in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode::<Value>(&KIND, &seal(&KIND, &payload));
        }
    }

    #[test]
    fn a_length_that_lies_allocates_nothing_large() {
        // A string of 2^40 bytes, of which 8 follow.
        let mut payload = (1u64 << 40).to_le_bytes().to_vec();
        payload.extend_from_slice(b"12345678");
        let error = decode_payload::<String>(&payload).unwrap_err();
        assert!(error.contains("Limit"), "{error}");
    }

    #[test]
    fn large_values_pass_each_limit() {
        for len in [0usize, 1000, 1016, 1017, 20_000, 300_000, 5_000_000] {
            let v = vec![7u8; len];
            assert_eq!(decode::<Vec<u8>>(&KIND, &encode(&KIND, &v).unwrap()).unwrap(), v, "{len}");
        }
    }

    #[test]
    fn another_kind_version_or_tail_is_refused_by_name() {
        let frame = encode(&KIND, &5u32).unwrap();
        let other = FrameKind { tag: *b"STAT", ..KIND };
        assert_eq!(
            decode::<u32>(&other, &frame).unwrap_err().to_string(),
            "test value: the frame holds `TEST` instead of `STAT`"
        );
        let newer = FrameKind { version: 4, ..KIND };
        let error = decode::<u32>(&KIND, &encode(&newer, &5u32).unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "test value: version 4, this program reads version 3");
        assert!(error.hint().is_some_and(|hint| hint.contains("newer")));
        assert!(decode::<u16>(&KIND, &frame).is_err(), "two bytes are left over");
        let mut long = frame.clone();
        long.push(0);
        assert!(matches!(
            decode::<u32>(&KIND, &long),
            Err(FrameError::Length { announced: 4, actual: 5, .. })
        ));
    }
}
