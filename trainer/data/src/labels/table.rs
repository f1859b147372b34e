//! Tables as programs write them: the header line tells what separates the columns.

use std::path::{Path, PathBuf};

use csv::{ReaderBuilder, StringRecord, Trim};

use crate::error::DataError;
use crate::sniff::{FileKind, NUM_FIRST_BYTES};

/// Larger files are no tables of labels.
const MAX_TABLE_BYTES: u64 = 1 << 30;
/// What separates columns; the first one where several would do.
const SEPARATORS: [u8; 4] = [b',', b'\t', b';', b'|'];

/// A table with a header line.
#[derive(Debug)]
pub(super) struct Table {
    pub path: PathBuf,
    /// Names of the columns.
    pub columns: Vec<String>,
    /// Each with its line.
    pub rows: Vec<(u64, StringRecord)>,
}

impl Table {
    /// Reads a table in UTF-8. What separates its columns is what makes `file_column` one of them, or else gives the most
    /// columns.
    ///
    /// # Errors
    /// No such file, a file of another kind, rows of another length than the header.
    pub fn read(path: &Path, file_column: &str) -> Result<Self, DataError> {
        let num_bytes = match fs_err::metadata(path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(DataError::TableMissing { path: path.to_path_buf(), nearby: Vec::new() });
            }
            Err(error) => return Err(error.into()),
        };
        if num_bytes > MAX_TABLE_BYTES {
            let limit_bytes = MAX_TABLE_BYTES;
            return Err(DataError::TableTooLarge { path: path.to_path_buf(), num_bytes, limit_bytes });
        }
        let bytes = fs_err::read(path)?;
        let failed = |reason: String| DataError::Table { path: path.to_path_buf(), reason };
        if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
            return Err(failed("it is in UTF-16".into()));
        }
        let first = bytes.get(..bytes.len().min(NUM_FIRST_BYTES)).unwrap_or_default();
        if let Some(kind) =
            FileKind::of(first).filter(|kind| ![FileKind::Text, FileKind::Empty].contains(kind))
        {
            return Err(DataError::NoTable { path: path.to_path_buf(), kind });
        }
        let reader = |separator: u8, bytes| {
            ReaderBuilder::new().delimiter(separator).trim(Trim::All).from_reader(bytes)
        };
        let first_line = bytes.split_inclusive(|&byte| byte == b'\n').next().unwrap_or_default();
        let columns_by = |separator: u8| -> Vec<String> {
            let header = reader(separator, first_line).headers().cloned();
            header.map_or(Vec::new(), |header| header.iter().map(str::to_owned).collect())
        };
        let rank = |separator: &u8| {
            let columns = columns_by(*separator);
            (columns.iter().any(|column| column == file_column), columns.len())
        };
        // The last one of equals is taken.
        let separator = SEPARATORS.into_iter().rev().max_by_key(rank).unwrap_or(b',');
        let mut reader = reader(separator, bytes.as_slice());
        let header = reader.headers().map_err(|error| failed(error.to_string()))?;
        let columns = header.iter().map(str::to_owned).collect();
        let mut rows = Vec::new();
        for record in reader.records() {
            let record = record.map_err(|error| failed(error.to_string()))?;
            rows.push((record.position().map_or(0, |position| position.line()), record));
        }
        Ok(Self { path: path.to_path_buf(), columns, rows })
    }

    /// A cell, or nothing where it is empty.
    pub fn cell(record: &StringRecord, column: usize) -> Option<&str> {
        record.get(column).filter(|cell| !cell.is_empty())
    }

    /// The column that most probably holds the files: most of its first cells end like recordings.
    pub fn column_of_files(&self) -> Option<usize> {
        const NUM_LOOKED_AT: usize = 64;
        let is_file = |cell: &str| {
            let ending = Path::new(cell).extension().and_then(|ending| ending.to_str()).unwrap_or_default();
            ["wav", "wave", "flac", "mp3", "ogg", "oga", "m4a", "aif", "aiff", "caf"]
                .iter()
                .any(|known| ending.eq_ignore_ascii_case(known))
        };
        let first = || self.rows.iter().take(NUM_LOOKED_AT);
        let num_files = |column: usize| {
            first().filter(|(_, record)| Self::cell(record, column).is_some_and(is_file)).count()
        };
        let best = (0..self.columns.len()).rev().max_by_key(|&column| num_files(column))?;
        (2 * num_files(best) > first().count()).then_some(best)
    }
}

/// pandas calls a column without a name so when it reads it back.
pub(super) fn is_nameless(column: &str) -> bool {
    column.is_empty() || column.strip_prefix("Unnamed: ").is_some_and(|n| n.parse::<usize>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Table, DataError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs_err::write(file.path(), bytes).unwrap();
        Table::read(file.path(), "file")
    }

    #[test]
    fn the_header_line_tells_what_separates_the_columns() {
        for (text, expected) in [
            ("file,class\na.wav,b;c;d\n", vec!["file", "class"]),
            ("file\tclass, or none\r\na.wav\tx\r\n", vec!["file", "class, or none"]),
            ("\u{feff}file;class\na.wav;x\n", vec!["file", "class"]),
            ("file|class\na.wav|x\n", vec!["file", "class"]),
            ("file\n\"ab,c.wav\"\n", vec!["file"]),
            ("path;of;all\nx;y;z\n", vec!["path", "of", "all"]),
        ] {
            assert_eq!(read(text.as_bytes()).unwrap().columns, expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_no_table_is_named() {
        let text = |bytes: &[u8]| read(bytes).unwrap_err().to_string();
        assert!(text(b"PK\x03\x04[Content_Types].xml").contains("is a zip archive"));
        assert!(text(b"version https://git-lfs.github.com/spec/v1\n").contains("is a Git LFS pointer"));
        assert!(text(b"<!DOCTYPE html>").contains("is a web page"));
        assert!(text(b"\xff\xfef\0i\0").contains("it is in UTF-16"));
        assert!(text(b"file,class\na,b,c\n").contains("line: 2"));
    }

    #[test]
    fn the_column_of_files_is_found_by_its_cells() {
        let table = read(b"id,slice_file_name,class\n1,a.wav,dog\n2,b.WAV,cat\n").unwrap();
        assert_eq!(table.column_of_files(), Some(1));
        assert_eq!(read(b"id,class\n1,dog\n").unwrap().column_of_files(), None);
    }
}
