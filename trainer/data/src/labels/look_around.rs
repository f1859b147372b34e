//! Where the files of a table are, and which table belongs to a folder: data as they are published, with a setting for
//! each layout that needs one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use csv::StringRecord;
use unicode_normalization::UnicodeNormalization;

use super::table::{Table, is_nameless};
use crate::scan::{Family, find_files};
use crate::texts::setting;

/// Missing files that are looked for.
const NUM_LOOKED_FOR: usize = 1000;
/// Entries of a folder that are listed in search of tables.
const MAX_ENTRIES: usize = 10_000;
/// Tables that are opened to see whether they list the recordings.
const MAX_TABLES: usize = 8;
/// Larger ones are not opened for that.
const MAX_LOOKED_AT_BYTES: u64 = 16 << 20;
/// Names that public data sets give to what is to be learned; the first one that a table has.
const TARGETS: [&str; 9] =
    ["category", "class", "label", "scene_label", "species", "target", "primary_label", "labels", "classID"];
/// Names that they give to fixed parts.
const FOLDS: [&str; 3] = ["fold", "split", "subset"];

/// Tables below a folder, up to two levels down, relative to it.
pub(super) fn tables_below(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    collect_tables(root, "", 2, &mut found);
    found.sort_by_key(|path| (path.matches('/').count(), path.clone()));
    found
}

fn collect_tables(folder: &Path, prefix: &str, levels: usize, found: &mut Vec<String>) {
    // What cannot be listed holds no table that could be opened.
    let Ok(entries) = fs_err::read_dir(folder) else { return };
    for entry in entries.take(MAX_ENTRIES).flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = entry.path();
        if name.starts_with('.') {
            continue;
        }
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        if ["csv", "tsv"].iter().any(|known| ending.eq_ignore_ascii_case(known)) {
            found.push(format!("{prefix}{name}"));
        } else if levels > 0 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect_tables(&path, &format!("{prefix}{name}/"), levels - 1, found);
        }
    }
}

/// Why a file was not found where the table has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Reason {
    /// It is in this folder, by the path that the table has.
    Folder(String),
    /// It is there by its name, with other folders above.
    Elsewhere(String),
    Backslashes,
    NoEnding(String),
    OtherEnding(String),
    OtherForm(String),
}

/// Says where the files of `records` are that were not found, and the setting that finds them. `None` where there are no
/// files of such names.
pub(super) fn where_files_are(
    table: &Table,
    (file_at, family): (usize, Family),
    records: &[&StringRecord],
    root: &Path,
) -> Option<String> {
    let recordings = Files::below(root, family)?;
    let column = table.columns.get(file_at)?;
    let found: Vec<(&StringRecord, Reason)> = records
        .iter()
        .take(NUM_LOOKED_FOR)
        .filter_map(|&record| Some((record, recordings.explain(record.get(file_at)?)?)))
        .collect();
    let folders: BTreeSet<&str> = found
        .iter()
        .filter_map(|(_, reason)| match reason {
            Reason::Folder(folder) => Some(folder.as_str()),
            _ => None,
        })
        .collect();
    let num_in_folders = found.iter().filter(|(_, reason)| matches!(reason, Reason::Folder(_))).count();
    if 2 * num_in_folders > found.len() {
        if let (1, Some(folder)) = (folders.len(), folders.first()) {
            let folder = if folder.is_empty() { "." } else { folder };
            return Some(format!("they are in `{folder}/`: {}", setting("data.labels.csv_folder", folder)));
        }
        if let Some(template) = template(table, &found) {
            return Some(format!(
                "they are in `{template}/`: {}",
                setting("data.labels.csv_folder", &template)
            ));
        }
        let first = folders.first().copied().unwrap_or_default();
        return Some(format!(
            "files of these names are in {} folders below `data.root`, such as `{first}`: write paths into `{column}`, \
             or give the folder with a column of the table in braces, as in `data.labels.csv_folder=audio/fold{{fold}}`",
            folders.len()
        ));
    }
    // The most frequent kind of reason, told by its first example.
    let count = |reason: &Reason| {
        let is_alike = |other: &Reason| std::mem::discriminant(other) == std::mem::discriminant(reason);
        found.iter().filter(|(_, other)| is_alike(other)).count()
    };
    let (_, reason) = found.iter().rev().max_by_key(|(_, reason)| count(reason))?;
    Some(match reason {
        Reason::Folder(folder) | Reason::Elsewhere(folder) => {
            format!(
                "files of these names are in `{folder}`, with other folders above them: write their paths into `{column}`"
            )
        }
        Reason::Backslashes => format!("folders are separated by `\\` in `{column}`: write `/`"),
        Reason::NoEnding(path) => {
            format!("the names in `{column}` lack their ending; `{path}` is there: write it with the ending")
        }
        Reason::OtherEnding(path) => {
            format!(
                "the names in `{column}` end otherwise than the files; `{path}` is there: write its ending"
            )
        }
        Reason::OtherForm(path) => format!(
            "the names in `{column}` differ from the files in capital letters or in the Unicode form of accents; \
             `{path}` is there: write it as the file has it"
        ),
    })
}

/// `audio/fold{fold}`: a folder that is the same for all files but for the cell of a column.
fn template(table: &Table, found: &[(&StringRecord, Reason)]) -> Option<String> {
    let in_folders = || {
        found.iter().filter_map(|(record, reason)| match reason {
            Reason::Folder(folder) => Some((*record, folder.as_str())),
            _ => None,
        })
    };
    (0..table.columns.len()).find_map(|column| {
        let prefix_of = |(record, folder): (&StringRecord, &'_ str)| -> Option<String> {
            let cell = Table::cell(record, column)?;
            folder.strip_suffix(cell).map(str::to_owned)
        };
        let prefixes: Option<BTreeSet<String>> = in_folders().map(prefix_of).collect();
        let prefixes = prefixes?;
        let prefix = prefixes.first().filter(|_| prefixes.len() == 1)?;
        Some(format!("{prefix}{{{}}}", table.columns.get(column)?))
    })
}

/// Files below a folder by their names.
struct Files {
    family: Family,
    by_name: BTreeMap<String, Vec<String>>,
    /// By the name without ending, in small letters and composed.
    by_form: BTreeMap<String, Vec<String>>,
}

impl Files {
    fn below(root: &Path, family: Family) -> Option<Self> {
        let (mut by_name, mut by_form) = (BTreeMap::new(), BTreeMap::new());
        for path in find_files(root, family).ok()?.files {
            let name = last(&path).to_owned();
            by_form.entry(form(stem(&name))).or_insert_with(Vec::new).push(path.clone());
            by_name.entry(name).or_insert_with(Vec::new).push(path);
        }
        Some(Self { family, by_name, by_form })
    }

    /// The same, of a folder above, in which theirs is called `name`.
    fn inside(mut self, name: &str) -> Self {
        let paths = self.by_name.values_mut().chain(self.by_form.values_mut()).flatten();
        paths.for_each(|path| *path = format!("{name}/{path}"));
        self
    }

    fn only(map: &BTreeMap<String, Vec<String>>, key: &str) -> Option<String> {
        match map.get(key)?.as_slice() {
            [only] => Some(only.clone()),
            _ => None,
        }
    }

    fn explain(&self, cell: &str) -> Option<Reason> {
        let cell = cell.trim_start_matches("./").trim_start_matches('/');
        let name = last(cell);
        if let Some(path) = Self::only(&self.by_name, name) {
            let folder = path.strip_suffix(cell).and_then(|folder| match folder {
                "" => Some(folder),
                folder => folder.strip_suffix('/'),
            });
            return Some(match folder {
                Some(folder) => Reason::Folder(folder.to_owned()),
                None => Reason::Elsewhere(path),
            });
        }
        if let Some((_, name)) = cell.rsplit_once('\\')
            && self.by_name.contains_key(name)
        {
            return Some(Reason::Backslashes);
        }
        if let Some(path) = self
            .family
            .endings()
            .iter()
            .find_map(|ending| Self::only(&self.by_name, &format!("{name}.{ending}")))
        {
            return Some(Reason::NoEnding(path));
        }
        let by_stem = Self::only(&self.by_form, &form(stem(name)))?;
        let same_stem = stem(last(&by_stem)) == stem(name);
        Some(if same_stem { Reason::OtherEnding(by_stem) } else { Reason::OtherForm(by_stem) })
    }
}

fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn stem(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}

/// What names have in common that differ in capital letters or in the Unicode form only.
fn form(name: &str) -> String {
    name.nfc().collect::<String>().to_lowercase()
}

/// The settings for a table that lists the recordings below `root`, where there is one there or beside `root`: ESC-50
/// keeps `meta/esc50.csv` beside `audio/`, UrbanSound8K `metadata/` beside `audio/fold1` to `fold10`.
pub fn settings_for_a_table(root: &Path, family: Family) -> Option<String> {
    let here = settings_below(root, &tables_below(root), &Files::below(root, family)?, None);
    here.or_else(|| {
        let (above, name) = (root.parent()?, root.file_name()?.to_str()?);
        let mut tables = Vec::new();
        collect_tables(above, "", 1, &mut tables);
        tables.sort_unstable();
        settings_below(above, &tables, &Files::below(root, family)?.inside(name), Some(above))
    })
}

/// Settings for the first of `tables` that lists `recordings`; both are relative to `root`, which is told where it has to
/// be `new_root`.
fn settings_below(
    root: &Path,
    tables: &[String],
    recordings: &Files,
    new_root: Option<&Path>,
) -> Option<String> {
    tables.iter().take(MAX_TABLES).find_map(|name| {
        let path = root.join(name);
        fs_err::metadata(&path).ok().filter(|metadata| metadata.len() <= MAX_LOOKED_AT_BYTES)?;
        let table = Table::read(&path, "").ok()?;
        let file_at = table.column_of_files()?;
        let found: Vec<(&StringRecord, Reason)> = table
            .rows
            .iter()
            .take(NUM_LOOKED_FOR)
            .filter_map(|(_, record)| Some((record, recordings.explain(record.get(file_at)?)?)))
            .filter(|(_, reason)| matches!(reason, Reason::Folder(_)))
            .collect();
        if 2 * found.len() <= table.rows.len().min(NUM_LOOKED_FOR) {
            return None;
        }
        let words = settings(&table, name, file_at, &found);
        let root = new_root.map(|root| setting("data.root", &root.to_string_lossy()));
        let words: Vec<&str> = root.iter().chain(&words).map(|word| word.trim_matches('`')).collect();
        let parts = known(&table, &FOLDS).map_or(String::new(), |fold| {
            format!("; its column `{fold}` can part them: `data.splits.default.by={fold}`")
        });
        Some(format!("`{name}` lists these recordings: `{}`{parts}", words.join(" ")))
    })
}

/// The first of `names` that is a column.
fn known<'a>(table: &Table, names: &[&'a str]) -> Option<&'a str> {
    names.iter().copied().find(|name| table.columns.iter().any(|column| column == name))
}

fn settings(table: &Table, name: &str, file_at: usize, found: &[(&StringRecord, Reason)]) -> Vec<String> {
    let folders: BTreeSet<&Reason> = found.iter().map(|(_, reason)| reason).collect();
    let folder = match folders.first() {
        Some(Reason::Folder(folder)) if folders.len() == 1 => Some(folder.clone()),
        _ => template(table, found),
    };
    let beside = name.rsplit_once('/').map_or("", |(folder, _)| folder);
    let folder = folder.filter(|folder| !folder.is_empty() && folder != beside);
    let column = |at: usize| table.columns.get(at).map(String::as_str).unwrap_or_default();
    let target = known(table, &TARGETS).or_else(|| {
        let other = (0..table.columns.len()).find(|&at| at != file_at && !is_nameless(column(at)))?;
        Some(column(other))
    });
    let mut words = vec![
        "data.labels.source=csv".to_owned(),
        setting("data.labels.csv", name),
        setting("data.labels.csv_file_column", column(file_at)),
    ];
    words.extend(folder.map(|folder| setting("data.labels.csv_folder", &folder)));
    words.extend(target.map(|target| setting("data.target", target)));
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[&str], tables: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let texts = files.iter().map(|file| (*file, "")).chain(tables.iter().copied());
        for (path, text) in texts {
            let path = dir.path().join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        }
        dir
    }

    /// What is said of a table `t.csv` with these names of files, one a line, when all of them are missing.
    fn said(files: &[&str], header: &str, cells: &[&str]) -> Option<String> {
        let dir = folder(files, &[("meta/t.csv", &format!("{header}\n{}\n", cells.join("\n")))]);
        let table = Table::read(&dir.path().join("meta/t.csv"), "file").unwrap();
        let records: Vec<&StringRecord> = table.rows.iter().map(|(_, record)| record).collect();
        where_files_are(&table, (0, Family::Recordings), &records, dir.path())
    }

    #[test]
    fn missing_files_are_found_with_the_setting_or_the_reason() {
        let there = ["audio/a.wav", "audio/b.wav"];
        let text = said(&there, "file", &["a.wav", "b.wav"]).unwrap();
        assert_eq!(text, "they are in `audio/`: `data.labels.csv_folder=audio`");
        let text = said(&["x/my audio/a.wav"], "file", &["my audio/a.wav"]).unwrap();
        assert_eq!(text, "they are in `x/`: `data.labels.csv_folder=x`");
        let text = said(&["my audio/a.wav"], "file", &["a.wav"]).unwrap();
        assert_eq!(text, "they are in `my audio/`: `'data.labels.csv_folder=my audio'`");
        let text =
            said(&["audio/fold1/a.wav", "audio/fold2/b.wav"], "file,fold", &["a.wav,1", "b.wav,2"]).unwrap();
        assert_eq!(text, "they are in `audio/fold{fold}/`: `'data.labels.csv_folder=audio/fold{fold}'`");
        assert!(
            said(&there, "file", &["a", "b"]).unwrap().contains("lack their ending; `audio/a.wav` is there")
        );
        assert!(said(&there, "file", &["a.mp3"]).unwrap().contains("end otherwise"));
        assert!(said(&there, "file", &[r"audio\a.wav"]).unwrap().contains("write `/`"));
        assert!(said(&there, "file", &["A.WAV"]).unwrap().contains("capital letters"));
        let decomposed = said(&["audio/caf\u{e9}.wav"], "file", &["cafe\u{301}.wav"]).unwrap();
        assert!(decomposed.contains("Unicode form"), "{decomposed}");
        assert!(said(&there, "file", &["sounds/a.wav"]).unwrap().contains("in `audio/a.wav`"));
        assert_eq!(said(&there, "file", &["z.wav"]), None);
    }

    #[test]
    fn a_table_that_lists_the_recordings_is_found_below_and_beside() {
        let table = "filename,fold,target,category\na.wav,1,0,dog\nb.wav,2,1,cat\n";
        let dir = folder(
            &["audio/a.wav", "audio/b.wav"],
            &[("meta/esc50.csv", table), ("other.csv", "x,y\n1,2\n")],
        );
        let words = "data.labels.source=csv data.labels.csv=meta/esc50.csv data.labels.csv_file_column=filename \
                     data.labels.csv_folder=audio data.target=category";
        let text = settings_for_a_table(dir.path(), Family::Recordings).unwrap();
        assert!(
            text.starts_with(&format!(
                "`meta/esc50.csv` lists these recordings: `{words}`; its column `fold`"
            ))
        );
        let text = settings_for_a_table(&dir.path().join("audio"), Family::Recordings).unwrap();
        assert!(text.contains(&format!("`data.root={} {words}`", dir.path().display())), "{text}");
        assert_eq!(settings_for_a_table(folder(&["a/1.wav"], &[]).path(), Family::Recordings), None);
    }
}
