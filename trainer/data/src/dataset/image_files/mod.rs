//! A data set of image files: listed with their labels as recordings are, decoded when a view is made.

mod headers;
mod names;
mod open;
mod source;
#[cfg(test)]
mod tests;
mod unlabelled;

pub(super) use open::open;
pub(super) use unlabelled::open_unlabelled;
