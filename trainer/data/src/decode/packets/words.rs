//! What the library says is wrong with a file.

use symphonia::core::errors::Error;

use super::super::error::DecodeProblem;

/// An error of the library as one of the file.
pub(super) fn told(error: &Error) -> DecodeProblem {
    DecodeProblem::Undecodable(match error {
        Error::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            "the file ends within its header".into()
        }
        Error::IoError(error) => error.to_string(),
        Error::DecodeError(what) | Error::Unsupported(what) | Error::LimitError(what) => (*what).to_owned(),
        Error::SeekError(_) => "a place in it cannot be found".into(),
        Error::ResetRequired => "a further stream begins before the first one has samples".into(),
        _ => "an error that the decoder does not explain".into(),
    })
}
