//! From files to batches: recordings or images with labels ([`dataset`]), which samples make a batch ([`sampler`]), what
//! is fed of each ([`views`]), and who prepares it ahead of time ([`loader`]). Image sets have readers of their own
//! ([`images`]). Every random choice is a pure function of (seed, epoch, sample, view), so the order of batches needs no
//! state.

pub mod augment;
pub mod cache;
pub mod dataset;
pub mod decode;
pub mod error;
pub mod features;
pub mod images;
pub mod labels;
pub mod loader;
mod prepare;
pub mod resample;
pub mod rng;
pub mod sampler;
pub mod scan;
pub mod share;
mod simd;
pub mod split;
pub mod synth;
pub mod views;

pub use dataset::{Dataset, LabelAccess, LabelColumn, Sample, Source};
pub use error::DataError;
pub use loader::{Batch, BatchRequest, FailedSample, Loader, LoaderOptions};
pub use sampler::{Draw, Pool, Sampler, SamplerKind};
pub use share::share;
pub use views::{ImageViews, SoundViews, ViewError, ViewMaker, ViewRequest, Workspace};
