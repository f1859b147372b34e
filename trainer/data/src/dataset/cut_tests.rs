//! Data sets whose samples are cut from longer recordings, opened from real files.

use std::path::Path;

use dtrain_configs::schema::{
    AudioConfig, DataConfig, FeatureConfig, LabelSource, LabelsConfig, SplitConfig,
};

use super::recordings::tests::{split_by, write_wav};
use super::*;

const RATE: usize = 16_000;

/// Two species of four files each, 4.6 s long.
fn long_files() -> (tempfile::TempDir, DataConfig) {
    let dir = tempfile::tempdir().unwrap();
    for species in ["rook", "wren"] {
        for file in 0..4 {
            write_wav(&dir.path().join(format!("{species}/{file}.wav")), 46 * RATE / 10);
        }
    }
    let config = DataConfig {
        target: "species".into(),
        labels: LabelsConfig { folders: vec!["species".into()], ..LabelsConfig::default() },
        splits: split_by(SplitConfig { test_fraction: 0.25, ..SplitConfig::default() }),
        audio: AudioConfig { segment_secs: Some(2.0), ..AudioConfig::default() },
        features: FeatureConfig { n_fft: 64, ..FeatureConfig::default() },
        ..DataConfig::default()
    };
    (dir, config)
}

fn open(config: &DataConfig, root: &Path) -> Dataset {
    Dataset::open(config, root, LabelAccess::All).unwrap()
}

fn names(dataset: &Dataset) -> Vec<String> {
    (0..dataset.num_samples() as u32).filter_map(|id| dataset.name_of(id)).collect()
}

#[test]
fn a_grid_cuts_every_file_and_pieces_stay_together() {
    let (dir, mut config) = long_files();
    let dataset = open(&config, dir.path());
    // What is left of 4.6 s is shorter than half of 2 s.
    assert_eq!(dataset.num_samples(), 16);
    assert_eq!(names(&dataset)[..3], ["rook/0.wav@0.0-2.0", "rook/0.wav@2.0-4.0", "rook/1.wav@0.0-2.0"]);
    assert_eq!(dataset.recordings, (0..16).map(|id| id / 2).collect::<Vec<u32>>());
    assert_eq!(dataset.label("species").unwrap().of_sample, [vec![Some(0); 8], vec![Some(1); 8]].concat());
    let begin = |timeline, micros| Some(Begin { timeline, micros });
    assert_eq!(dataset.begins[..3], [begin(0, 0), begin(0, 2_000_000), begin(1, 0)]);
    let mut labelled = dataset.clone();
    labelled.label_files("species");
    labelled.label_files("recording");
    assert_eq!(labelled.labels.len(), 2);
    let recording = labelled.label("recording").unwrap();
    assert_eq!((recording.classes.len(), recording.class_name(15)), (8, Some("wren/3.wav")));
    // One file of each species, whole.
    assert_eq!(dataset.test.len(), 4);
    assert!(dataset.test.chunks(2).all(|pair| pair[0] % 2 == 0 && pair[1] == pair[0] + 1));

    config.audio.segment_hop_secs = Some(0.5);
    let overlapping = open(&config, dir.path());
    assert_eq!(
        names(&overlapping)[4..8],
        ["0.wav@2.0-4.0", "0.wav@2.5-4.5", "0.wav@3.0-4.6", "1.wav@0.0-2.0"]
            .map(|name| format!("rook/{name}"))
    );
    assert_eq!(overlapping.test.len(), 2 * 7);
    config.audio = AudioConfig::default();
    let whole = open(&config, dir.path());
    assert_eq!((whole.num_samples(), whole.begins.len()), (8, 0));
    let prints = [&dataset, &overlapping, &whole].map(|dataset| dataset.fingerprint);
    assert!(prints[0] != prints[1] && prints[1] != prints[2] && prints[0] != prints[2]);
}

#[test]
fn rows_of_a_table_are_samples() {
    let (dir, mut config) = long_files();
    let table = "file,start,stop,species\nwren/0.wav,1,2.5,wren\nwren/0.wav,0,1,rook\nrook/1.wav,4,9,rook\nrook/1.wav,,,\n";
    fs_err::write(dir.path().join("labels.csv"), table).unwrap();
    config.labels = LabelsConfig {
        source: LabelSource::Csv,
        begin: Some("start".into()),
        end: Some("stop".into()),
        ..LabelsConfig::default()
    };
    config.audio = AudioConfig::default();
    config.splits = split_by(SplitConfig::default());
    let dataset = open(&config, dir.path());
    let expected = ["rook/1.wav@0.0-4.6", "rook/1.wav@4.0-4.6", "wren/0.wav@0.0-1.0", "wren/0.wav@1.0-2.5"];
    assert_eq!(names(&dataset), expected);
    assert_eq!(dataset.recordings, [0, 0, 1, 1]);
    assert_eq!(dataset.label("species").unwrap().of_sample, [None, Some(0), Some(0), Some(1)]);
    assert_eq!(dataset.labels.len(), 1, "when a sample begins is no label");
    let note = dataset.warnings.iter().find(|warning| warning.contains("end after their file")).unwrap();
    assert!(note.contains("(1): `rook/1.wav (line 4)`"), "{note}");

    // A grid within each row.
    config.audio.segment_secs = Some(1.0);
    assert_eq!(
        names(&open(&config, dir.path()))[5..],
        ["rook/1.wav@4.0-4.6", "wren/0.wav@0.0-1.0", "wren/0.wav@1.0-2.0", "wren/0.wav@2.0-2.5"]
    );

    fs_err::write(dir.path().join("labels.csv"), "file,start,stop,species\nwren/0.wav,4.6,5,wren\n").unwrap();
    let error = Dataset::open(&config, dir.path(), LabelAccess::All).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a sample of `wren/0.wav` begins at 4.6 s (line 2 of the table), but the file is 4.600 s long"
    );
    assert!(error.hint().is_some());
}

#[test]
fn an_unreadable_file_of_several_rows_is_one_file() {
    let (dir, mut config) = long_files();
    fs_err::write(dir.path().join("wren/0.wav"), b"RIFF").unwrap();
    let table =
        "file,start,species\nwren/0.wav,1,wren\nwren/0.wav,0,wren\nrook/1.wav,0,rook\nwren/1.wav,0,wren\n";
    fs_err::write(dir.path().join("labels.csv"), table).unwrap();
    config.labels =
        LabelsConfig { source: LabelSource::Csv, begin: Some("start".into()), ..LabelsConfig::default() };
    config.max_bad_files = 1;
    let dataset = open(&config, dir.path());
    assert_eq!((dataset.skipped.len(), names(&dataset).len()), (1, 4));
    config.max_bad_files = 0;
    let error = Dataset::open(&config, dir.path(), LabelAccess::All).unwrap_err();
    assert!(error.to_string().starts_with("1 of 3 recordings cannot be read"), "{error}");
}

#[test]
fn a_label_says_where_files_begin_in_their_recording() {
    let (dir, mut config) = long_files();
    let table = "file,night,at,species\nrook/0.wav,a,0,rook\nrook/1.wav,a,30.5,rook\nwren/0.wav,b,,wren\nwren/1.wav,,7,wren\n";
    fs_err::write(dir.path().join("labels.csv"), table).unwrap();
    config.labels = LabelsConfig { source: LabelSource::Csv, ..LabelsConfig::default() };
    config.recording = Some("night".into());
    config.offset = Some("at".into());
    config.splits = split_by(SplitConfig::default());
    config.audio.segment_secs = None;
    let begins = open(&config, dir.path()).begins;
    let begin = |micros| Some(Begin { timeline: 0, micros });
    assert_eq!(begins, [begin(0), begin(30_500_000), None, None]);
    // Within the recording, not within the file.
    config.audio.segment_secs = Some(2.0);
    let dataset = open(&config, dir.path());
    assert_eq!(dataset.begins[..4], [begin(0), begin(2_000_000), begin(30_500_000), begin(32_500_000)]);
    assert_eq!(dataset.recordings, [0, 0, 0, 0, 1, 1, 2, 2]);
    assert!(dataset.label("at").is_none());
    fs_err::write(dir.path().join("labels.csv"), table.replace("30.5", "noon")).unwrap();
    let error = Dataset::open(&config, dir.path(), LabelAccess::All).unwrap_err().to_string();
    assert_eq!(error, "`data.offset` = `at` is `noon` of `rook/1.wav`, which is no number of seconds");
}

#[test]
fn files_that_are_asked_about_are_cut_as_well() {
    let (dir, config) = long_files();
    let asked = [dir.path().join("wren/3.wav"), dir.path().join("rook")];
    let dataset = Dataset::of_files(&config, &asked).unwrap();
    assert_eq!(dataset.num_samples(), 10);
    assert_eq!(dataset.name_of(1).unwrap(), format!("{}@2.0-4.0", asked[0].display()));
    assert_eq!(dataset.recordings, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]);
}

#[test]
fn lists_of_paths_hold_whole_files() {
    let (dir, mut config) = long_files();
    fs_err::write(dir.path().join("test.txt"), "rook/2.wav\nwren/1.wav\n").unwrap();
    config.splits = split_by(SplitConfig { test_list: Some("test.txt".into()), ..SplitConfig::default() });
    let dataset = open(&config, dir.path());
    assert_eq!(dataset.test, [4, 5, 10, 11]);
}
