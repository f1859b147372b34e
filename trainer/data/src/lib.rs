//! From files to batches: recordings or images with labels ([`dataset`]), which samples make a batch ([`sampler`]), what
//! is made of each ([`views`]), and who makes it ahead of time ([`loader`]). Image sets have readers of their own
//! ([`images`]). Every random choice is a pure function of (seed, epoch, sample, view), so the order of batches needs no
//! state.
//!
//! No part of it knows libtorch: a batch is plain memory, in a place that whoever trains on it chooses ([`memory`]).

pub mod augment;
pub mod batch;
pub mod cache;
pub mod columns;
pub mod dataset;
pub mod decode;
pub mod dtype;
pub mod error;
pub mod features;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod image_files;
pub mod images;
pub mod labels;
pub mod loader;
mod measures;
pub mod memory;
pub mod overlap;
mod part_list;
mod passed_over;
mod pickle;
pub mod progress;
pub mod resample;
pub mod rng;
pub mod sampler;
pub mod scan;
pub mod share;
mod simd;
pub mod sniff;
pub mod split;
pub mod synth;
mod texts;
pub mod torch_file;
pub mod views;

pub use batch::{Batch, BatchRequest, FailedSample, GroupRequest, ViewBlock};
pub use columns::{ColumnError, Columns, Values};
pub use dataset::{Begin, Dataset, LabelAccess, LabelColumn, OwnPart, Place, Recordings, Sample, Source};
pub use error::DataError;
pub use loader::{Loader, LoaderError, LoaderOptions, measure};
pub use memory::{HostMemory, NoMemory, PlainMemory};
pub use sampler::{Draw, Pool, PoolShare, Sampler, SamplerKind, draw_by_class, evaluation_batches};
pub use share::{share, spread};
pub use views::{
    Excerpt, ImageRecipe, ImageSpec, ImageViews, SoundSpec, SoundViews, ViewError, ViewRequest, ViewSettings,
    ViewSlot, Views, Workspace,
};
