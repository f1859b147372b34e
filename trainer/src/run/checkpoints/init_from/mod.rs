//! Weights that a new run starts from: those of another run or program. What matches, what is missing and what is left over
//! is said; a network that would start in part from other weights than was asked for does not start.

mod fit;
mod naming;
mod source;

use std::collections::BTreeSet;
use std::path::Path;

use dtrain_comm::{Collective, CollectiveExt, Stage};
use tch::Tensor;

use crate::checkpoint::{TensorFile, TensorView};
use crate::error::TrainError;
use crate::method::BACKBONE;
use crate::model::parameters::of_teacher;
use crate::run::agree::agreed;
use crate::run::prepare::Prepared;
use crate::state::{copy_into, tensor_of};
use fit::{Fit, Wanted};
use naming::{Network, bare};

/// Names that are listed before the rest is counted.
const MAX_LISTED: usize = 3;
/// Parts of other programs' networks behind the embedding.
const CLASSIFIERS: [&str; 5] = ["fc", "head", "heads", "classifier", "linear"];

/// What of a file of weights went into a network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Matched {
    /// Tensors of the network that start from the file.
    pub matched: usize,
    /// Tensors of the network that the file lacks, or has in another shape: they start as in any new run.
    pub missing: Vec<String>,
    /// Tensors of the file that have no place in the network.
    pub unexpected: Vec<String>,
    /// Where in the file the backbone was, unless that is as this program writes it.
    pub place: String,
    /// What was made of tensors of another shape.
    pub made_to_fit: Vec<String>,
}

impl std::fmt::Display for Matched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} tensors match{}", self.matched, self.place)?;
        for made in &self.made_to_fit {
            write!(f, "; {made}")?;
        }
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
    let here = if collective.world().rank == 0 { source::read(path) } else { Ok(Vec::new()) };
    let bytes = collective.broadcast_bytes(agreed(collective, here)?, 0)?;
    let file = source::parse(bytes, path)?;
    let [_, height, width] = prepared.maker.shape();
    let grid = prepared.config.model.network.position_grid([height, width]);
    let wanted = Wanted {
        settings: &prepared.config.init,
        grid: grid.map(|[rows, columns]| [rows as i64, columns as i64]),
    };
    let targets: Vec<(&str, Tensor)> =
        prepared.engine.parameters().named().filter(|(name, _)| is_taken(name)).collect();
    let matched = copy_matching(&file, &targets, path, wanted)?;
    prepared.engine.copy_to_teacher()?;
    Ok(matched)
}

/// A memory queue holds rows of another run's encoder, and a teacher begins as a copy of the network that is trained.
fn is_taken(name: &str) -> bool {
    !name.starts_with("queue.") && of_teacher(name).is_none()
}

fn is_backbone(name: &str) -> bool {
    bare(name).is_some()
}

/// Counters came into files of weights later than the weights; nothing is computed from them.
fn counts(name: &str) -> bool {
    name.ends_with("num_batches_tracked")
}

/// Copies what fits.
///
/// # Errors
/// Nothing fits, or the backbone would be a mixture.
fn copy_matching(
    file: &TensorFile,
    targets: &[(&str, Tensor)],
    path: &Path,
    wanted: Wanted<'_>,
) -> Result<Matched, TrainError> {
    let in_file: Vec<&str> = file.tensors().map(|view| view.spec.name.as_str()).collect();
    let backbone: Vec<&str> =
        targets.iter().filter_map(|(name, _)| bare(name)).filter(|name| !counts(name)).collect();
    let word = wanted.settings.network.as_deref();
    let network = naming::choose(&in_file, &backbone, word, &path.display().to_string())?;
    let mut matched = Matched { place: network.described(), ..Matched::default() };
    let mut used: BTreeSet<&str> = BTreeSet::new();
    let mut pairs: Vec<(&Tensor, TensorView<'_>, Fit)> = Vec::new();
    for (name, target) in targets {
        let Some(view) = network.in_file(name).and_then(|name| file.tensor(&name).ok()) else {
            matched.missing.push((*name).to_owned());
            continue;
        };
        used.insert(view.spec.name.as_str());
        let shape: Vec<i64> = view.spec.shape.iter().map(|&n| n as i64).collect();
        match is_backbone(name) {
            true => {
                let fit = wanted.fit(name, &shape, &target.size()).map_err(|hint| {
                    let usual = "choose the `model` and `data` that the weights were trained with";
                    TrainError::config(
                        format!(
                            "`init_from={}`: `{name}` is {shape:?} there and {:?} here",
                            path.display(),
                            target.size()
                        ),
                        hint.unwrap_or_else(|| usual.to_owned()),
                    )
                })?;
                matched.made_to_fit.extend(fit.described().map(|made| format!("`{name}` {made}")));
                pairs.push((target, view, fit));
            }
            false if shape == target.size() => pairs.push((target, view, Fit::Same)),
            false => matched.missing.push((*name).to_owned()),
        }
    }
    // Beside the network of the file lie others, and what an optimizer remembers.
    let rest = |name: &str| name.strip_prefix(network.outer()).map(str::to_owned);
    let unused = in_file.iter().filter(|name| !used.contains(*name));
    matched.unexpected = unused
        .filter(|name| rest(name).is_some_and(|rest| is_taken(&rest)))
        .map(|name| (*name).to_owned())
        .collect();
    matched.matched = pairs.len();
    check(&matched, targets, path, &network, file.metadata().get(source::PASSED_OVER))?;
    for (target, view, fit) in pairs {
        copy_into(target, &fit.apply(tensor_of(view.spec, view.bytes)?)?)?;
    }
    Ok(matched)
}

/// # Errors
/// No tensor fits, the file lacks a part of the backbone, or has more of one than this network.
fn check(
    matched: &Matched,
    targets: &[(&str, Tensor)],
    path: &Path,
    network: &Network,
    passed_over: Option<&String>,
) -> Result<(), TrainError> {
    let path = path.display();
    if matched.matched == 0 {
        let has = match matched.unexpected.is_empty() {
            true => "no tensors under such names".to_owned(),
            false => listed(&matched.unexpected),
        };
        let names = "names are torchvision's or timm's, with anything in front";
        return Err(TrainError::config(
            format!("`init_from={path}` shares no tensor with this model; it has {has}"),
            match passed_over {
                Some(objects) => format!(
                    "it holds objects that are not read (`{objects}`): save the `state_dict()` of a model; {names}"
                ),
                None => names.to_owned(),
            },
        ));
    }
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
    let parts: BTreeSet<String> = targets.iter().filter_map(|(name, _)| Some(first(bare(name)?))).collect();
    let is_alone = network.prefix.ends_with(&format!("{BACKBONE}."));
    let more: Vec<String> = matched
        .unexpected
        .iter()
        .filter(|name| {
            name.strip_prefix(&network.prefix).map(first).is_some_and(|part| {
                parts.contains(&part) || (is_alone && !CLASSIFIERS.contains(&part.as_str()))
            })
        })
        .filter(|name| !counts(name))
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

pub(super) fn listed(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().take(MAX_LISTED).map(|name| format!("`{name}`")).collect();
    match names.len().saturating_sub(MAX_LISTED) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use dtrain_configs::schema::InitConfig;
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

    const PLAIN: InitConfig = InitConfig { network: None, sum_channels: false, resize_positions: false };

    fn copied(file: &TensorFile, targets: &[(&str, Tensor)]) -> Result<Matched, TrainError> {
        copy_matching(file, targets, Path::new("w"), Wanted { settings: &PLAIN, grid: None })
    }

    fn started(tensors: &[(&str, u64)]) -> Result<(Matched, Vec<f64>), String> {
        let network = network();
        let matched = copied(&file(tensors), &network).map_err(|e| e.to_string())?;
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
        copied(&file(&WHOLE[..1]), &network).unwrap_err();
        assert!(network.iter().all(|(_, tensor)| tensor.sum(Kind::Double).double_value(&[]) == 0.0));
    }

    #[test]
    fn the_backbone_of_another_program_is_taken_from_under_its_prefix() {
        let prefixed = |prefix: &str| WHOLE.map(|(name, len)| (name.replace("backbone.", prefix), len));
        let model = prefixed("state_dict.model.");
        let more = [("state_dict.model.fc.weight".to_owned(), 9), ("optimizer.state.0".to_owned(), 4)];
        let all: Vec<(&str, u64)> =
            model.iter().chain(&more).map(|(name, len)| (name.as_str(), *len)).collect();
        let (matched, sums) = started(&all).unwrap();
        assert_eq!(sums[..2], [4.0, 2.0]);
        assert_eq!(
            matched.to_string(),
            "2 tensors match under `state_dict.model.`; 2 start anew: `backbone.bn1.num_batches_tracked`, \
             `classifier.weight`; 1 are not used: `state_dict.model.fc.weight`"
        );
        // What was trained with the backbone lies beside it.
        let beside = prefixed("state_dict.backbone.");
        let more = [("state_dict.classifier.weight".to_owned(), 3)];
        let all: Vec<(&str, u64)> =
            beside.iter().chain(&more).map(|(name, len)| (name.as_str(), *len)).collect();
        assert_eq!(started(&all).unwrap().1[3], 3.0);
        let deeper = [model[0].clone(), model[1].clone(), ("state_dict.model.conv1.bias".to_owned(), 1)];
        let all: Vec<(&str, u64)> = deeper.iter().map(|(name, len)| (name.as_str(), *len)).collect();
        assert!(started(&all).unwrap_err().contains("1 tensors of a backbone that this model lacks"));
    }
}
