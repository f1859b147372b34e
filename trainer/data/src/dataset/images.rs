//! A data set of images: both parts of a folder, numbered through, with the labels that the data bring and those that
//! follow from them.

use std::path::Path;
use std::sync::Arc;

use dtrain_configs::schema::DataConfig;
use xxhash_rust::xxh3::{Xxh3Default, xxh3_64};

use super::{Dataset, LabelAccess, Source};
use crate::error::DataError;
use crate::images::{FormatError, Head, ImageFolder, ImageFormat, ImageSet, ImageShape, Reading};
use crate::labels::LabelColumn;
use crate::labels::map::{Origin, mapped};
use crate::progress::Work;
use crate::scan::check_root;

/// Images of both parts: sample ids count those of the training files first, then those of the test files.
#[derive(Debug, Clone)]
pub struct Images {
    folder: ImageFolder,
    rules: Vec<LabelRule>,
}

/// Where a label's class comes from.
#[derive(Debug, Clone)]
enum LabelRule {
    /// The head of this number.
    Head(usize),
    /// A class for each class of the head of this number.
    Map(usize, Vec<u32>),
}

/// Buffers for reading samples.
#[derive(Debug, Default, Clone)]
pub struct ImageBuffers {
    pixels: Vec<u8>,
    heads: Vec<u32>,
}

impl Images {
    /// Number of samples of both parts.
    pub fn num_samples(&self) -> usize {
        self.folder.train.num_samples() + self.folder.test.as_ref().map_or(0, ImageSet::num_samples)
    }

    /// Shape of every image.
    pub fn shape(&self) -> ImageShape {
        self.folder.train.shape()
    }

    /// Number of labels.
    pub fn num_labels(&self) -> usize {
        self.rules.len()
    }

    /// What the files are.
    pub fn format(&self) -> ImageFormat {
        self.folder.format
    }

    /// `train/17`: part, and position in it.
    pub fn name_of(&self, id: u32) -> String {
        let num_train = self.folder.train.num_samples();
        match (id as usize).checked_sub(num_train) {
            None => format!("train/{id}"),
            Some(index) => format!("test/{index}"),
        }
    }

    /// Pixels of a sample, in planes.
    ///
    /// # Errors
    /// No such sample, or a record that contradicts the first one.
    pub fn pixels<'a>(&self, id: u32, buffers: &'a mut ImageBuffers) -> Result<&'a [u8], FormatError> {
        let (set, index) = self.locate(id);
        buffers.pixels.resize(self.shape().num_bytes(), 0);
        set.pixels(index, &mut buffers.pixels)?;
        Ok(&buffers.pixels)
    }

    /// Classes of a sample, one for each label.
    ///
    /// # Errors
    /// As [`Images::pixels`]; a label out of its range.
    pub fn classes(&self, id: u32, buffers: &mut ImageBuffers, out: &mut [i32]) -> Result<(), FormatError> {
        let (set, index) = self.locate(id);
        buffers.heads.resize(set.heads().len(), 0);
        set.labels(index, &mut buffers.heads)?;
        let class_of = |head: usize| buffers.heads.get(head).copied().unwrap_or(0);
        for (class, rule) in out.iter_mut().zip(&self.rules) {
            *class = match rule {
                LabelRule::Head(head) => class_of(*head) as i32,
                // As many entries as the head has classes.
                LabelRule::Map(head, map) => {
                    map.get(class_of(*head) as usize).map_or(-1, |&class| class as i32)
                }
            };
        }
        Ok(())
    }

    /// The part that holds a sample, and its position there. Ids beyond the end are refused by the part.
    fn locate(&self, id: u32) -> (&ImageSet, usize) {
        let (train, id) = (&self.folder.train, id as usize);
        match (&self.folder.test, id.checked_sub(train.num_samples())) {
            (Some(test), Some(index)) => (test, index),
            _ => (train, id),
        }
    }

    fn columns(&self, mut labels: Vec<LabelColumn>) -> Result<Vec<LabelColumn>, FormatError> {
        let mut buffers = ImageBuffers::default();
        let mut classes = vec![0; labels.len()];
        for label in &mut labels {
            label.of_sample.reserve_exact(self.num_samples());
        }
        let work = Work::begin("reading labels", "samples", self.num_samples() as u64);
        for id in (0u32..).take(self.num_samples()) {
            self.classes(id, &mut buffers, &mut classes)?;
            work.add(1);
            for (label, &class) in labels.iter_mut().zip(&classes) {
                label.of_sample.push(u32::try_from(class).ok());
            }
        }
        Ok(labels)
    }
}

/// Opens the images below `root`.
pub(super) fn open(config: &DataConfig, root: &Path, access: LabelAccess) -> Result<Dataset, DataError> {
    check_root(root)?;
    let root = std::path::absolute(root)?;
    let folder = ImageFolder::open(&root)?;
    let mut warnings: Vec<String> = folder.notes().cloned().collect();
    let (labels, rules) = labels(config, folder.train.heads(), &mut warnings)?;
    let images = Images { folder, rules };
    if u32::try_from(images.num_samples()).is_err() {
        return Err(DataError::TooManyRecordings { num_files: images.num_samples() });
    }
    if !labels.iter().any(|label| label.name == config.target) {
        return Err(unknown("data.target", &config.target, &labels));
    }
    let labels = match access {
        LabelAccess::All => images.columns(labels)?,
        LabelAccess::WithSamples => labels,
    };
    let num_train = images.folder.train.num_samples();
    let (train, val) = hold_out(num_train, config.images.val_fraction);
    if train.is_empty() {
        let fraction = config.images.val_fraction;
        return Err(DataError::AllHeldOut { fraction, num_samples: num_train });
    }
    warnings.extend(
        labels.iter().find(|label| label.name == config.target).and_then(|label| one_class(label, &train)),
    );
    let all = 0..images.num_samples() as u32;
    Ok(Dataset {
        name: config.name.clone(),
        root,
        recordings: all.clone().collect(),
        train,
        val,
        test: all.skip(num_train).collect(),
        skipped: Vec::new(),
        warnings,
        fingerprint: fingerprint(&images, &labels)?,
        labels,
        source: Source::Images(Arc::new(images)),
    })
}

/// Opens the images below `root` for a network that was trained on others: their own labels are not asked for.
pub(super) fn open_unlabelled(config: &DataConfig, root: &Path) -> Result<Dataset, DataError> {
    check_root(root)?;
    let images = Images { folder: ImageFolder::open(root)?, rules: Vec::new() };
    if u32::try_from(images.num_samples()).is_err() {
        return Err(DataError::TooManyRecordings { num_files: images.num_samples() });
    }
    let all: Vec<u32> = (0u32..).take(images.num_samples()).collect();
    Ok(Dataset {
        name: config.name.clone(),
        root: root.to_owned(),
        recordings: all.clone(),
        train: Vec::new(),
        val: Vec::new(),
        test: all,
        skipped: Vec::new(),
        warnings: Vec::new(),
        fingerprint: fingerprint(&images, &[])?,
        labels: Vec::new(),
        source: Source::Images(Arc::new(images)),
    })
}

/// The labels of the data in their order, then those that follow from them. One of the same name takes the place of the
/// data's.
fn labels(
    config: &DataConfig,
    heads: &[Head],
    warnings: &mut Vec<String>,
) -> Result<(Vec<LabelColumn>, Vec<LabelRule>), DataError> {
    let origins: Vec<Origin<'_>> =
        heads.iter().map(|head| Origin { name: &head.name, num_classes: head.num_classes }).collect();
    let mut labels: Vec<LabelColumn> = heads.iter().map(label_of).collect();
    let mut rules: Vec<LabelRule> = (0..heads.len()).map(LabelRule::Head).collect();
    for (name, map) in &config.label_maps {
        let (label, origin) = mapped(name, map, &origins)?;
        let rule = LabelRule::Map(origin, map.classes.clone());
        match labels.iter().position(|known| known.name == *name).zip(Some(label.clone())) {
            Some((at, label)) => {
                warnings.push(format!(
                    "`data.label_maps.{name}` takes the place of the data's own `{name}`; leave it out with \
                     `~data.label_maps.{name}`"
                ));
                if let (Some(known), Some(known_rule)) = (labels.get_mut(at), rules.get_mut(at)) {
                    (*known, *known_rule) = (label, rule);
                }
            }
            None => {
                labels.push(label);
                rules.push(rule);
            }
        }
    }
    Ok((labels, rules))
}

fn label_of(head: &Head) -> LabelColumn {
    let numbers = || (0..head.num_classes).map(|class| class.to_string()).collect();
    let values = match head.reading {
        Reading::ClassIndex => Vec::new(),
        Reading::Steps | Reading::Raw => {
            (0..head.num_classes).filter_map(|class| head.class_value(class)).collect()
        }
    };
    LabelColumn {
        name: head.name.clone(),
        classes: if head.class_names.is_empty() { numbers() } else { head.class_names.clone() },
        values,
        of_sample: Vec::new(),
    }
}

/// The warning about a target of which the training part knows one class, where labels were read.
fn one_class(target: &LabelColumn, train: &[u32]) -> Option<String> {
    let counts = target.counts(train);
    let mut seen = target.classes.iter().zip(counts).filter(|(_, count)| *count > 0);
    let (class, _) = seen.next().filter(|_| seen.next().is_none())?;
    Some(format!(
        "the target `{}` has one class in the training part, `{class}`, so there is nothing to tell apart; choose another \
         label with `data.target=`, or look at the set with `dtrain data inspect`",
        target.name
    ))
}

fn unknown(key: &str, label: &str, labels: &[LabelColumn]) -> DataError {
    let labels = labels.iter().map(|label| label.name.clone()).collect();
    DataError::UnknownLabel { key: key.into(), label: label.into(), labels }
}

/// Ids to learn from and to choose by. Which samples are held out depends on their number alone, so that runs of
/// different seeds are judged by the same ones.
fn hold_out(num_train: usize, fraction: f64) -> (Vec<u32>, Vec<u32>) {
    let num_val = (num_train as f64 * fraction).round() as usize;
    let mut drawn: Vec<(u64, u32)> =
        (0u32..).take(num_train).map(|id| (xxh3_64(&id.to_le_bytes()), id)).collect();
    if num_val == 0 {
        return (drawn.into_iter().map(|(_, id)| id).collect(), Vec::new());
    }
    drawn.sort_unstable();
    let sorted = |part: &[(u64, u32)]| {
        let mut ids: Vec<u32> = part.iter().map(|(_, id)| *id).collect();
        ids.sort_unstable();
        ids
    };
    let (val, train) = drawn.split_at(num_val.min(drawn.len()));
    (sorted(train), sorted(val))
}

/// Names and sizes of the files, labels, and the first and last image of each part.
fn fingerprint(images: &Images, labels: &[LabelColumn]) -> Result<u64, DataError> {
    let mut hash = Xxh3Default::new();
    let mut text = |text: &str| {
        hash.update(&(text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    };
    for label in labels {
        text(&label.name);
        text(&label.classes.len().to_string());
    }
    let sets = [Some(&images.folder.train), images.folder.test.as_ref()];
    for file in sets.iter().flatten().flat_map(|set| set.files()) {
        text(&file.file_name().unwrap_or_default().to_string_lossy());
        text(&std::fs::metadata(file)?.len().to_string());
    }
    let mut buffers = ImageBuffers::default();
    let mut classes = vec![0; labels.len()];
    let num_train = images.folder.train.num_samples() as u32;
    let last = images.num_samples() as u32 - 1;
    for id in [0, num_train - 1, num_train.min(last), last] {
        hash.update(images.pixels(id, &mut buffers)?);
        images.classes(id, &mut buffers, &mut classes)?;
        for class in &classes {
            hash.update(&class.to_le_bytes());
        }
    }
    Ok(hash.digest())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use dtrain_configs::schema::{DataKind, ImagesConfig, LabelMapConfig};

    use super::*;
    use crate::images::idx::{write_images, write_labels};
    use crate::{BatchRequest, Draw, ImageViews, Loader, LoaderOptions, PlainMemory, ViewMaker};

    const PIXELS: usize = 4;

    /// Images of 2 x 2 pixels whose first pixel is their number, and whose digit is that modulo 10.
    fn write(folder: &Path, prefix: &str, numbers: std::ops::Range<u8>) {
        let pixels: Vec<u8> = numbers.clone().flat_map(|number| [number, 0, 128, 255]).collect();
        write_images(&folder.join(format!("{prefix}-images-idx3-ubyte")), 2, 2, &pixels).unwrap();
        let labels: Vec<u8> = numbers.map(|number| number % 10).collect();
        write_labels(&folder.join(format!("{prefix}-labels-idx1-ubyte")), &labels).unwrap();
    }

    fn digits() -> (tempfile::TempDir, DataConfig) {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "train", 0..40);
        write(folder.path(), "t10k", 100..110);
        let odd = LabelMapConfig {
            of: "digit".into(),
            classes: vec![0, 4, 0, 4, 0, 4, 0, 4, 0, 4],
            num_classes: Some(5),
            ..LabelMapConfig::default()
        };
        let config = DataConfig {
            kind: DataKind::Images,
            target: "digit".into(),
            label_maps: BTreeMap::from([("odd".to_owned(), odd)]),
            images: ImagesConfig { val_fraction: 0.25, ..ImagesConfig::default() },
            ..DataConfig::default()
        };
        (folder, config)
    }

    fn open(config: &DataConfig, folder: &Path, access: LabelAccess) -> Dataset {
        Dataset::open(config, folder, access).unwrap()
    }

    #[test]
    fn a_target_of_one_class_is_told() {
        let (folder, config) = digits();
        assert_eq!(open(&config, folder.path(), LabelAccess::All).warnings, Vec::<String>::new());
        write_labels(&folder.path().join("train-labels-idx1-ubyte"), &[3; 40]).unwrap();
        let warnings = open(&config, folder.path(), LabelAccess::All).warnings;
        assert!(warnings[0].contains("`digit` has one class in the training part, `3`"), "{warnings:?}");
    }

    #[test]
    fn both_parts_are_numbered_through_and_a_part_is_held_out() {
        let (folder, config) = digits();
        let dataset = open(&config, folder.path(), LabelAccess::All);
        assert_eq!((dataset.num_samples(), dataset.train.len(), dataset.val.len()), (50, 30, 10));
        assert_eq!(dataset.test, (40..50).collect::<Vec<u32>>());
        let mut own: Vec<u32> = dataset.train.iter().chain(&dataset.val).copied().collect();
        own.sort_unstable();
        assert_eq!(own, (0..40).collect::<Vec<u32>>());
        assert_eq!(dataset.name_of(39).unwrap(), "train/39");
        assert_eq!(dataset.name_of(41).unwrap(), "test/1");
        assert_eq!(dataset.name_of(50), None);
        let digit = dataset.label("digit").unwrap();
        let odd = dataset.label("odd").unwrap();
        assert_eq!((digit.of_sample[13], odd.of_sample[13], odd.of_sample[44]), (Some(3), Some(4), Some(0)));
        assert_eq!(odd.classes.len(), 5);
    }

    #[test]
    fn labels_come_with_their_images_and_equal_those_read_beforehand() {
        let (folder, config) = digits();
        let known = open(&config, folder.path(), LabelAccess::All);
        let dataset = open(&config, folder.path(), LabelAccess::WithSamples);
        assert_eq!(known.fingerprint, dataset.fingerprint);
        assert!(dataset.label("digit").unwrap().of_sample.is_empty());
        let Source::Images(images) = &dataset.source else { panic!("images") };
        let maker = Arc::new(ViewMaker::Images(ImageViews::new(Arc::clone(images), &config.images).unwrap()));
        let draws: Vec<Draw> = [41, 3, 17].map(Draw::first).into();
        let request = BatchRequest { draws, num_views: 1, ..BatchRequest::default() };
        let options =
            LoaderOptions { threads: 2, prefetch_batches: 1, prefetch_bytes: 1 << 20, tells_of_first: false };
        let loader = Loader::start(maker, [request].into_iter(), options, PlainMemory).unwrap();
        let batch = loader.next().unwrap().unwrap();
        assert_eq!(batch.shape, [1, 2, 2]);
        assert_eq!(dataset.classes_of(&batch), [vec![1, 3, 7], vec![4, 4, 4]]);
        // One channel: (pixel / 255 - 0.5) / 0.5.
        let first: Vec<f32> = batch.data.iter().step_by(PIXELS).copied().collect();
        let expected = [101.0_f32, 3.0, 17.0].map(|pixel| (pixel / 255.0 - 0.5) / 0.5);
        assert!(first.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{first:?}");
        assert_eq!(batch.data[3], 1.0);
    }

    #[test]
    fn a_bad_label_drops_its_sample_and_names_it() {
        let (folder, config) = digits();
        let mut labels: Vec<u8> = (0..40).map(|number| number % 10).collect();
        labels[20] = 77;
        let file = folder.path().join("train-labels-idx1-ubyte");
        fs_err::remove_file(&file).unwrap();
        write_labels(&file, &labels).unwrap();
        let error = Dataset::open(&config, folder.path(), LabelAccess::All).unwrap_err().to_string();
        assert!(error.contains("77") && error.contains("20"), "{error}");

        let dataset = open(&config, folder.path(), LabelAccess::WithSamples);
        let Source::Images(images) = &dataset.source else { panic!("images") };
        let maker = Arc::new(ViewMaker::Images(ImageViews::new(Arc::clone(images), &config.images).unwrap()));
        let draws: Vec<Draw> = [19, 20, 21].map(Draw::first).into();
        let request = BatchRequest { draws, num_views: 2, ..BatchRequest::default() };
        let options =
            LoaderOptions { threads: 1, prefetch_batches: 1, prefetch_bytes: 1 << 20, tells_of_first: false };
        let loader = Loader::start(maker, [request].into_iter(), options, PlainMemory).unwrap();
        let batch = loader.next().unwrap().unwrap();
        assert_eq!((batch.kept.as_slice(), batch.failed[0].sample_id), ([0, 2].as_slice(), 20));
        assert!(batch.failed[0].reason.contains("77"), "{}", batch.failed[0].reason);
        assert_eq!(dataset.classes_of(&batch), [vec![9, 1], vec![4, 4]]);
        assert_eq!(batch.data.len(), 2 * 2 * PIXELS);
    }

    #[test]
    fn settings_that_do_not_fit_the_data_are_named() {
        let (folder, config) = digits();
        let message = |config: &DataConfig| {
            Dataset::open(config, folder.path(), LabelAccess::All).unwrap_err().to_string()
        };
        let text = message(&DataConfig { target: "species".into(), ..config.clone() });
        assert_eq!(
            text,
            "`data.target` = `species` is not a label of this data set; it has `digit` and `odd`"
        );
        let dataset = open(&config, folder.path(), LabelAccess::All);
        let Source::Images(images) = &dataset.source else { panic!("images") };
        let three = ImagesConfig { mean: Some(vec![0.0; 3]), ..ImagesConfig::default() };
        let error = ImageViews::new(Arc::clone(images), &three).unwrap_err().to_string();
        assert_eq!(error, "`data.images.mean` has 3 numbers, but the images have 1 channels");
    }

    #[test]
    fn a_map_of_the_same_name_takes_the_label_s_place() {
        let (folder, mut config) = digits();
        let all = LabelMapConfig { of: "digit".into(), classes: vec![1; 10], ..LabelMapConfig::default() };
        config.label_maps = BTreeMap::from([("digit".to_owned(), all)]);
        let dataset = open(&config, folder.path(), LabelAccess::All);
        assert_eq!(dataset.labels.len(), 1);
        assert_eq!(dataset.labels[0].of_sample, vec![Some(1); 50]);
        assert!(dataset.warnings[0].contains("`data.label_maps.digit` takes the place"));
    }
}
