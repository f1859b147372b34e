//! Labels from a table with one row for each recording.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use csv::{ReaderBuilder, StringRecord, Trim};
use rayon::prelude::*;

use super::super::error::{DataError, NUM_LISTED};
use super::super::scan::check_root;
use super::{Listing, Row, first_duplicate};

/// Larger files are no tables of labels.
const MAX_TABLE_BYTES: u64 = 1 << 30;

/// Lists the recordings of the table `table` (relative to `root`); every column but `file_column` is a label, and an
/// empty cell is a missing one. Paths in the table are relative to its folder. A `.tsv` is separated by tabs.
///
/// # Errors
/// A missing root or table, a table that cannot be parsed, a missing file column, files that do not exist or stand
/// there twice.
pub(super) fn list(table: &Path, file_column: &str, root: &Path) -> Result<Listing, DataError> {
    check_root(root)?;
    let table_path = root.join(table);
    let num_bytes = match fs_err::metadata(&table_path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(DataError::TableMissing { path: table_path });
        }
        Err(error) => return Err(error.into()),
    };
    if num_bytes > MAX_TABLE_BYTES {
        return Err(DataError::TableTooLarge { path: table_path, num_bytes, limit_bytes: MAX_TABLE_BYTES });
    }
    let bytes = fs_err::read(&table_path)?;
    let is_tsv = table_path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("tsv"));
    let mut reader = ReaderBuilder::new()
        .delimiter(if is_tsv { b'\t' } else { b',' })
        .trim(Trim::All)
        .from_reader(bytes.as_slice());
    let parse_error =
        |error: csv::Error| DataError::Table { path: table_path.clone(), reason: error.to_string() };

    let header = reader.headers().map_err(parse_error)?.clone();
    let columns: Vec<String> = header.iter().map(str::to_owned).collect();
    if let Some(label) = first_duplicate(&columns) {
        return Err(DataError::DuplicateLabel {
            label: label.clone(),
            place: format!("`{}`", table_path.display()),
        });
    }
    let Some(file_at) = columns.iter().position(|column| column == file_column) else {
        return Err(DataError::NoFileColumn { path: table_path, column: file_column.to_owned(), columns });
    };
    let folder = table_path.parent().unwrap_or(root).to_path_buf();
    let mut rows = Vec::new();
    let mut lines = Vec::new();
    for record in reader.records() {
        let record = record.map_err(parse_error)?;
        lines.push(record.position().map_or(0, |position| position.line()));
        rows.push(row(&record, file_at, &folder, root));
    }
    check_files(&table_path, &rows, &lines)?;
    rows.sort_by(|a, b| a.relative.cmp(&b.relative));
    let labels =
        columns.into_iter().enumerate().filter(|(i, _)| *i != file_at).map(|(_, column)| column).collect();
    Ok(Listing { labels, rows, empty_classes: Vec::new(), unprintable: Vec::new() })
}

fn row(record: &StringRecord, file_at: usize, folder: &Path, root: &Path) -> Row {
    let path = without_dots(&folder.join(record.get(file_at).unwrap_or_default()));
    let root = without_dots(root);
    let relative = path.strip_prefix(&root).unwrap_or(&path).to_string_lossy().into_owned();
    let values = record
        .iter()
        .enumerate()
        .filter(|(i, _)| *i != file_at)
        .map(|(_, value)| Some(value.to_owned()).filter(|value| !value.is_empty()))
        .collect();
    Row { path, relative, values }
}

/// Resolves `.` and `..` by the letter, so that a recording has one name.
fn without_dots(path: &Path) -> PathBuf {
    let mut resolved = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir
                if matches!(resolved.components().next_back(), Some(Component::Normal(_))) =>
            {
                resolved.pop();
            }
            other => resolved.push(other),
        }
    }
    resolved
}

fn check_files(table: &Path, rows: &[Row], lines: &[u64]) -> Result<(), DataError> {
    if rows.is_empty() {
        return Err(DataError::Table { path: table.to_path_buf(), reason: "it has no rows".into() });
    }
    let mut line_of: HashMap<&str, u64> = HashMap::with_capacity(rows.len());
    for (row, &line) in rows.iter().zip(lines) {
        if let Some(first_line) = line_of.insert(&row.relative, line) {
            return Err(DataError::ListedTwice {
                path: table.to_path_buf(),
                file: row.relative.clone(),
                first_line,
                second_line: line,
            });
        }
    }
    let missing: Vec<String> = rows
        .par_iter()
        .zip(lines)
        .with_min_len(16)
        .filter(|(row, _)| !row.path.is_file())
        .map(|(row, line)| format!("{} (line {line})", row.relative))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(DataError::ListedFilesMissing {
        path: table.to_path_buf(),
        num_missing: missing.len(),
        num_rows: rows.len(),
        first: missing.into_iter().take(NUM_LISTED).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_with(table: &str, files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs_err::create_dir_all(dir.path().join("meta")).unwrap();
        fs_err::write(dir.path().join("meta/labels.csv"), table).unwrap();
        for file in files {
            fs_err::write(dir.path().join(file), b"").unwrap();
        }
        dir
    }

    fn list_in(dir: &tempfile::TempDir) -> Result<Listing, DataError> {
        list(Path::new("meta/labels.csv"), "file", dir.path())
    }

    #[test]
    fn columns_are_labels_and_empty_cells_are_missing_ones() {
        let table = "\u{feff}species, file ,take\nrook,../b.wav,1\n\"a, b\",./a.wav,\n";
        let dir = folder_with(table, &["b.wav", "meta/a.wav"]);
        let listing = list_in(&dir).unwrap();
        assert_eq!(listing.labels, ["species", "take"]);
        let rows: Vec<_> =
            listing.rows.iter().map(|row| (row.relative.as_str(), row.values.clone())).collect();
        let some = |s: &str| Some(s.to_owned());
        assert_eq!(
            rows,
            [("b.wav", vec![some("rook"), some("1")]), ("meta/a.wav", vec![some("a, b"), None])]
        );
        assert!(listing.rows.iter().all(|row| row.path.is_file()));
    }

    #[test]
    fn faults_name_the_line_or_the_columns() {
        let text = |table: &str, files: &[&str]| list_in(&folder_with(table, files)).unwrap_err().to_string();
        assert!(
            text("path,class\nb.wav,1\n", &[]).contains("has no column `file`; it has `path` and `class`")
        );
        assert!(text("file,class\n../b.wav,1\n../c.wav,1\n", &["b.wav"]).contains("1 of 2 files"));
        assert!(text("file,class\n../b.wav,1\n../c.wav,1\n", &["b.wav"]).contains("`c.wav (line 3)`"));
        assert!(text("file,class\n../b.wav,1\n.././b.wav,2\n", &["b.wav"]).contains("in lines 2 and 3"));
        assert!(text("file,class\n../b.wav\n", &["b.wav"]).contains("line: 2"));
        assert!(text("file,class\n", &[]).contains("no rows"));
        assert!(text("file,class,class\n", &[]).contains("label `class` is defined twice"));
        let semicolons = list_in(&folder_with("file;class\nb.wav;1\n", &[])).unwrap_err();
        assert!(semicolons.hint().unwrap().contains("commas"));
        let missing = list(Path::new("no.csv"), "file", &std::env::temp_dir()).unwrap_err();
        assert!(matches!(missing, DataError::TableMissing { .. }));
    }

    #[test]
    fn dots_are_resolved_by_the_letter() {
        assert_eq!(without_dots(Path::new("/a/./b/../c")), Path::new("/a/c"));
        assert_eq!(without_dots(Path::new("../../a/..")), Path::new("../.."));
        assert_eq!(without_dots(Path::new("/..")), Path::new("/.."));
    }
}
