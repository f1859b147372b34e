//! Losses as pure functions of tensors that have already been gathered: no ranks, no configuration, no logging.

pub mod contrastive;
pub mod cross_entropy;
pub mod heads;
