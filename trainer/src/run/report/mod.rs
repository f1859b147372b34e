//! What a run says of itself: the banner before the first step, the files of metrics, and what rank 0 tells the person in
//! front of it.

mod banner;
mod describe;
mod first_batch;
mod groups;
mod observer;
mod phases;
mod tracker;

pub use banner::{Banner, Line};
pub use observer::{Evaluated, Observer, Progress, Silent};
pub use tracker::Tracker;

pub(crate) use describe::{describe, describe_saving};
pub(crate) use first_batch::{captions, pictures_of};
