//! What is learned from: recordings or images, labels, splits and features.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Channel, CorrectionsConfig, Scheduled};

/// A data set of recordings or of images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    /// Name in tables and run directories.
    pub name: String,
    /// Recordings or images.
    pub kind: DataKind,
    /// Folder with the data; `null` uses the generated stand-in under `data/`.
    pub root: Option<PathBuf>,
    /// Generator of the stand-in, used when `root` is `null`.
    pub generate: Option<GenerateConfig>,
    /// Recordings: where labels come from. Images bring theirs.
    pub labels: LabelsConfig,
    /// Labels that follow from another one, by name.
    pub label_maps: BTreeMap<String, LabelMapConfig>,
    /// The label that methods learn and probes report first.
    pub target: String,
    /// Classes of `target` that are held out of training, validation and test, such as `[wren, rook]`; they are the part
    /// `held_out`, which the few-shot probe (`eval.few_shot`) asks about.
    pub held_out_classes: Vec<String>,
    /// The label that names the recording a clip was cut from; `null`: each file is its own recording.
    pub recording: Option<String>,
    /// Recordings: the label that says where in `recording` a file begins, in seconds; it is not learned.
    pub offset: Option<String>,
    /// Recordings: which of `splits` is used.
    pub split: String,
    /// Named ways to split into train, val and test.
    pub splits: BTreeMap<String, SplitConfig>,
    /// Samples that have places of their own in every batch: the last ones, pool by pool. An epoch is a pass over the others.
    pub pools: Vec<PoolConfig>,
    /// Samples that a user has corrected, of data with masks; `null`: none, and all masks are known.
    pub corrections: Option<CorrectionsConfig>,
    /// How recordings are decoded and cut.
    pub audio: AudioConfig,
    /// The log-mel spectrograms that the network sees of recordings.
    pub features: FeatureConfig,
    /// How images are held out and normalized.
    pub images: ImagesConfig,
    /// Unreadable recordings that are skipped before the run refuses to start.
    pub max_bad_files: usize,
    /// Memory per rank for decoded recordings, in bytes.
    pub cache_bytes: u64,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            name: "audio".into(),
            kind: DataKind::Sound,
            root: None,
            generate: None,
            labels: LabelsConfig::default(),
            label_maps: BTreeMap::new(),
            target: "class".into(),
            held_out_classes: Vec::new(),
            recording: None,
            offset: None,
            split: "default".into(),
            splits: BTreeMap::from([("default".into(), SplitConfig::default())]),
            pools: Vec::new(),
            corrections: None,
            audio: AudioConfig::default(),
            features: FeatureConfig::default(),
            images: ImagesConfig::default(),
            max_bad_files: 10,
            cache_bytes: 1 << 30,
        }
    }
}

impl DataConfig {
    /// Whether a file may give several samples.
    pub fn cuts_files(&self) -> bool {
        self.kind == DataKind::Sound && (self.audio.segment_secs.is_some() || self.labels.begin.is_some())
    }

    /// The label that names a sample's recording: `recording`, or one of this name that names the file which it was cut from.
    pub fn recording_label(&self) -> Option<&str> {
        const FILE: &str = "recording";
        self.recording.as_deref().or_else(|| self.cuts_files().then_some(FILE))
    }

    /// Whether samples may be known to be of one recording.
    pub fn tells_recordings(&self) -> bool {
        self.recording_label().is_some()
    }

    /// Whether it is known where in its recording a sample begins.
    pub fn tells_offsets(&self) -> bool {
        self.cuts_files() || self.kind == DataKind::Sound && self.offset.is_some()
    }
}

/// What a data set holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DataKind {
    /// Recordings; the network sees their log-mel spectrograms.
    #[default]
    Sound,
    /// Images in one of the formats of docs/formats.md, which the folder's files tell.
    Images,
}

/// Images. The size, channels and labels of a set in one of the formats of docs/formats.md come from its files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImagesConfig {
    /// Image files (JPEG, PNG, WebP, BMP) of any size: side of the square views that they are cropped and resized to, in
    /// pixels. `labels` and `splits` say what is learned, as for recordings. `null`: a set in one of the formats.
    pub size: Option<usize>,
    /// Image files: 3 for red, green and blue, 1 for grey.
    pub channels: usize,
    /// Image files: side of the square at the centre that evaluation sees, as a share of the image's shorter side.
    pub eval_crop: f64,
    /// A set: share of the training part that is held out to choose by, the same samples for every seed; with 0 the test part
    /// stands in for them.
    pub val_fraction: f64,
    /// Mean of each channel, of pixels from 0 to 1; `null` = by the format and the number of channels.
    pub mean: Option<Vec<f64>>,
    /// Standard deviation of each channel; `null` as for `mean`.
    pub std: Option<Vec<f64>>,
}

impl Default for ImagesConfig {
    fn default() -> Self {
        Self { size: None, channels: 3, eval_crop: 0.875, val_fraction: 0.0, mean: None, std: None }
    }
}

/// A label that is a function of another one.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LabelMapConfig {
    /// The label that it follows from.
    pub of: String,
    /// Its class for each class of that label, in order.
    pub classes: Vec<u32>,
    /// Number of classes; `null` = one more than the largest of `classes`.
    pub num_classes: Option<usize>,
    /// Names of its classes, all or none.
    pub names: Vec<String>,
}

/// Training samples that have places of their own in every batch.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PoolConfig {
    /// The label that tells which samples they are.
    pub label: String,
    /// Its values.
    pub values: Vec<String>,
    /// Places in a batch: a number or a schedule, which counts in steps or epochs.
    pub count: Scheduled,
}

/// A stand-in for real data, made by seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GenerateConfig {
    /// Which generator.
    pub kind: GeneratorKind,
    /// Seed of the generator; the same seed gives the same bytes.
    pub seed: u64,
    /// Size, as a factor of the generator's own default.
    pub scale: f64,
}

impl Default for GenerateConfig {
    fn default() -> Self {
        Self { kind: GeneratorKind::Birdsong, seed: 0, scale: 1.0 }
    }
}

/// Generators of recordings and images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GeneratorKind {
    /// Species with their own syllables; each recording has its own hum, noise colour, microphone and gain.
    Birdsong,
    /// Formant-synthesized digits of several speakers in the layout of the Free Spoken Digit Dataset.
    SpokenDigits,
    /// Ten classes of sounds in the layout of ESC-50.
    EnvironmentalSounds,
    /// Machines of one type, each with a hum, harmonics and noise of its own, and recordings with known faults.
    MachineSounds,
    /// Drawn digits in MNIST's files, with stroke thickness and smoothness as further labels.
    Digits,
    /// Spectrograms of synthesized resonators in VIMH files, labelled with note number and velocity.
    Vimh,
    /// Drawn objects in CIFAR-10's files.
    Cifar10,
    /// Drawn objects in CIFAR-100-MH's files, with several labels.
    Cifar100mh,
    /// Drawn zeros and eights in MNIST's files, with dots on each eight to learn from, and masks.
    #[serde(rename = "confounded-08")]
    Confounded08,
    /// Drawn digits in MNIST's files, with a patch whose grey tells the digit in training, and masks.
    ConfoundedDecoy,
    /// Drawn digits in MNIST's files, with three dots on most eights to learn from, and masks.
    ConfoundedDots,
    /// Drawn scenes in JPEG and PNG files of many sizes, in ImageNet's folders; backgrounds are a shortcut.
    Images,
}

impl GeneratorKind {
    /// What it makes.
    pub fn makes(self) -> DataKind {
        match self {
            Self::Birdsong | Self::SpokenDigits | Self::EnvironmentalSounds | Self::MachineSounds => {
                DataKind::Sound
            }
            Self::Digits
            | Self::Vimh
            | Self::Cifar10
            | Self::Cifar100mh
            | Self::Confounded08
            | Self::ConfoundedDecoy
            | Self::ConfoundedDots
            | Self::Images => DataKind::Images,
        }
    }
}

/// Where labels come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LabelsConfig {
    /// Folder names, a CSV table, or file names.
    pub source: LabelSource,
    /// Folder source: names of the labels that the folders below `root` stand for, outermost first.
    pub folders: Vec<String>,
    /// Labels that methods learn and that stand in files, of those that the source has; `null`: all of them. A label
    /// that `recording` or a split needs may be left out here; `target` may not.
    pub columns: Option<Vec<String>>,
    /// CSV source: the table, relative to `root`. Every column but `csv_file_column`, `begin` and `end` is a label.
    pub csv: PathBuf,
    /// CSV source: column with the file's path.
    pub csv_file_column: String,
    /// CSV source: rows that count, as `COLUMN=VALUE`; of several values of one column any, of several columns all. `[]`: all
    /// rows.
    pub rows: Vec<String>,
    /// CSV source: the folder that these paths are in, relative to `root`; columns of the table stand in braces, as in
    /// `audio/fold{fold}`. `null`: the table's folder, or `root` where that has none of the files.
    pub csv_folder: Option<PathBuf>,
    /// CSV source: column that says where in the file a sample begins, in seconds. A file may then have several rows, also
    /// overlapping ones; an empty cell is the file's beginning.
    pub begin: Option<String>,
    /// CSV source: column that says where the sample ends, in seconds; `null`, or an empty cell: with the file.
    pub end: Option<String>,
    /// File-name source: regular expression over the path relative to `root`, with `/` between folders; each named
    /// group is a label.
    pub pattern: String,
    /// Labels whose values are whole numbers and the numbers of their classes, such as `[machine_id]`: of 00, 02, 04 and 06 there
    /// are seven classes then, of which three have no sample. Other labels are numbered in their order.
    pub numbered: Vec<String>,
    /// Folder and file-name sources: folders that hold no samples, relative to `root`, such as `_background_noise_`.
    pub leave_out: Vec<String>,
}

impl Default for LabelsConfig {
    fn default() -> Self {
        Self {
            source: LabelSource::Folder,
            folders: vec!["class".into()],
            columns: None,
            csv: PathBuf::from("labels.csv"),
            csv_file_column: "file".into(),
            rows: Vec::new(),
            csv_folder: None,
            begin: None,
            end: None,
            pattern: String::new(),
            numbered: Vec::new(),
            leave_out: Vec::new(),
        }
    }
}

/// Where labels come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LabelSource {
    /// Names of the folders.
    Folder,
    /// A table.
    Csv,
    /// Named groups of a regular expression over the file name.
    Filename,
}

/// One way to split. Samples that share the value of `by` stay together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SplitConfig {
    /// Label whose values are assigned to the parts; `null`: `data.recording`, or else each file by itself.
    pub by: Option<String>,
    /// Values of `by` that form the test part.
    pub test: Vec<String>,
    /// Values of `by` that form the validation part.
    pub val: Vec<String>,
    /// Share of each class's groups that forms the test part, where `test` is empty and there is no `test_list`.
    pub test_fraction: f64,
    /// Share of each class's groups that forms the validation part, where `val` is empty and there is no `val_list`.
    pub val_fraction: f64,
    /// Samples of which none is learned from; they are the test part, with as many others of each class of `target`.
    pub anomalies: Option<AnomaliesConfig>,
    /// Share of each class's groups that takes part in training and validation; the others are left out.
    pub subset_fraction: f64,
    /// File that lists recordings of the test part, a path relative to `root` on each line; the file too is relative to
    /// `root`. It goes before everything that follows from `by`.
    pub test_list: Option<PathBuf>,
    /// File that lists recordings of the validation part, as `test_list`.
    pub val_list: Option<PathBuf>,
}

impl Default for SplitConfig {
    fn default() -> Self {
        Self {
            by: None,
            test: Vec::new(),
            val: Vec::new(),
            test_fraction: 0.0,
            val_fraction: 0.0,
            anomalies: None,
            subset_fraction: 1.0,
            test_list: None,
            val_list: None,
        }
    }
}

/// Samples that only a test is about.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AnomaliesConfig {
    /// The label that tells them.
    pub label: String,
    /// Its values, such as `[abnormal]`.
    pub values: Vec<String>,
}

/// Decoding.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AudioConfig {
    /// Rate to which recordings are resampled, in Hz.
    pub sample_rate: u32,
    /// What is heard of recordings of several channels: `mean`, or the number of a channel from 0.
    pub channel: Channel,
    /// Length of a view in seconds: longer samples are cropped, shorter ones padded with zeros.
    pub clip_secs: f64,
    /// Length of the samples that each file, or each row of a table with `labels.begin`, is cut into, in seconds. What is left
    /// at the end is a sample if it has at least half that length, as is a file that is shorter; `null`: a file is one sample.
    pub segment_secs: Option<f64>,
    /// From the beginning of one such sample to that of the next, in seconds; `null`: `segment_secs`.
    pub segment_hop_secs: Option<f64>,
}

impl Default for AudioConfig {
    fn default() -> Self {
        Self {
            sample_rate: 16_000,
            channel: Channel::Mean,
            clip_secs: 1.0,
            segment_secs: None,
            segment_hop_secs: None,
        }
    }
}

/// Log-mel spectrograms with torchaudio's conventions (centred frames, reflected borders, periodic Hann window,
/// power 2).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FeatureConfig {
    /// Length of the Fourier transform, in samples.
    pub n_fft: usize,
    /// Samples of the resampled recording between two frames.
    pub hop_length: usize,
    /// Mel bands, the height of a spectrogram.
    pub n_mels: usize,
    /// Lowest frequency in Hz.
    pub f_min: f64,
    /// Highest frequency in Hz; `null` = half the sample rate.
    pub f_max: Option<f64>,
    /// Formula of the mel scale.
    pub mel_scale: MelScale,
    /// Normalization of the filters.
    pub mel_norm: MelNorm,
    /// Logarithm of the power.
    pub log: LogScale,
    /// `log: offset`: added to the power before the logarithm.
    pub log_offset: f64,
    /// Normalization of a spectrogram.
    pub normalize: Normalize,
}

impl Default for FeatureConfig {
    fn default() -> Self {
        Self {
            n_fft: 512,
            hop_length: 160,
            n_mels: 64,
            f_min: 0.0,
            f_max: None,
            mel_scale: MelScale::Htk,
            mel_norm: MelNorm::None,
            log: LogScale::Offset,
            log_offset: 1e-6,
            normalize: Normalize::View,
        }
    }
}

/// Formula of the mel scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MelScale {
    /// 2595 log10(1 + f / 700), as in HTK and torchaudio.
    Htk,
    /// Linear below 1 kHz, logarithmic above (Auditory Toolbox).
    Slaney,
}

/// Logarithm of a power.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogScale {
    /// ln(power + `log_offset`).
    #[default]
    Offset,
    /// ln(1 + power), which is 0 for silence.
    Log1p,
}

/// Normalization of the mel filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MelNorm {
    /// Peaks of 1.
    None,
    /// Area of 1 (2 / band width).
    Slaney,
}

/// Normalization of a spectrogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Normalize {
    /// The spectrogram as it is.
    None,
    /// Mean 0 and standard deviation 1 of each view, before the masks.
    View,
}
