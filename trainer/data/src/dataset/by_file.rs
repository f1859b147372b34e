//! What the rows and samples of one file share.

use std::collections::BTreeMap;
use std::path::PathBuf;

use dtrain_configs::schema::Channel;

use super::cut::Cut;
use super::file_warnings::Readable;
use crate::decode::DecodeError;
use crate::labels::{LabelColumn, Row};
use crate::scan::{Header, read_headers};

/// The header of each row's file, which is read once: rows of one file follow each other.
pub(super) fn headers(rows: &[Row], channel: Channel) -> Vec<Result<Header, DecodeError>> {
    let files: Vec<&[Row]> = rows.chunk_by(|a, b| a.path == b.path).collect();
    let paths: Vec<PathBuf> =
        files.iter().filter_map(|rows| rows.first()).map(|row| row.path.clone()).collect();
    let of_file = files.iter().zip(read_headers(&paths, channel));
    of_file.flat_map(|(rows, header)| vec![header; rows.len()]).collect()
}

pub(super) fn are_of_one_file(a: &(Row, Header), b: &(Row, Header)) -> bool {
    a.0.relative == b.0.relative
}

/// The number of each sample's file, in the order in which they come.
pub(super) fn number_files(rows: &Readable, cuts: &[Cut]) -> Vec<u32> {
    let mut file_of_row = Vec::with_capacity(rows.len());
    for (file, rows) in (0u32..).zip(rows.chunk_by(are_of_one_file)) {
        file_of_row.extend(vec![file; rows.len()]);
    }
    cuts.iter().filter_map(|cut| file_of_row.get(cut.row).copied()).collect()
}

/// Files without a recording follow after the named recordings, each with its own number.
pub(super) fn number_recordings(column: Option<&LabelColumn>, files: &[u32]) -> Vec<u32> {
    let Some(column) = column else { return files.to_vec() };
    let mut alone = BTreeMap::new();
    let number = |(recording, file): (&Option<u32>, &u32)| {
        let next = (column.classes.len() + alone.len()) as u32;
        recording.unwrap_or_else(|| *alone.entry(*file).or_insert(next))
    };
    column.of_sample.iter().zip(files).map(number).collect()
}
