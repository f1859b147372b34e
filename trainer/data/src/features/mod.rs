//! Log-mel spectrograms: what the models see of a recording.

mod log_mel;
mod mel;
mod normalize;
#[cfg(test)]
mod parity;

pub use log_mel::{FeatureError, FeatureWorkspace, LogMel};
pub use mel::{FilterBank, MelFilter};
pub use normalize::{STD_EPSILON, mean, normalize};
