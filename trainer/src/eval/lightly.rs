//! The linear probe as lightly's benchmarks fit it, to stand beside their published figures:
//! `lightly/utils/benchmarking/linear_classifier.py` and `benchmarks/*/linear_eval.py`. SGD with momentum 0.9 and without weight
//! decay on batches of 256, learning rate 0.1 x batch / 256 on half a cosine down to a thousandth, 90 epochs; features are
//! not standardized, and the last batch of an epoch is dropped if it is smaller.
//!
//! Departures: lightly draws a random resized crop and a flip of each image in each epoch, where embeddings have been computed
//! once, of the centred crop without augmentation, so that the probe sees fewer different samples and may overfit sooner;
//! weights start at 0 and not at `nn.Linear`'s uniform draw, which a convex problem forgets; lightly reports the largest
//! accuracy of all epochs on the validation part, here the last epoch counts; of fewer than 256 samples each epoch is one
//! batch.

use std::collections::HashMap;

use dtrain_comm::{Collective, CollectiveExt};
use dtrain_data::evaluation_batches;
use dtrain_data::progress::Work;
use tch::{Kind, Tensor};

use super::Labelled;
use super::linear::{LinearProbe, Problem};
use crate::engine::gather_i64;
use crate::error::TrainError;

/// Passes over the training part.
const EPOCHS: u64 = 90;
/// Samples of a batch over all ranks.
const BATCH: usize = 256;
/// Learning rate of a batch of [`BATCH`] samples.
const LEARNING_RATE: f64 = 0.1;
const MOMENTUM: f64 = 0.9;
/// Share of the learning rate that the cosine ends at.
const END: f64 = 0.001;

/// lightly's `cosine_schedule`: factor on the learning rate at `step` of `steps`.
fn factor(step: u64, steps: u64) -> f64 {
    if step + 1 >= steps {
        return END;
    }
    END + (1.0 - END) * ((std::f64::consts::PI * step as f64 / (steps - 1) as f64).cos() + 1.0) / 2.0
}

/// Fits on this and all other ranks' rows; `seed` decides the order of samples.
///
/// # Errors
/// When memory runs out or the ranks cannot talk.
pub(super) fn fit(
    collective: &dyn Collective,
    train: &Labelled,
    num_classes: usize,
    seed: u64,
) -> Result<LinearProbe, TrainError> {
    let dim = train.embeddings.size().get(1).copied().unwrap_or(0);
    let per_rank = collective.all_gather_usize(train.ids.len())?;
    let mut ids: Vec<u32> = gather_i64(collective, &train.ids, &per_rank)?
        .into_iter()
        .map(u32::try_from)
        .collect::<Result<_, _>>()
        .map_err(TrainError::internal)?;
    ids.sort_unstable();
    let row_of: HashMap<i64, i64> = train.ids.iter().copied().zip(0i64..).collect();
    let batch = BATCH.min(ids.len()).max(1);
    let steps = EPOCHS * (ids.len() / batch) as u64;
    let lr = LEARNING_RATE * batch as f64 / BATCH as f64;
    let size = num_classes as i64 * (dim + 1);
    let zeros = || Tensor::zeros([size], (Kind::Double, tch::Device::Cpu));
    let (mut theta, mut velocity) = (zeros(), zeros());
    let work = Work::begin("fitting lightly's linear probe", "steps", steps);
    let mut step = 0;
    for epoch in 0..EPOCHS {
        // One batch of everything is an order of everything.
        let order = evaluation_batches(&ids, ids.len(), seed.wrapping_add(epoch)).concat();
        for of_all in order.chunks_exact(batch) {
            let (rows, classes): (Vec<i64>, Vec<i64>) = of_all
                .iter()
                .filter_map(|id| {
                    let row = *row_of.get(&i64::from(*id))?;
                    Some((row, *train.classes.get(row as usize)?))
                })
                .unzip();
            let problem = Problem {
                collective,
                x: train.embeddings.f_index_select(0, &Tensor::from_slice(&rows))?,
                classes: Tensor::from_slice(&classes),
                total: batch as f64,
                num_classes: num_classes as i64,
                dim,
                weight_decay: 0.0,
            };
            let (_, gradient) = problem.evaluate(&theta)?;
            velocity = velocity * MOMENTUM + gradient;
            theta -= &velocity * (lr * factor(step, steps));
            step += 1;
            work.add(1);
        }
    }
    LinearProbe::of_plain_features(&theta, num_classes as i64, dim, train.embeddings.kind())
}

#[cfg(test)]
mod tests {
    use super::*;
    use dtrain_comm::Single;

    #[test]
    fn the_learning_rate_falls_along_half_a_cosine_to_a_thousandth() {
        assert_eq!(factor(0, 101), 1.0);
        assert!((factor(50, 101) - 0.5005).abs() < 1e-12);
        assert_eq!((factor(100, 101), factor(0, 1)), (END, END));
    }

    /// Two blobs on a line, by the update written out for each weight.
    #[test]
    fn steps_are_those_of_sgd_with_momentum() {
        let values = [2.0f32, -1.0, 3.0, -2.5];
        let classes = [0i64, 1, 0, 1];
        let train = Labelled {
            embeddings: Tensor::from_slice(&values).view([4, 1]),
            classes: classes.to_vec(),
            ids: (0..4).collect(),
        };
        let probe = fit(&Single::new(), &train, 2, 7).unwrap();
        // All four are one batch, whatever their order; weights of both classes, then their biases.
        let (mut theta, mut velocity) = ([0.0f64; 4], [0.0f64; 4]);
        for step in 0..EPOCHS {
            let mut gradient = [0.0; 4];
            for (x, class) in values.iter().zip(classes) {
                let x = f64::from(*x);
                let odds = [(theta[0] * x + theta[2]).exp(), (theta[1] * x + theta[3]).exp()];
                let residual =
                    |k: usize| odds[k] / (odds[0] + odds[1]) - f64::from(u8::from(class == k as i64));
                let of_sample = [residual(0) * x, residual(1) * x, residual(0), residual(1)];
                gradient.iter_mut().zip(of_sample).for_each(|(sum, own)| *sum += own / 4.0);
            }
            for ((weight, velocity), gradient) in theta.iter_mut().zip(&mut velocity).zip(gradient) {
                *velocity = 0.9 * *velocity + gradient;
                *weight -= 0.1 * 4.0 / 256.0 * factor(step, EPOCHS) * *velocity;
            }
        }
        let fitted = probe.parameters();
        for (fitted, expected) in fitted.iter().zip(theta) {
            assert!((fitted - expected).abs() < 1e-5, "{fitted} is not {expected}");
        }
        assert_eq!(probe.score(&Single::new(), &train).unwrap().hits().accuracy(), 1.0);
    }
}
