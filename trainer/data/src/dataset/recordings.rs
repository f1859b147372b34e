//! A data set of recordings: files listed with their labels, headers read, unreadable ones left out, split into parts.

use std::path::Path;
use std::sync::Arc;

use dtrain_configs::schema::DataConfig;
use xxhash_rust::xxh3::Xxh3Default;

use super::assign::{assign, ids_where, of_samples, values};
use super::by_file::{are_of_one_file, headers, number_files, number_recordings};
use super::checks::{check_classes, check_folders, check_names, check_num_bad};
use super::cut::{Cut, cut};
use super::file_warnings::{Readable, file_warnings};
use super::label_warnings::label_warnings;
use super::timeline::begins;
use super::warnings::find_warnings;
use super::{Dataset, Recordings, Sample, SkippedFile};
use crate::decode::DecodeError;
use crate::error::DataError;
use crate::labels::map::{Origin, mapped};
use crate::labels::{LabelColumn, Listing, Row, list};
use crate::scan::{Family, Header, check_root};
use crate::split::Part;

/// Opens recordings below `root`: their headers are read.
///
/// # Errors
/// As [`Dataset::open`].
pub(super) fn open(config: &DataConfig, root: &Path) -> Result<Dataset, DataError> {
    check_root(root)?;
    let root = std::path::absolute(root)?;
    let listing = list(&config.labels, &root, Family::Recordings)?;
    check_names(config, &listing.labels)?;
    check_folders(config, &listing, (&root, Family::Recordings))?;
    let Listing { labels, rows, unprintable, mut notes, .. } = listing;

    let headers = headers(&rows, config.audio.channel);
    let (readable, unreadable) = separate(rows, headers);
    let skipped = skipped_files(&unreadable, unprintable);
    let num_readable = readable.chunk_by(are_of_one_file).count();
    check_num_bad(&skipped, (num_readable, Family::Recordings), config.max_bad_files)?;
    let cuts = cut(&readable, &config.audio, &mut notes)?;
    if u32::try_from(cuts.len()).is_err() {
        return Err(DataError::TooManyRecordings { num_files: cuts.len() });
    }
    let files = number_files(&readable, &cuts);

    let mut columns: Vec<LabelColumn> = labels
        .into_iter()
        .enumerate()
        .map(|(i, name)| {
            let of_samples = of_samples(&values(&readable, i), &cuts);
            match config.labels.numbered.contains(&name) {
                true => LabelColumn::numbered(name, &of_samples),
                false => Ok(LabelColumn::new(name, &of_samples)),
            }
        })
        .collect::<Result<_, _>>()?;
    add_mapped(config, &mut columns)?;
    if let Some(target) = columns.iter().position(|column| column.name == config.target)
        && let Some(column) = columns.get(target)
    {
        check_classes(column, &values(&unreadable, target), (&root, Family::Recordings))?;
    }
    let (parts, anomalies) = assign(config, (&readable, &cuts), &columns, &root, &mut notes)?;
    let recording = columns.iter().find(|column| config.recording.as_ref() == Some(&column.name));
    let recordings = number_recordings(recording, &files);
    let begins = begins(config, &readable, &cuts, &columns, &files)?;
    let fingerprint = fingerprint(&readable, &cuts, &columns);
    let (columns, set_aside) = columns.into_iter().partition(|column| is_kept(config, &column.name));
    let ids_of = |part| ids_where(&parts, part);
    let of_files = file_warnings(&readable, config);
    let source = Arc::new(Recordings(samples(readable, cuts)));
    let mut dataset = Dataset {
        name: config.name.clone(),
        root,
        train: ids_of(Part::Train),
        val: ids_of(Part::Val),
        test: ids_of(Part::Test),
        begins,
        own_parts: Vec::new(),
        anomalies,
        source: source.clone(),
        labels: columns,
        set_aside,
        recordings,
        skipped,
        warnings: Vec::new(),
        fingerprint,
    };
    if dataset.train.is_empty() {
        return Err(DataError::EmptyTrain {
            split: config.split.clone(),
            num_samples: dataset.num_samples(),
        });
    }
    let (of_data, of_labels) =
        (find_warnings(&dataset, &source, config), label_warnings(&dataset, &source, config));
    dataset.warnings = [of_data, of_files, of_labels, notes].concat();
    Ok(dataset)
}

/// Labels that are not left out by `data.labels.columns`, and say more than when a file begins.
pub(super) fn is_kept(config: &DataConfig, label: &String) -> bool {
    match &config.labels.columns {
        Some(chosen) => chosen.contains(label) || config.label_maps.contains_key(label),
        None => config.offset.as_ref() != Some(label) || config.target == *label,
    }
}

/// Adds the labels that follow from others.
pub(super) fn add_mapped(config: &DataConfig, columns: &mut Vec<LabelColumn>) -> Result<(), DataError> {
    let originals = columns.len();
    for (name, map) in &config.label_maps {
        let origins: Vec<Origin<'_>> = columns
            .iter()
            .take(originals)
            .map(|column| Origin { name: &column.name, num_classes: column.classes.len() })
            .collect();
        let (mut label, origin) = mapped(name, map, &origins)?;
        let of_class = |class: u32| map.classes.get(class as usize).copied();
        if let Some(origin) = columns.get(origin) {
            label.of_sample = origin.of_sample.iter().map(|class| class.and_then(of_class)).collect();
        }
        if columns.iter().any(|column| column.name == *name) {
            return Err(DataError::DuplicateLabel {
                label: name.clone(),
                place: "the data and `data.label_maps`".into(),
            });
        }
        columns.push(label);
    }
    Ok(())
}

type Unreadable = Vec<(Row, DecodeError)>;

fn separate(rows: Vec<Row>, headers: Vec<Result<Header, DecodeError>>) -> (Readable, Unreadable) {
    let (mut readable, mut unreadable) = (Vec::with_capacity(rows.len()), Vec::new());
    for (row, header) in rows.into_iter().zip(headers) {
        match header {
            Ok(header) => readable.push((row, header)),
            Err(error) => unreadable.push((row, error)),
        }
    }
    (readable, unreadable)
}

fn skipped_files(unreadable: &Unreadable, unprintable: Vec<String>) -> Vec<SkippedFile> {
    let files = unreadable.chunk_by(|a, b| a.0.relative == b.0.relative).filter_map(|rows| rows.first());
    let unreadable = files.map(|(row, error)| SkippedFile {
        path: row.relative.clone(),
        reason: error.problem.to_string(),
        advice: error.problem.advice(),
    });
    unreadable.chain(unprintable.into_iter().map(SkippedFile::unprintable)).collect()
}

fn samples(rows: Readable, cuts: Vec<Cut>) -> Vec<Sample> {
    let shared: Vec<(Arc<Path>, Arc<str>, Header)> =
        rows.into_iter().map(|(row, header)| (row.path.into(), row.relative.into(), header)).collect();
    let sample = |cut: Cut| {
        let (path, relative, header) = shared.get(cut.row)?;
        Some(Sample {
            path: path.clone(),
            relative: relative.clone(),
            begin: cut.frames.as_ref().map(|frames| frames.start),
            num_frames: cut.frames.map_or(header.num_frames, |frames| frames.end - frames.start),
            sample_rate: header.sample_rate,
        })
    };
    cuts.into_iter().filter_map(sample).collect()
}

/// Each text is preceded by its length, so that no two data sets write the same bytes.
fn fingerprint(rows: &Readable, cuts: &[Cut], columns: &[LabelColumn]) -> u64 {
    fn text(hash: &mut Xxh3Default, text: &str) {
        hash.update(&(text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    }
    let mut hash = Xxh3Default::new();
    for column in columns {
        text(&mut hash, &column.name);
    }
    for (row, header) in rows {
        text(&mut hash, &row.relative);
        hash.update(&header.num_bytes.to_le_bytes());
        for value in &row.values {
            hash.update(&[u8::from(value.is_some())]);
            text(&mut hash, value.as_deref().unwrap_or_default());
        }
    }
    for frames in cuts.iter().filter_map(|cut| cut.frames.as_ref()) {
        hash.update(&frames.start.to_le_bytes());
        hash.update(&frames.end.to_le_bytes());
    }
    hash.digest()
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use super::super::LabelAccess;
    use super::*;
    use dtrain_configs::schema::{FeatureConfig, LabelSource, LabelsConfig, SplitConfig};

    pub fn write_wav(path: &Path, num_frames: usize) {
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        let spec = hound::WavSpec {
            channels: 1,
            sample_rate: 16_000,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let mut writer = hound::WavWriter::create(path, spec).unwrap();
        (0..num_frames).for_each(|i| writer.write_sample(i as i16).unwrap());
        writer.finalize().unwrap();
    }

    /// Three species of four recordings of two clips each, in folders.
    pub fn birds() -> (tempfile::TempDir, DataConfig) {
        let dir = tempfile::tempdir().unwrap();
        for species in ["rook", "koel", "wren"] {
            for clip in 0..8 {
                let name = format!("{species}/{species}{}_{}.wav", clip / 2, clip % 2);
                write_wav(&dir.path().join(name), 100 + clip);
            }
        }
        let config = DataConfig {
            target: "species".into(),
            recording: Some("recording".into()),
            labels: LabelsConfig {
                source: LabelSource::Filename,
                pattern: r"^(?P<species>\w+)/(?P<recording>\w+)_(?P<clip>\d+)\.wav$".into(),
                ..LabelsConfig::default()
            },
            splits: split_by(SplitConfig { test_fraction: 0.25, ..SplitConfig::default() }),
            // Windows that fit into the recordings.
            features: FeatureConfig { n_fft: 64, ..FeatureConfig::default() },
            ..DataConfig::default()
        };
        (dir, config)
    }

    pub fn split_by(split: SplitConfig) -> BTreeMap<String, SplitConfig> {
        BTreeMap::from([("default".to_owned(), split)])
    }

    fn by_folder(config: DataConfig) -> DataConfig {
        let labels = LabelsConfig { folders: vec!["species".into()], ..LabelsConfig::default() };
        DataConfig { labels, recording: None, ..config }
    }

    fn message(config: &DataConfig, root: &Path) -> String {
        let error = Dataset::open(config, root, LabelAccess::All).unwrap_err();
        assert!(error.hint().is_some());
        error.to_string()
    }

    #[test]
    fn samples_are_numbered_by_path_and_split_by_recording() {
        let (dir, config) = birds();
        let dataset = Dataset::open(&config, dir.path(), LabelAccess::All).unwrap();
        let relative: Vec<String> = (0..24).filter_map(|id| dataset.name_of(id)).collect();
        assert!(relative.is_sorted());
        assert_eq!((relative[0].as_str(), dataset.name_of(24)), ("koel/koel0_0.wav", None));
        let first = format!("{:?}", dataset.source);
        let first = first.split_once('}').unwrap().0;
        assert!(first.contains("num_frames: 100, sample_rate: 16000"), "{first}");
        assert!(first.contains(&format!("path: {:?}", dataset.root.join(&relative[0]))), "{first}");
        assert!(dataset.root.is_absolute());
        assert_eq!(dataset.label("species").unwrap().classes, ["koel", "rook", "wren"]);
        assert_eq!(dataset.label("clip").unwrap().of_sample[..3], [Some(0), Some(1), Some(0)]);
        assert_eq!(dataset.recordings[..4], [0, 0, 1, 1]);
        assert_eq!((dataset.train.len(), dataset.val.len(), dataset.test.len()), (18, 0, 6));
        let target = dataset.label("species").unwrap();
        assert_eq!((target.counts(&dataset.train), target.counts(&dataset.test)), (vec![6; 3], vec![2; 3]));
        assert_eq!(dataset.warnings, Vec::<String>::new());
        assert_eq!(dataset.train_pool(Some("species")).classes.len(), 24);
    }

    #[test]
    fn the_fingerprint_follows_names_sizes_and_labels_only() {
        let (dir, config) = birds();
        let fingerprint = |config: &DataConfig, root: &Path| {
            Dataset::open(config, root, LabelAccess::All).unwrap().fingerprint
        };
        let before = fingerprint(&config, dir.path());
        let (same, _) = birds();
        assert_eq!(before, fingerprint(&config, same.path()));
        assert_ne!(before, fingerprint(&by_folder(config.clone()), dir.path()));
        write_wav(&dir.path().join("wren/wren3_1.wav"), 5);
        assert_ne!(before, fingerprint(&config, dir.path()));
    }

    #[test]
    fn without_recordings_each_file_is_its_own() {
        let (dir, config) = birds();
        let dataset = Dataset::open(&by_folder(config), dir.path(), LabelAccess::All).unwrap();
        assert_eq!(dataset.recordings, (0..24).collect::<Vec<u32>>());
        assert_eq!(dataset.test.len(), 6);
    }

    #[test]
    fn recordings_may_have_no_labels_at_all() {
        let (dir, config) = birds();
        let labels = LabelsConfig { folders: Vec::new(), ..LabelsConfig::default() };
        let dataset =
            Dataset::open(&DataConfig { labels, recording: None, ..config }, dir.path(), LabelAccess::All)
                .unwrap();
        assert!(dataset.labels.is_empty());
        assert_eq!(dataset.test.len(), 6);
    }

    #[test]
    fn names_that_mean_nothing_are_refused_with_those_that_exist() {
        let (dir, config) = birds();
        let labels = "is not a label of this data set; it has `species`, `recording` and `clip`";
        let text = message(&DataConfig { target: "spcies".into(), ..config.clone() }, dir.path());
        assert_eq!(text, format!("`data.target` = `spcies` {labels}"));
        let text = message(&DataConfig { recording: Some("r".into()), ..config.clone() }, dir.path());
        assert_eq!(text, format!("`data.recording` = `r` {labels}"));
        let splits = split_by(SplitConfig { by: Some("b".into()), ..SplitConfig::default() });
        let text = message(&DataConfig { splits, ..config.clone() }, dir.path());
        assert_eq!(text, format!("`data.splits.default.by` = `b` {labels}"));
        let text = message(&DataConfig { split: "official".into(), ..config.clone() }, dir.path());
        assert_eq!(text, "`data.split` = `official` is not one of `data.splits`; there are `default`");
        let splits = split_by(SplitConfig { test: vec!["koel9".into()], ..SplitConfig::default() });
        let text = message(&DataConfig { splits, ..config.clone() }, dir.path());
        assert!(
            text.starts_with("`data.splits.default.test` lists `koel9`, but no recording has this recording")
        );
        assert!(message(&config, &dir.path().join("no")).ends_with("does not exist"));
    }

    #[test]
    fn chosen_columns_become_labels_and_the_others_still_split_and_tell_recordings() {
        let (dir, config) = birds();
        let chosen = |columns: &[&str]| {
            let columns = Some(columns.iter().map(|&column| column.to_owned()).collect());
            let labels = LabelsConfig { columns, ..config.labels.clone() };
            DataConfig { labels, ..config.clone() }
        };
        let names = |dataset: &Dataset| dataset.labels.iter().map(|l| l.name.clone()).collect::<Vec<_>>();
        let all = Dataset::open(&config, dir.path(), LabelAccess::All).unwrap();
        let some = Dataset::open(&chosen(&["species"]), dir.path(), LabelAccess::All).unwrap();
        assert_eq!((names(&all).len(), names(&some)), (3, vec!["species".to_owned()]));
        assert_eq!((&some.recordings, &some.test), (&all.recordings, &all.test));
        assert_eq!(some.fingerprint, all.fingerprint);
        let error = Dataset::open(&chosen(&["species", "clips"]), dir.path(), LabelAccess::All).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`data.labels.columns` = `clips` is not a label of this data set; it has `species`, `recording` and `clip`"
        );
        assert_eq!(error.hint().unwrap(), "did you mean `clip`?");
    }

    #[test]
    fn nothing_to_train_on_is_refused() {
        let (dir, config) = birds();
        let test = ["koel", "rook", "wren"].map(str::to_owned).to_vec();
        let splits = split_by(SplitConfig { by: Some("species".into()), test, ..SplitConfig::default() });
        let text = message(&DataConfig { splits, ..config }, dir.path());
        assert_eq!(text, "the train part of split `default` is empty: all 24 recordings are in val or test");
    }

    #[test]
    fn empty_classes_are_refused() {
        let (dir, config) = birds();
        fs_err::create_dir(dir.path().join("lark")).unwrap();
        let text = message(&by_folder(config.clone()), dir.path());
        assert_eq!(text, "class `lark` of `species` is empty: it has no readable recording");
        fs_err::write(dir.path().join("lark/lark0_0.wav"), b"no sound").unwrap();
        for config in [by_folder(config.clone()), config.clone()] {
            assert_eq!(message(&config, dir.path()), text);
        }
    }

    #[test]
    fn unreadable_recordings_are_skipped_up_to_a_limit() {
        let (dir, config) = birds();
        let cut = dir.path().join("koel/koel0_0.wav");
        let bytes = fs_err::read(&cut).unwrap();
        fs_err::write(&cut, &bytes[..bytes.len() - 10]).unwrap();
        write_wav(&dir.path().join("koel/koel0_1.wav"), 0);
        let dataset = Dataset::open(&config, dir.path(), LabelAccess::All).unwrap();
        assert_eq!(dataset.num_samples(), 22);
        let skipped: Vec<&str> = dataset.skipped.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(skipped, ["koel/koel0_0.wav", "koel/koel0_1.wav"]);
        assert!(dataset.skipped[0].reason.contains("truncated"), "{}", dataset.skipped[0].reason);
        assert!(dataset.warnings[0].starts_with("unreadable recordings are skipped (2): "));
        let text = message(&DataConfig { max_bad_files: 1, ..config }, dir.path());
        assert!(
            text.starts_with("2 of 24 recordings cannot be read: `koel/koel0_0.wav` (truncated"),
            "{text}"
        );
    }

    #[test]
    fn a_missing_value_is_no_label() {
        let (dir, config) = birds();
        fs_err::write(
            dir.path().join("labels.csv"),
            "file,species,recording\nkoel/koel0_0.wav,koel,a\nkoel/koel0_1.wav,,a\nrook/rook0_0.wav,rook,\n",
        )
        .unwrap();
        let labels = LabelsConfig { source: LabelSource::Csv, ..LabelsConfig::default() };
        let splits = split_by(SplitConfig::default());
        let dataset =
            Dataset::open(&DataConfig { labels, splits, ..config }, dir.path(), LabelAccess::All).unwrap();
        assert_eq!(dataset.label("species").unwrap().of_sample, [Some(0), None, Some(1)]);
        assert_eq!(dataset.recordings, [0, 0, 1]);
        assert_eq!(dataset.train, [0, 1, 2]);
    }
}
