//! Inflates a `.gz` once, up to the size that the inflated header states.

use std::io::Read;

use flate2::bufread::MultiGzDecoder;

use super::bytes::Bytes;
use super::error::{FormatError, FormatProblem};

/// Room that is made at once for each compressed byte; what inflates to more grows as it comes.
const ROOM_PER_BYTE: u64 = 8;

/// The inflated bytes: a header of `header_len`, of which `total_len` computes the whole length. The checksum is
/// verified.
///
/// # Errors
/// A damaged stream, another length than the header states.
pub(super) fn inflate(
    compressed: &Bytes,
    header_len: usize,
    total_len: impl FnOnce(&Bytes) -> Result<u64, FormatProblem>,
) -> Result<Bytes, FormatError> {
    let path = compressed.path();
    let mut decoder = MultiGzDecoder::new(&**compressed);
    let mut inflated = Vec::new();
    let mut read_up_to = |end: u64, inflated: &mut Vec<u8>| {
        let missing = end.saturating_sub(inflated.len() as u64);
        let read = decoder.by_ref().take(missing).read_to_end(inflated);
        compressed.check_intact().map_err(|problem| problem.of(path))?;
        read.map_err(|error| {
            FormatProblem::unexpected(
                inflated.len() as u64,
                "an intact gzip stream",
                format!("a damaged one ({error})"),
            )
            .of(path)
        })
    };
    read_up_to(header_len as u64, &mut inflated)?;
    let header = Bytes::owned(path, inflated.clone());
    let total = total_len(&header).map_err(|problem| problem.of(path))?;
    inflated.reserve_exact(total.min((compressed.len() as u64).saturating_mul(ROOM_PER_BYTE)) as usize);
    // One byte more reaches the checksum, and shows what follows.
    read_up_to(total.saturating_add(1), &mut inflated)?;
    if inflated.len() as u64 > total {
        return Err(FormatProblem::Trailing { offset: total, extra_bytes: 1 }.of(path));
    }
    Ok(Bytes::owned(path, inflated))
}
