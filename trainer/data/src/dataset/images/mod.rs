//! A data set of images: the parts of a folder, numbered through, with the labels that the data bring and those that
//! follow from them.

mod correct;
mod corrected;
mod labels;
mod open;
mod source;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod view_tests;

pub(super) use open::{open, open_unlabelled};
