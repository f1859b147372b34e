//! The header of a safetensors file, read from a source that nobody vouches for: bounded, and consistent with the
//! file's length before any tensor is touched.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};

use super::tensor_spec::{Dtype, MAX_HEADER_BYTES, METADATA_KEY, TensorFileError, TensorSpec};

/// All tensors of a file and where each begins, counted from the beginning of the file.
#[derive(Debug)]
pub(super) struct TensorIndex {
    entries: Vec<(TensorSpec, u64)>,
    by_name: BTreeMap<String, usize>,
    metadata: BTreeMap<String, String>,
}

impl TensorIndex {
    /// Reads the header of a file of `file_bytes` bytes. Allocates no more than a small multiple of the header, which
    /// is no longer than the file.
    pub(super) fn read(source: &mut dyn Read, file_bytes: u64) -> Result<Self, TensorFileError> {
        let invalid = |reason: String| TensorFileError::Header { reason };
        let Some(after_length) = file_bytes.checked_sub(8) else {
            return Err(invalid(format!("the file has only {file_bytes} bytes")));
        };
        let mut length = [0; 8];
        source.read_exact(&mut length)?;
        let length = u64::from_le_bytes(length);
        if length > after_length.min(MAX_HEADER_BYTES) {
            return Err(invalid(format!("{length} bytes are announced in a file of {file_bytes}")));
        }
        // Grows with what is there: a file may be shorter than it was when its length was asked for.
        let mut header = Vec::new();
        if (&mut *source).take(length).read_to_end(&mut header)? as u64 != length {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
        let raw: RawHeader =
            serde_json::from_slice(&header).map_err(|error| invalid(format!("not valid: {error}")))?;
        Self::check(raw, 8 + length, after_length - length)
    }

    /// Every tensor has the bytes of its shape, and together they cover the data without gap or overlap.
    fn check(raw: RawHeader, data_begin: u64, data_bytes: u64) -> Result<Self, TensorFileError> {
        let mut tensors = raw.tensors;
        tensors.sort_by_key(|(_, tensor)| tensor.data_offsets);
        let mut entries = Vec::with_capacity(tensors.len());
        let mut by_name = BTreeMap::new();
        let mut expected_begin = 0;
        for (name, tensor) in tensors {
            let fail = |reason: String| TensorFileError::Tensor { name: name.clone(), reason };
            let Some(dtype) = Dtype::from_name(&tensor.dtype) else {
                return Err(fail(format!("type `{}` is not supported", tensor.dtype.escape_debug())));
            };
            let spec = TensorSpec { name: name.clone(), dtype, shape: tensor.shape };
            let (begin, end) = tensor.data_offsets;
            if begin != expected_begin {
                return Err(fail(format!("begins at {begin}, its predecessor ends at {expected_begin}")));
            }
            if spec.num_bytes().is_none() || end.checked_sub(begin) != spec.num_bytes() {
                let shape = &spec.shape;
                return Err(fail(format!(
                    "{} {shape:?} does not have the bytes {begin}..{end}",
                    dtype.name()
                )));
            }
            if end > data_bytes {
                return Err(fail(format!("ends at {end}, the data at {data_bytes}")));
            }
            expected_begin = end;
            if by_name.insert(name.clone(), entries.len()).is_some() {
                return Err(fail("appears twice".into()));
            }
            entries.push((spec, data_begin + begin));
        }
        if expected_begin != data_bytes {
            let rest = data_bytes - expected_begin;
            return Err(TensorFileError::Header { reason: format!("{rest} bytes belong to no tensor") });
        }
        Ok(Self { entries, by_name, metadata: raw.metadata })
    }

    pub(super) fn find(&self, name: &str) -> Result<(&TensorSpec, u64), TensorFileError> {
        self.by_name
            .get(name)
            .and_then(|index| self.entries.get(*index))
            .map(|(spec, begin)| (spec, *begin))
            .ok_or_else(|| TensorFileError::NotFound { name: name.into() })
    }

    pub(super) fn entries(&self) -> &[(TensorSpec, u64)] {
        &self.entries
    }

    pub(super) fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }
}

/// The header as written, every entry once.
struct RawHeader {
    tensors: Vec<(String, RawTensor)>,
    metadata: BTreeMap<String, String>,
}

#[derive(serde::Deserialize)]
struct RawTensor {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = RawHeader;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map from tensor names to type, shape and offsets")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawHeader, A::Error> {
        let mut tensors = Vec::new();
        let mut metadata: Option<BTreeMap<String, String>> = None;
        while let Some(name) = map.next_key::<String>()? {
            if name != METADATA_KEY {
                tensors.push((name, map.next_value()?));
            } else if metadata.replace(map.next_value()?).is_some() {
                return Err(A::Error::duplicate_field(METADATA_KEY));
            }
        }
        Ok(RawHeader { tensors, metadata: metadata.unwrap_or_default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(header: &str, data_bytes: u64) -> Result<TensorIndex, String> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        TensorIndex::read(&mut bytes.as_slice(), bytes.len() as u64 + data_bytes)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn every_inconsistency_has_its_message() {
        let tensor = |dtype: &str, shape: &str, offsets: &str| {
            format!(r#""a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}"#)
        };
        let good = tensor("F32", "[2]", "[0,8]");
        assert!(read(&format!("{{{good}}}"), 8).is_ok());
        let cases = [
            (format!("{{{good}}}"), 7, "ends at 8, the data at 7"),
            (format!("{{{good}}}"), 9, "1 bytes belong to no tensor"),
            (format!("{{{good},{good}}}"), 16, "begins at 0, its predecessor ends at 8"),
            (format!("{{{}}}", tensor("F32", "[2]", "[0,4]")), 4, "does not have the bytes 0..4"),
            (format!("{{{}}}", tensor("F32", "[2]", "[8,0]")), 8, "begins at 8"),
            (format!("{{{}}}", tensor("F4", "[2]", "[0,8]")), 8, "type `F4` is not supported"),
            (
                format!("{{{}}}", tensor("F32", "[4294967296,4294967296]", "[0,8]")),
                8,
                "does not have the bytes 0..8",
            ),
            (format!("{{{}}}", tensor("F32", "[-1]", "[0,8]")), 8, "not valid"),
            (
                format!("{{{}}}", tensor("U8", "[0]", "[0,0]").repeat(2).replace("}\"", "},\"")),
                0,
                "appears twice",
            ),
            ("{}x".into(), 0, "not valid"),
            ("[]".into(), 0, "not valid"),
            (r#"{"__metadata__":{"a":1}}"#.into(), 0, "not valid"),
        ];
        for (header, data_bytes, message) in cases {
            let error = read(&header, data_bytes).unwrap_err();
            assert!(error.contains(message), "{header}: {error}");
        }
    }

    #[test]
    fn a_header_longer_than_the_file_is_not_allocated() {
        let bytes = u64::MAX.to_le_bytes();
        let error = TensorIndex::read(&mut bytes.as_slice(), 8).unwrap_err().to_string();
        assert!(error.contains("are announced in a file of 8"), "{error}");
        assert!(TensorIndex::read(&mut [0u8; 3].as_slice(), 3).is_err());
    }
}
