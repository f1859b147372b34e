//! Labels from a table with one row for each recording, or for each part of it.

use std::collections::{BTreeMap, HashMap};
use std::path::{Component, Path, PathBuf};

use csv::StringRecord;
use dtrain_configs::schema::LabelsConfig;
use rayon::prelude::*;

use super::look_around::{tables_below, where_files_are};
use super::spans::SpanColumns;
use super::table::{Table, is_nameless};
use super::{Listing, Row, Span, first_duplicate};
use crate::error::DataError;
use crate::scan::{Family, check_root};
use crate::texts::{NUM_LISTED, listed};

/// Lists the recordings of the table `csv` (relative to `root`); every column with a name but `csv_file_column`, `begin` and `end`
/// is a label, and an empty cell is a missing one. Paths in the table are below `csv_folder`; without that setting, below the
/// table's folder, or below `root` where that folder has none of them.
///
/// # Errors
/// A missing root or table, a table that cannot be parsed, a missing file column, files that do not exist or stand
/// there twice.
pub(super) fn list(config: &LabelsConfig, root: &Path, family: Family) -> Result<Listing, DataError> {
    check_root(root)?;
    let file_column = config.csv_file_column.as_str();
    let mut table = Table::read(&root.join(&config.csv), file_column).map_err(|error| match error {
        DataError::TableMissing { path, .. } => DataError::TableMissing { path, nearby: tables_below(root) },
        other => other,
    })?;
    let Some(file_at) = table.columns.iter().position(|column| column == file_column) else {
        let guess = table.column_of_files().and_then(|at| table.columns.get(at)).cloned();
        let (path, columns) = (table.path, table.columns);
        return Err(DataError::NoFileColumn { path, column: file_column.to_owned(), columns, guess });
    };
    keep_rows(&mut table, &config.rows)?;
    let spans = SpanColumns::find(config, &table)?;
    let is_label = |at: &usize| !spans.has(*at) && is_label(&table, *at, file_at);
    let labels: Vec<usize> = (0..table.columns.len()).filter(is_label).collect();
    let names: Vec<String> = labels.iter().filter_map(|&at| table.columns.get(at).cloned()).collect();
    if let Some(label) = first_duplicate(&names) {
        let place = format!("`{}`", table.path.display());
        return Err(DataError::DuplicateLabel { label: label.clone(), place });
    }
    let mut rows = rows(&table, file_at, &labels, config, root)?;
    for (row, (line, record)) in rows.iter_mut().zip(&table.rows) {
        row.span = spans.span(&table, (*line, record), &row.relative)?;
    }
    check_listed_once(&table, &rows)?;
    check_files(&table, (file_at, family), &rows, root)?;
    rows.sort_by(|a, b| a.relative.cmp(&b.relative).then_with(|| part(a).cmp(&part(b))));
    let notes = nameless_note(&table, file_at).into_iter().collect();
    Ok(Listing { labels: names, rows, notes, ..Listing::default() })
}

/// Leaves out the rows that `conditions` (`COLUMN=VALUE`) do not name: of several values of one column any will do, and every
/// column counts.
fn keep_rows(table: &mut Table, conditions: &[String]) -> Result<(), DataError> {
    let mut wanted: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
    for condition in conditions {
        let (name, value) = condition.split_once('=').unwrap_or((condition, ""));
        let Some(column) = table.columns.iter().position(|column| column == name) else {
            return Err(DataError::UnknownLabel {
                key: "data.labels.rows".into(),
                label: name.to_owned(),
                labels: table.columns.clone(),
            });
        };
        wanted.entry(column).or_default().push(value);
    }
    let num_rows = table.rows.len();
    let is_wanted = |record: &StringRecord| {
        wanted.iter().all(|(column, values)| values.contains(&record.get(*column).unwrap_or_default()))
    };
    table.rows.retain(|(_, record)| is_wanted(record));
    if table.rows.is_empty() && num_rows > 0 {
        let reason = format!(
            "none of its {num_rows} rows has what `data.labels.rows=[{}]` asks for",
            conditions.join(", ")
        );
        return Err(DataError::Table { path: table.path.clone(), reason });
    }
    Ok(())
}

fn is_label(table: &Table, at: usize, file_at: usize) -> bool {
    at != file_at && table.columns.get(at).is_some_and(|column| !is_nameless(column))
}

/// Columns that nobody named, as pandas' `to_csv` writes its index, are no labels.
fn nameless_note(table: &Table, file_at: usize) -> Option<String> {
    let nameless = (0..table.columns.len()).filter(|&at| at != file_at && !is_label(table, at, file_at));
    let numbers: Vec<String> = nameless.map(|at| (at + 1).to_string()).collect();
    let first = numbers.iter().take(NUM_LISTED);
    (!numbers.is_empty()).then(|| {
        format!(
            "columns of `{}` without a name are left out ({}): number {}; give them a name to use them as labels",
            table.path.display(),
            numbers.len(),
            listed(first, numbers.len())
        )
    })
}

/// Rows with paths below the first folder that has any of them; below the first candidate where none has.
fn rows(
    table: &Table,
    file_at: usize,
    labels: &[usize],
    config: &LabelsConfig,
    root: &Path,
) -> Result<Vec<Row>, DataError> {
    let rows_below = |folder: &dyn Fn(&StringRecord) -> PathBuf| -> Vec<Row> {
        let row = |(_, record): &(u64, StringRecord)| {
            let path = without_dots(&folder(record).join(record.get(file_at).unwrap_or_default()));
            let relative = path.strip_prefix(without_dots(root)).unwrap_or(&path);
            let relative = relative.to_string_lossy().into_owned();
            let values = labels.iter().map(|&at| Table::cell(record, at).map(str::to_owned)).collect();
            Row { path, relative, values, span: None }
        };
        table.rows.iter().map(row).collect()
    };
    if let Some(folder) = &config.csv_folder {
        let template = Template::parse(&folder.to_string_lossy(), table)?;
        return Ok(rows_below(&|record| root.join(template.fill(record))));
    }
    let beside = table.path.parent().unwrap_or(root);
    let rows = rows_below(&|_| beside.to_path_buf());
    if beside == root || rows.iter().any(|row| row.path.is_file()) {
        return Ok(rows);
    }
    let below_root = rows_below(&|_| root.to_path_buf());
    let found = below_root.iter().any(|row| row.path.is_file());
    Ok(if found { below_root } else { rows })
}

/// A folder with columns in braces: `audio/fold{fold}`.
struct Template {
    /// Text, and the column whose cell follows it.
    pieces: Vec<(String, Option<usize>)>,
}

impl Template {
    fn parse(folder: &str, table: &Table) -> Result<Self, DataError> {
        let mut pieces = Vec::new();
        let mut rest = folder;
        while let Some((text, (name, after))) =
            rest.split_once('{').and_then(|(text, rest)| Some((text, rest.split_once('}')?)))
        {
            let Some(column) = table.columns.iter().position(|column| column == name) else {
                return Err(DataError::UnknownLabel {
                    key: "data.labels.csv_folder".into(),
                    label: name.to_owned(),
                    labels: table.columns.clone(),
                });
            };
            pieces.push((text.to_owned(), Some(column)));
            rest = after;
        }
        pieces.push((rest.to_owned(), None));
        Ok(Self { pieces })
    }

    fn fill(&self, record: &StringRecord) -> String {
        let cell = |column: &Option<usize>| column.and_then(|at| record.get(at)).unwrap_or_default();
        self.pieces.iter().map(|(text, column)| format!("{text}{}", cell(column))).collect()
    }
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

fn check_listed_once(table: &Table, rows: &[Row]) -> Result<(), DataError> {
    if rows.is_empty() {
        return Err(DataError::Table { path: table.path.clone(), reason: "it has no rows".into() });
    }
    let mut line_of = HashMap::with_capacity(rows.len());
    for (row, &(line, _)) in rows.iter().zip(&table.rows) {
        if let Some(first_line) = line_of.insert((&row.relative, part(row)), line) {
            return Err(DataError::ListedTwice {
                path: table.path.clone(),
                file: named(row),
                first_line,
                second_line: line,
            });
        }
    }
    Ok(())
}

/// Beginning and end in microseconds: parts that differ by less are one.
fn part(row: &Row) -> Option<(u64, Option<u64>)> {
    let micros = |secs: f64| (secs * 1e6).round() as u64;
    row.span.map(|span| (micros(span.begin_secs), span.end_secs.map(micros)))
}

/// A file, or a part of one, in a message.
fn named(row: &Row) -> String {
    let file = &row.relative;
    match row.span {
        None => file.clone(),
        Some(Span { begin_secs, end_secs: Some(end), .. }) => {
            format!("{file} from {begin_secs} s to {end} s")
        }
        Some(Span { begin_secs, end_secs: None, .. }) => format!("{file} from {begin_secs} s on"),
    }
}

fn check_files(
    table: &Table,
    (file_at, family): (usize, Family),
    rows: &[Row],
    root: &Path,
) -> Result<(), DataError> {
    let missing: Vec<(&Row, &(u64, StringRecord))> =
        rows.par_iter().zip(&table.rows).with_min_len(16).filter(|(row, _)| !row.path.is_file()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let named = |(row, (line, _)): &(&Row, &(u64, StringRecord))| format!("{} (line {line})", row.relative);
    let records: Vec<&StringRecord> = missing.iter().map(|(_, (_, record))| record).collect();
    Err(DataError::ListedFilesMissing {
        path: table.path.clone(),
        num_missing: missing.len(),
        num_rows: rows.len(),
        first: missing.iter().take(NUM_LISTED).map(named).collect(),
        found: where_files_are(table, (file_at, family), &records, root),
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
            let path = dir.path().join(file);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, b"").unwrap();
        }
        dir
    }

    fn config(csv: &str, folder: Option<&str>) -> LabelsConfig {
        LabelsConfig {
            csv: csv.into(),
            csv_folder: folder.map(PathBuf::from),
            csv_file_column: "file".into(),
            ..LabelsConfig::default()
        }
    }

    fn list_in(dir: &tempfile::TempDir) -> Result<Listing, DataError> {
        list(&config("meta/labels.csv", None), dir.path(), Family::Recordings)
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
        let named = list_in(&folder_with("path,class\nb.wav,1\n", &[])).unwrap_err();
        assert!(named.hint().unwrap().contains("`data.labels.csv_file_column=path`"));
        let missing =
            list(&config("no.csv", None), folder_with("", &[]).path(), Family::Recordings).unwrap_err();
        assert!(
            missing.hint().unwrap().contains("`data.labels.csv=meta/labels.csv`"),
            "{:?}",
            missing.hint()
        );
    }

    fn cut_in(table: &str) -> Result<Listing, DataError> {
        let dir = folder_with(table, &["a.wav", "b.wav"]);
        let labels = LabelsConfig {
            begin: Some("Begin Time (s)".into()),
            end: Some("End Time (s)".into()),
            ..config("meta/labels.csv", None)
        };
        list(&labels, dir.path(), Family::Recordings)
    }

    #[test]
    fn a_file_may_have_several_parts_that_overlap() {
        let listing = cut_in(
            "file\tBegin Time (s)\tEnd Time (s)\tSpecies\nb.wav\t2\t3\twren\nb.wav\t0.5\t\trook\nb.wav\t0.5\t2.5\twren\na.wav\t\t1\t\n",
        )
        .unwrap();
        assert_eq!(listing.labels, ["Species"]);
        let rows: Vec<_> =
            listing.rows.iter().map(|row| (row.relative.as_str(), row.span.unwrap())).collect();
        let span = |begin_secs, end_secs, line| Span { begin_secs, end_secs, line };
        assert_eq!(
            rows,
            [
                ("a.wav", span(0.0, Some(1.0), 5)),
                ("b.wav", span(0.5, None, 3)),
                ("b.wav", span(0.5, Some(2.5), 4)),
                ("b.wav", span(2.0, Some(3.0), 2)),
            ]
        );
    }

    /// As Raven writes the selections of several files, each of which it lists for the waveform and the spectrogram.
    #[test]
    fn a_selection_table_of_raven_is_read_by_settings_alone() {
        let head = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\tBegin File\tSpecies";
        let rows = [
            "1\tWaveform 1\t1\t2.500000000\t3.75\t0.0\t24000.0\ta.wav\twren",
            "1\tSpectrogram 1\t1\t2.500000000\t3.75\t2000.0\t7000.0\ta.wav\twren",
            "2\tWaveform 1\t1\t0.25\t1\t0.0\t24000.0\tb.wav\trook",
            "2\tSpectrogram 1\t1\t0.25\t1\t500.0\t3000.0\tb.wav\trook",
        ];
        let dir = folder_with(&format!("{head}\r\n{}\r\n", rows.join("\r\n")), &["a.wav", "b.wav"]);
        let labels = LabelsConfig {
            csv_file_column: "Begin File".into(),
            rows: vec!["View=Spectrogram 1".into()],
            begin: Some("Begin Time (s)".into()),
            end: Some("End Time (s)".into()),
            ..config("meta/labels.csv", None)
        };
        let listing = list(&labels, dir.path(), Family::Recordings).unwrap();
        let species = listing.labels.iter().position(|label| label == "Species").unwrap();
        let found: Vec<_> = listing
            .rows
            .iter()
            .map(|row| (row.relative.as_str(), row.span.unwrap().begin_secs, row.values[species].as_deref()))
            .collect();
        assert_eq!(found, [("a.wav", 2.5, Some("wren")), ("b.wav", 0.25, Some("rook"))]);
        assert_eq!(listing.rows[0].span.unwrap().end_secs, Some(3.75));
    }

    #[test]
    fn parts_that_are_none_name_the_line() {
        let text = |rows: &str| {
            let table = format!("file,Begin Time (s),End Time (s),class\n{rows}");
            let error = cut_in(&table).unwrap_err();
            assert!(error.hint().is_some());
            error.to_string()
        };
        let said = text("a.wav,3,3,x\n");
        assert!(
            said.ends_with("a sample of `a.wav` that begins at 3 s and ends at 3 s, in line 2"),
            "{said}"
        );
        assert!(text("a.wav,3,2.5,x\n").contains("begins at 3 s and ends at 2.5 s"));
        let said = text("a.wav,0,1,x\na.wav,0:30,40,x\n");
        assert!(
            said.ends_with("says `0:30` in column `Begin Time (s)` of line 3, which is no number of seconds"),
            "{said}"
        );
        assert!(text("a.wav,-1,2,x\n").contains("says `-1`"));
        let said = text("a.wav,1,2,x\nb.wav,1,2,x\na.wav,1.0,2,y\n");
        assert!(said.ends_with("lists `a.wav from 1 s to 2 s` twice, in lines 2 and 4"), "{said}");
        let unknown = cut_in("file,begin,class\na.wav,1,x\n").unwrap_err();
        let said = "has no column `Begin Time (s)`, which `data.labels.begin` names; it has `file`, `begin` and `class`";
        assert!(unknown.to_string().ends_with(said), "{unknown}");
    }

    #[test]
    fn rows_are_chosen_by_the_values_of_columns() {
        let table = "file,esc10,fold\n../a.wav,True,1\n../b.wav,False,1\n../c.wav,True,2\n../d.wav,True,3\n";
        let list_of = |rows: &[&str]| {
            // Files of rows that do not count may be missing.
            let dir = folder_with(table, &["a.wav", "c.wav", "d.wav"]);
            let rows = rows.iter().map(|&row| row.to_owned()).collect();
            let config = LabelsConfig { rows, ..config("meta/labels.csv", None) };
            list(&config, dir.path(), Family::Recordings)
                .map_err(|error| format!("{error} {}", error.hint().unwrap_or_default()))
        };
        let files = |rows: &[&str]| -> Vec<String> {
            list_of(rows).unwrap().rows.into_iter().map(|row| row.relative).collect()
        };
        assert_eq!(files(&["esc10=True"]), ["a.wav", "c.wav", "d.wav"]);
        assert_eq!(files(&["esc10=True", "fold=1", "fold=3"]), ["a.wav", "d.wav"]);
        let unknown = list_of(&["esc_10=True"]).unwrap_err();
        assert!(unknown.contains("`esc_10`") && unknown.contains("did you mean `esc10`?"), "{unknown}");
        let none = list_of(&["esc10=true"]).unwrap_err();
        assert!(
            none.contains("none of its 4 rows has what `data.labels.rows=[esc10=true]` asks for"),
            "{none}"
        );
    }

    #[test]
    fn paths_are_below_the_table_or_the_root_or_the_folder_that_is_set() {
        let relative = |table: &str, folder: Option<&str>, files: &[&str]| -> Vec<String> {
            let listing = list(
                &config("meta/labels.csv", folder),
                folder_with(table, files).path(),
                Family::Recordings,
            );
            listing.unwrap().rows.into_iter().map(|row| row.relative).collect()
        };
        let table = "file\tfold\naudio/a.wav\t1\naudio/b.wav\t2\n";
        assert_eq!(relative(table, None, &["meta/audio/a.wav", "meta/audio/b.wav", "audio/a.wav"]).len(), 2);
        assert_eq!(relative(table, None, &["audio/a.wav", "audio/b.wav"]), ["audio/a.wav", "audio/b.wav"]);
        let table = "file,fold\na.wav,1\nb.wav,2\n";
        assert_eq!(
            relative(table, Some("audio"), &["audio/a.wav", "audio/b.wav"]),
            ["audio/a.wav", "audio/b.wav"]
        );
        assert_eq!(
            relative(table, Some("audio/fold{fold}"), &["audio/fold1/a.wav", "audio/fold2/b.wav"]),
            ["audio/fold1/a.wav", "audio/fold2/b.wav"]
        );
        let unknown = list(
            &config("meta/labels.csv", Some("x{y}")),
            folder_with(table, &[]).path(),
            Family::Recordings,
        );
        assert!(unknown.unwrap_err().to_string().starts_with("`data.labels.csv_folder` = `y` is not a"));
    }

    #[test]
    fn columns_without_a_name_are_left_out_with_a_note() {
        let dir =
            folder_with(",file,class,Unnamed: 3,\n0,../a.wav,x,7,\n1,../b.wav,y,8,\n", &["a.wav", "b.wav"]);
        let listing = list_in(&dir).unwrap();
        assert_eq!(listing.labels, ["class"]);
        assert_eq!(listing.rows[1].values, [Some("y".to_owned())]);
        let [note] = listing.notes.as_slice() else { panic!("{:?}", listing.notes) };
        assert!(note.contains("without a name are left out (3): number 1, 4, 5;"), "{note}");
    }

    #[test]
    fn dots_are_resolved_by_the_letter() {
        assert_eq!(without_dots(Path::new("/a/./b/../c")), Path::new("/a/c"));
        assert_eq!(without_dots(Path::new("../../a/..")), Path::new("../.."));
        assert_eq!(without_dots(Path::new("/..")), Path::new("/.."));
    }
}
