//! Pickles, read without running anything. A pickle is a program for a stack machine; this one knows the instructions that
//! dictionaries, lists, numbers, texts, arrays of numpy and tensors of PyTorch are made of, and can call nothing.
//!
//! - What a name and a call mean is decided by the [`Dialect`]: data sets know three names of numpy and refuse the rest;
//!   files of tensors know those that rebuild tensors, and everything else becomes an opaque object that is never made.
//! - The contents of arrays, texts, and lists of small numbers such as rows of labels stay in the file; values hold their
//!   places.
//! - What is built is bounded by the size of the file ([`limits`]), and nothing is recursive.

mod code;
mod heap;
mod limits;
mod machine;
mod names;
mod numpy;
mod problem;
mod rows;
mod tensors;
mod write;

pub(crate) use code::Code;
pub(crate) use heap::{Array, Heap, StorageEntry, TensorEntry, Value};
pub(crate) use machine::run;
pub(crate) use names::{Dialect, shown};
pub(crate) use problem::PickleProblem;
pub(crate) use rows::extend as extend_row;
pub(crate) use write::PickleWriter;
