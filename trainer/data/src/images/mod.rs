//! Images with labels: readers and writers of the formats in which they come.
//!
//! | format | files | module |
//! |---|---|---|
//! | IDX | `train-images-idx3-ubyte`, plain or `.gz` | [`idx`] |
//! | CIFAR-10, CIFAR-100 | `data_batch_1.bin`, `train.bin` | [`cifar`] |
//! | VIMH | `vimh_dataset_info.json`, `train_batch`, `train` | [`vimh`] |
//! | CIFAR-100-MH | `cifar100mh_dataset_info.json`, `train_batch` | [`cifar100mh`] |
//!
//! All of them become an [`ImageSet`]: a shape, heads, and samples that are read by index from mapped files. Opening
//! costs time for headers, not for samples; a bad sample is named when it is read. Whatever a file holds, it ends in an
//! error that names the place, and never takes more memory than a small multiple of its size.

mod bytes;
pub mod cifar;
pub mod cifar100mh;
pub mod convert;
pub mod error;
pub mod folder;
mod format;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod gzip;
pub mod head;
pub mod idx;
pub mod inspect;
mod json;
mod look_around;
mod mapped;
pub mod numbered;
mod pickle;
#[cfg(test)]
mod real_data_tests;
pub mod set;
pub mod shape;
pub mod split;
mod strictness;
pub mod vimh;

pub use error::{FormatError, FormatProblem, Instead};
pub use folder::ImageFolder;
pub use format::ImageFormat;
pub use head::{Head, Reading, ValueRange};
pub use numbered::{ImageBuffers, Images, LabelRule};
pub use set::{ImageSet, StatedBy};
pub use shape::{ImageShape, StatedShape};
pub use split::Split;
