//! Opens a data set of images.

use std::path::Path;
use std::sync::Arc;

use dtrain_configs::schema::DataConfig;
use xxhash_rust::xxh3::{Xxh3Default, xxh3_64};

use super::super::{Dataset, LabelAccess, OwnPart};
use super::correct::correct;
use super::labels::labels;
use crate::error::DataError;
use crate::images::{FormatError, ImageBuffers, ImageFolder, ImageSet, Images};
use crate::labels::LabelColumn;
use crate::progress::Work;
use crate::scan::check_root;

/// Opens the images below `root`.
pub(in crate::dataset) fn open(
    config: &DataConfig,
    root: &Path,
    access: LabelAccess,
) -> Result<Dataset, DataError> {
    check_root(root)?;
    let root = std::path::absolute(root)?;
    let folder = ImageFolder::open(&root)?;
    let mut warnings: Vec<String> = folder.notes().cloned().collect();
    let (labels, rules) = labels(config, folder.train.heads(), &mut warnings)?;
    let images = Arc::new(Images::new(folder, labels.iter().map(|label| label.name.clone()).zip(rules)));
    if u32::try_from(images.num_samples()).is_err() {
        return Err(DataError::TooManyRecordings { num_files: images.num_samples() });
    }
    if !labels.iter().any(|label| label.name == config.target) {
        return Err(unknown("data.target", &config.target, &labels));
    }
    let labels = match access {
        LabelAccess::WithSamples if config.corrections.is_none() => labels,
        LabelAccess::All | LabelAccess::WithSamples => columns(&images, labels)?,
    };
    let Parts { train, val, test, own_parts } = parts(config, images.folder(), &mut warnings);
    let num_train = images.folder().train.num_samples();
    if train.is_empty() {
        let fraction = config.images.val_fraction;
        return Err(DataError::AllHeldOut { fraction, num_samples: num_train });
    }
    warnings.extend(
        labels.iter().find(|label| label.name == config.target).and_then(|label| one_class(label, &train)),
    );
    let dataset = Dataset {
        name: config.name.clone(),
        root,
        recordings: (0..images.num_samples() as u32).collect(),
        train,
        val,
        test,
        set_aside: Vec::new(),
        anomalies: Vec::new(),
        begins: Vec::new(),
        own_parts,
        skipped: Vec::new(),
        warnings,
        fingerprint: fingerprint(&images, &labels)?,
        labels,
        source: images.clone(),
    };
    correct(dataset, &images, config)
}

/// Sample ids of each part.
struct Parts {
    train: Vec<u32>,
    val: Vec<u32>,
    test: Vec<u32>,
    own_parts: Vec<OwnPart>,
}

/// What the files and `data.images.val_fraction` say. A part that is named `val` is the one to choose by.
fn parts(config: &DataConfig, folder: &ImageFolder, warnings: &mut Vec<String>) -> Parts {
    const VAL: &str = "val";
    let mut end = 0u32;
    let mut ids = |set: &ImageSet| {
        let begin = end;
        end += set.num_samples() as u32;
        (begin..end).collect::<Vec<u32>>()
    };
    let num_train = ids(&folder.train).len();
    let test = folder.test.as_ref().map(&mut ids).unwrap_or_default();
    let own = folder.own_parts.iter().map(|(name, set)| OwnPart { name: name.clone(), ids: ids(set) });
    let (mut stated, own_parts): (Vec<_>, Vec<_>) = own.partition(|part| part.name == VAL);
    let fraction = config.images.val_fraction;
    let (train, val) = match stated.pop() {
        None => hold_out(num_train, fraction),
        Some(part) => {
            if fraction > 0.0 {
                warnings.push(format!(
                    "the set has a part `{VAL}`, so that `data.images.val_fraction` = {fraction} holds nothing out of the training \
                     part"
                ));
            }
            (hold_out(num_train, 0.0).0, part.ids)
        }
    };
    Parts { train, val, test, own_parts }
}

/// Opens the images below `root` for a network that was trained on others: their own labels are not asked for.
pub(in crate::dataset) fn open_unlabelled(config: &DataConfig, root: &Path) -> Result<Dataset, DataError> {
    check_root(root)?;
    let images = Images::new(ImageFolder::open(root)?, None);
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
        set_aside: Vec::new(),
        anomalies: Vec::new(),
        begins: Vec::new(),
        own_parts: Vec::new(),
        skipped: Vec::new(),
        warnings: Vec::new(),
        fingerprint: fingerprint(&images, &[])?,
        labels: Vec::new(),
        source: Arc::new(images),
    })
}

/// The labels with the classes of all samples, which are read.
fn columns(images: &Images, mut labels: Vec<LabelColumn>) -> Result<Vec<LabelColumn>, FormatError> {
    let mut buffers = ImageBuffers::default();
    let mut classes = vec![0; labels.len()];
    for label in &mut labels {
        label.of_sample.reserve_exact(images.num_samples());
    }
    let work = Work::begin("reading labels", "samples", images.num_samples() as u64);
    for id in (0u32..).take(images.num_samples()) {
        images.classes(id, &mut buffers, &mut classes)?;
        work.add(1);
        for (label, &class) in labels.iter_mut().zip(&classes) {
            label.of_sample.push(u32::try_from(class).ok());
        }
    }
    Ok(labels)
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
    for file in images.folder().sets().flat_map(|(_, set)| set.files()) {
        text(&file.file_name().unwrap_or_default().to_string_lossy());
        text(&std::fs::metadata(file)?.len().to_string());
    }
    let mut buffers = ImageBuffers::default();
    let mut classes = vec![0; labels.len()];
    let num_train = images.folder().train.num_samples() as u32;
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
