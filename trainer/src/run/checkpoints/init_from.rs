//! Weights that a new run starts from: those of another run or program. What matches, what is missing and what is left over
//! is said; a network that would start in part from other weights than was asked for does not start.

use std::collections::BTreeSet;
use std::path::Path;

use dtrain_comm::{Collective, CollectiveExt, Stage};
use tch::Tensor;

use crate::checkpoint::{CheckpointStore, MODEL_FILE, TensorFile, Validation};
use crate::error::TrainError;
use crate::method::BACKBONE;
use crate::model::parameters::of_teacher;
use crate::run::agree::agreed;
use crate::run::prepare::Prepared;
use crate::state::{copy_into, tensor_of};

const WEIGHTS_HINT: &str = "give a run directory, a checkpoint folder or a safetensors file";

/// Names that are listed before the rest is counted.
const MAX_LISTED: usize = 3;

/// What of a file of weights went into a network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Matched {
    /// Tensors of the network that start from the file.
    pub matched: usize,
    /// Tensors of the network that the file lacks, or has in another shape: they start as in any new run.
    pub missing: Vec<String>,
    /// Tensors of the file that have no place in the network.
    pub unexpected: Vec<String>,
}

impl std::fmt::Display for Matched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} tensors match", self.matched)?;
        for (names, what) in [(&self.missing, "start anew"), (&self.unexpected, "are not used")] {
            if !names.is_empty() {
                write!(f, "; {} {what}: {}", names.len(), listed(names))?;
            }
        }
        Ok(())
    }
}

/// Starts from the weights that another run or program left: every tensor that both have in the same shape. The backbone
/// has to be whole; a head, a projector or a classifier may be another.
///
/// # Errors
/// The same on all ranks: weights that are not there, cannot be read or do not fit.
pub fn init_weights(
    collective: &dyn Collective,
    prepared: &mut Prepared,
    path: &Path,
) -> Result<Matched, TrainError> {
    let _stage = collective.heartbeat().enter(Stage::Loading);
    let bytes = || -> Result<Vec<u8>, TrainError> {
        if !path.exists() {
            return Err(TrainError::config(
                format!("`init_from={}` does not exist", path.display()),
                WEIGHTS_HINT,
            ));
        }
        if path.is_dir() {
            let loaded = CheckpointStore::open_at(path, Validation::Full)?;
            return Ok(fs_err::read(loaded.dir.join(MODEL_FILE))?);
        }
        Ok(fs_err::read(path)?)
    };
    let here = if collective.world().rank == 0 { bytes() } else { Ok(Vec::new()) };
    let bytes = collective.broadcast_bytes(agreed(collective, here)?, 0)?;
    let file = TensorFile::parse(bytes).map_err(|e| {
        TrainError::config(format!("`init_from={}` cannot be read: {e}", path.display()), WEIGHTS_HINT)
    })?;
    let targets: Vec<(&str, Tensor)> =
        prepared.engine.parameters().named().filter(|(name, _)| is_taken(name)).collect();
    let matched = copy_matching(&file, &targets, path)?;
    prepared.engine.copy_to_teacher()?;
    Ok(matched)
}

/// A memory queue holds rows of another run's encoder, and a teacher begins as a copy of the network that is trained.
fn is_taken(name: &str) -> bool {
    !name.starts_with("queue.") && of_teacher(name).is_none()
}

fn is_backbone(name: &str) -> bool {
    name.strip_prefix(BACKBONE).is_some_and(|rest| rest.starts_with('.'))
}

/// Copies what fits.
///
/// # Errors
/// Nothing fits, or the backbone would be a mixture.
fn copy_matching(file: &TensorFile, targets: &[(&str, Tensor)], path: &Path) -> Result<Matched, TrainError> {
    let mut matched = Matched::default();
    let mut used: BTreeSet<&str> = BTreeSet::new();
    let mut pairs = Vec::new();
    for (name, target) in targets {
        // A backbone exported on its own carries torchvision's bare names.
        let bare = if is_backbone(name) { name.get(BACKBONE.len() + 1..).unwrap_or(name) } else { name };
        let Some(view) = [*name, bare].into_iter().find_map(|n| file.tensor(n).ok()) else {
            matched.missing.push((*name).to_owned());
            continue;
        };
        used.insert(view.spec.name.as_str());
        let shape: Vec<i64> = view.spec.shape.iter().map(|&n| n as i64).collect();
        if shape == target.size() {
            pairs.push((target, view));
        } else if is_backbone(name) {
            return Err(TrainError::config(
                format!(
                    "`init_from={}`: `{name}` is {shape:?} there and {:?} here",
                    path.display(),
                    target.size()
                ),
                "choose the `model` and `data` that the weights were trained with",
            ));
        } else {
            matched.missing.push((*name).to_owned());
        }
    }
    let names = file.tensors().map(|view| view.spec.name.as_str());
    matched.unexpected =
        names.filter(|name| !used.contains(name) && is_taken(name)).map(Into::into).collect();
    matched.matched = pairs.len();
    check(&matched, targets, path)?;
    for (target, view) in pairs {
        copy_into(target, &tensor_of(view.spec, view.bytes)?)?;
    }
    Ok(matched)
}

/// # Errors
/// No tensor fits, the file lacks a part of the backbone, or has more of one than this network.
fn check(matched: &Matched, targets: &[(&str, Tensor)], path: &Path) -> Result<(), TrainError> {
    let path = path.display();
    if matched.matched == 0 {
        return Err(TrainError::config(
            format!(
                "`init_from={path}` shares no tensor with this model; it has {}",
                listed(&matched.unexpected)
            ),
            "names are torchvision's, with or without `backbone.` in front",
        ));
    }
    // Counters came into files of weights later than the weights; nothing is computed from them.
    let counts = |name: &str| name.ends_with("num_batches_tracked");
    let lacks: Vec<String> =
        matched.missing.iter().filter(|name| is_backbone(name) && !counts(name)).cloned().collect();
    if !lacks.is_empty() {
        let whole = targets.iter().filter(|(name, _)| is_backbone(name)).count();
        return Err(TrainError::config(
            format!(
                "`init_from={path}` lacks {} of the {whole} tensors of the backbone: {}",
                lacks.len(),
                listed(&lacks)
            ),
            "choose the `model` that the weights were trained with, or a file that holds all of them",
        ));
    }
    // `layer1` of a bare name is a part of this backbone if one of its tensors begins so.
    let first = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
    let parts: BTreeSet<String> = targets
        .iter()
        .filter_map(|(name, _)| Some(first(name.strip_prefix(BACKBONE)?.strip_prefix('.')?)))
        .collect();
    let more: Vec<String> = matched
        .unexpected
        .iter()
        .filter(|name| (is_backbone(name) || parts.contains(&first(name))) && !counts(name))
        .cloned()
        .collect();
    if more.is_empty() {
        return Ok(());
    }
    Err(TrainError::config(
        format!(
            "`init_from={path}` has {} tensors of a backbone that this model lacks: {}",
            more.len(),
            listed(&more)
        ),
        "choose the `model` that the weights were trained with",
    ))
}

fn listed(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().take(MAX_LISTED).map(|name| format!("`{name}`")).collect();
    match names.len().saturating_sub(MAX_LISTED) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tch::{Device, Kind};

    use super::*;
    use crate::checkpoint::{Dtype, TensorSpec, write_tensors};

    fn file(tensors: &[(&str, u64)]) -> TensorFile {
        let spec = |(name, len): &(&str, u64)| TensorSpec {
            name: (*name).into(),
            dtype: Dtype::F32,
            shape: vec![*len],
        };
        let specs: Vec<TensorSpec> = tensors.iter().map(spec).collect();
        let mut bytes = Vec::new();
        write_tensors(&mut bytes, &specs, &BTreeMap::new(), |index, w| {
            let len = tensors[index].1 as usize;
            w.write_all(&1f32.to_le_bytes().repeat(len))
        })
        .unwrap();
        TensorFile::parse(bytes).unwrap()
    }

    /// A backbone of two tensors and a counter, and a classifier of three classes.
    fn network() -> Vec<(&'static str, Tensor)> {
        let zeros = |len| Tensor::zeros([len], (Kind::Float, Device::Cpu));
        vec![
            ("backbone.conv1.weight", zeros(4)),
            ("backbone.bn1.weight", zeros(2)),
            ("backbone.bn1.num_batches_tracked", zeros(1)),
            ("classifier.weight", zeros(3)),
        ]
    }

    const WHOLE: [(&str, u64); 2] = [("backbone.conv1.weight", 4), ("backbone.bn1.weight", 2)];

    fn started(tensors: &[(&str, u64)]) -> Result<(Matched, Vec<f64>), String> {
        let network = network();
        let matched = copy_matching(&file(tensors), &network, Path::new("w")).map_err(|e| e.to_string())?;
        Ok((matched, network.iter().map(|(_, tensor)| tensor.sum(Kind::Double).double_value(&[])).collect()))
    }

    #[test]
    fn what_matches_what_is_missing_and_what_is_left_over_is_said() {
        let more = [("classifier.weight", 10), ("projector.0.weight", 8), ("queue.rows", 9)];
        let (matched, sums) = started(&[&WHOLE[..], &more].concat()).unwrap();
        assert_eq!(sums, [4.0, 2.0, 0.0, 0.0]);
        assert_eq!(
            matched.to_string(),
            "2 tensors match; 2 start anew: `backbone.bn1.num_batches_tracked`, `classifier.weight`; 1 are not used: \
             `projector.0.weight`"
        );
        let (bare, sums) = started(&[("conv1.weight", 4), ("bn1.weight", 2), ("fc.weight", 9)]).unwrap();
        assert_eq!((sums[0], bare.matched, bare.unexpected), (4.0, 2, vec!["fc.weight".to_owned()]));
    }

    #[test]
    fn a_backbone_that_would_be_a_mixture_is_refused_and_nothing_is_copied() {
        let message = started(&WHOLE[..1]).unwrap_err();
        assert_eq!(message, "`init_from=w` lacks 1 of the 3 tensors of the backbone: `backbone.bn1.weight`");
        let deeper = started(&[&WHOLE[..], &[("backbone.layer4.2.weight", 1)]].concat()).unwrap_err();
        assert_eq!(
            deeper,
            "`init_from=w` has 1 tensors of a backbone that this model lacks: `backbone.layer4.2.weight`"
        );
        let wider = started(&[("backbone.conv1.weight", 5), WHOLE[1]]).unwrap_err();
        assert_eq!(wider, "`init_from=w`: `backbone.conv1.weight` is [5] there and [4] here");
        let other = started(&[("encoder.weight", 4)]).unwrap_err();
        assert_eq!(other, "`init_from=w` shares no tensor with this model; it has `encoder.weight`");
        let network = network();
        copy_matching(&file(&WHOLE[..1]), &network, Path::new("w")).unwrap_err();
        assert!(network.iter().all(|(_, tensor)| tensor.sum(Kind::Double).double_value(&[]) == 0.0));
    }
}
