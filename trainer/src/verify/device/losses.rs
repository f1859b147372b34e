//! The losses: contrastive with and without exclusions and queue, in tiles that divide the batch and in tiles that do not,
//! and cross-entropy with and without smoothing. The contrastive loss computes in 32 bits in every precision.

use dtrain_data::rng::{Purpose, stream};
use tch::{Kind, Tensor};

use super::Check;
use super::compare::Compared;
use super::setting::{SEED, Setting};
use crate::error::TrainError;
use crate::loss::contrastive::{Nearness, PairKeys, PairLoss, PairProblem, Queue, QueueRules};
use crate::loss::cross_entropy::{NO_LABEL, cross_entropy, num_labelled};

/// Samples of a batch; each has two rows.
const SAMPLES: i64 = 41;
/// Width of a row.
const DIM: i64 = 48;
const CLASSES: i64 = 7;
const TEMPERATURE: f64 = 0.1;
/// Rows of the queue: less than two batches, so that it wraps around.
const QUEUED: usize = 130;
/// How far apart rows of a recording are near each other.
const WITHIN: i64 = 2;

/// What decides about pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pairs {
    /// The views of a sample are its positives.
    Views,
    /// The views of a class are its positives.
    Classes,
    /// The same, and the views of a session, and what is near in a recording.
    Union,
}

/// All checks.
pub(super) fn checks() -> Vec<Check<'static>> {
    let tiles = [(None, "one tile"), (Some(7), "tiles of 7"), (Some(64), "tiles of 64")];
    let mut checks = Vec::new();
    for (pairs, name) in
        [(Pairs::Views, "NT-Xent"), (Pairs::Classes, "SupCon"), (Pairs::Union, "of several rules")]
    {
        for (tile, tiling) in tiles {
            for (excluding, queued, more) in [
                (false, false, ""),
                (true, false, ", exclusions"),
                (false, true, ", queue"),
                (true, true, ", exclusions, queue"),
            ] {
                // Everything once in plain form, and all of it together in every tiling.
                if tile.is_none() || excluding == queued {
                    checks.push(Check::new(format!("loss {name}, {tiling}{more}"), move |setting| {
                        contrastive(setting, pairs, tile, excluding, queued)
                    }));
                }
            }
        }
    }
    for (smoothing, more) in [(0.0, ""), (0.1, ", smoothing")] {
        checks.push(Check::new(format!("loss cross-entropy{more}"), move |setting| {
            classes(setting, smoothing)
        }));
    }
    checks
}

fn contrastive(
    setting: &Setting,
    pairs: Pairs,
    tile: Option<usize>,
    excluding: bool,
    queued: bool,
) -> Result<Compared, TrainError> {
    let of_several = pairs == Pairs::Union;
    let rules = QueueRules {
        alike: if of_several { vec!["session"] } else { Vec::new() },
        within: of_several.then_some(WITHIN),
        excluded: if excluding { vec!["recording"] } else { Vec::new() },
    };
    let mut parameters = setting.parameters();
    let mut queue = queued.then(|| Queue::new(QUEUED, DIM as usize, &rules, &mut parameters));
    if let Some(queue) = &mut queue {
        for batch in [1, 2] {
            queue.push(&unit_rows(setting, batch), &keys(batch, pairs, excluding));
        }
    }
    let z = unit_rows(setting, 0);
    let settings = PairLoss { temperature: TEMPERATURE, tile };
    let solved = PairProblem::new(&z, &keys(0, pairs, excluding), queue.as_ref(), &settings).whole();
    let mut compared = Compared::default();
    compared.output("loss", &solved.loss);
    compared.gradient("dz", &solved.gradient);
    Ok(compared)
}

/// `[2 * SAMPLES, DIM]`, normalized; views of a sample are near each other.
fn unit_rows(setting: &Setting, batch: u32) -> Tensor {
    let sample = setting.normal(100 + batch, &[SAMPLES, DIM]);
    let views = setting.normal(200 + batch, &[2 * SAMPLES, DIM]);
    let rows = sample.repeat([2, 1]) + views * 0.7;
    &rows / rows.norm_scalaropt_dim(2, [1], true)
}

/// Keys of a batch. Some samples have no class, some no recording; batches share some samples.
fn keys(batch: u32, pairs: Pairs, excluding: bool) -> PairKeys {
    let first = i64::from(batch) * (SAMPLES - 10);
    let samples: Vec<i64> = (first..first + SAMPLES).collect();
    let groups: Vec<i64> = samples
        .iter()
        .zip(0..)
        .map(|(sample, position)| match pairs {
            Pairs::Classes | Pairs::Union if sample % 9 != 5 => sample * sample % CLASSES,
            Pairs::Views | Pairs::Classes | Pairs::Union => -1 - position,
        })
        .collect();
    let recordings: Vec<i64> =
        samples.iter().map(|sample| if sample % 11 == 3 { -1 } else { sample / 3 }).collect();
    let column = |key: &dyn Fn(i64) -> i64| -> Vec<i64> {
        samples.iter().map(|&sample| key(sample)).collect::<Vec<_>>().repeat(2)
    };
    let of_several = pairs == Pairs::Union;
    PairKeys {
        groups: groups.repeat(2),
        samples: samples.repeat(2),
        alike: if of_several { vec![column(&|sample| sample / 2 % 9 - 1)] } else { Vec::new() },
        near: of_several.then(|| Nearness {
            recordings: column(&|sample| sample % 4 - 1),
            begins: column(&|sample| sample % 13),
            within: WITHIN,
        }),
        excluded: if excluding { vec![recordings.repeat(2)] } else { Vec::new() },
    }
}

fn classes(setting: &Setting, smoothing: f64) -> Result<Compared, TrainError> {
    let logits = setting.normal(300, &[SAMPLES, CLASSES]) * 3.0;
    let logits = match setting.arithmetic.reduced() {
        Some(kind) => logits.to_kind(kind),
        None => logits,
    };
    let logits = logits.detach().set_requires_grad(true);
    let mut labels = stream(SEED, 0, 301, 0, Purpose::Noise);
    let labels: Vec<i64> = (0..SAMPLES)
        .map(|i| if i % 6 == 2 { NO_LABEL } else { labels.up_to(CLASSES as usize - 1) as i64 })
        .collect();
    let targets = Tensor::from_slice(&labels).to_device(setting.device);
    let loss = cross_entropy(&logits, &targets, num_labelled(&labels), smoothing);
    loss.to_kind(Kind::Double).f_backward()?;
    let mut compared = Compared::default();
    compared.output("loss", &loss);
    compared.gradient("logits", &logits.grad());
    Ok(compared)
}
