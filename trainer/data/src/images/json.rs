//! Reads small JSON files.

use std::path::Path;

use serde::de::DeserializeOwned;

use super::bytes::Bytes;
use super::error::{FormatError, FormatProblem};

/// Larger files are no metadata.
const MAX_JSON_BYTES: u64 = 16 << 20;

/// # Errors
/// The file cannot be read, is too large, or is not what it should be.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, FormatError> {
    let bytes = Bytes::map_plain(path)?;
    let parsed = parse_json(&bytes);
    bytes.check_intact().and(parsed).map_err(|problem| problem.of(path))
}

/// As [`read_json`], of bytes.
pub(super) fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, FormatProblem> {
    if bytes.len() as u64 > MAX_JSON_BYTES {
        return Err(FormatProblem::Json(format!("{} bytes are more than {MAX_JSON_BYTES}", bytes.len())));
    }
    // Editors of some systems put a mark in front.
    serde_json::from_slice(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes))
        .map_err(|error| FormatProblem::Json(error.to_string()))
}
