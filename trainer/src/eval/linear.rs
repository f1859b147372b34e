//! The linear probe: multinomial logistic regression on standardized, frozen embeddings, fitted by L-BFGS (Nocedal &
//! Wright, algorithm 7.5) on the whole training part. Full batches make it free of a learning rate and of an order of
//! samples; every rank holds its own rows, and loss and gradient are summed over ranks.

use std::collections::VecDeque;

use dtrain_comm::{Collective, CollectiveExt};
use dtrain_data::progress::Work;
use tch::{Kind, Tensor};

use super::answers::Answers;
use super::{Labelled, room};
use crate::error::TrainError;

/// Corrections that L-BFGS remembers.
const HISTORY: usize = 10;
/// Smallest relative decrease of the loss after which fitting ends.
const TOLERANCE: f64 = 1e-7;
/// Rows that are summed in f64 at once, so that embeddings are never there in f64 as a whole.
const SUMMED_AT_ONCE: i64 = 4096;

/// A fitted probe, the same on all ranks.
pub struct LinearProbe {
    /// `[num_classes, D]`.
    weight: Tensor,
    /// `[num_classes]`.
    bias: Tensor,
    mean: Tensor,
    scale: Tensor,
}

impl LinearProbe {
    /// Fits on this and all other ranks' rows in at most `iterations`.
    pub fn fit(
        collective: &dyn Collective,
        train: &Labelled,
        num_classes: usize,
        (iterations, weight_decay): (usize, f64),
    ) -> Result<Self, TrainError> {
        let dim = train.embeddings.size().get(1).copied().unwrap_or(0);
        let (mean, scale, total) = standardization(collective, &train.embeddings)?;
        let x = train.embeddings.f_sub(&mean).and_then(|x| x.f_mul(&scale)).map_err(room)?;
        let classes = Tensor::from_slice(&train.classes);
        let problem = Problem {
            collective,
            x,
            classes,
            total: total.max(1.0),
            num_classes: num_classes as i64,
            dim,
            weight_decay,
        };
        let theta = minimize(&problem, iterations)?;
        let (weight, bias) = problem.split(&theta);
        Ok(Self { weight, bias, mean, scale })
    }

    /// A probe on features as they are, from one flat vector of its weights and biases.
    pub(super) fn of_plain_features(
        theta: &Tensor,
        num_classes: i64,
        dim: i64,
        kind: Kind,
    ) -> Result<Self, TrainError> {
        let theta = theta.f_to_kind(kind)?;
        let weights = num_classes * dim;
        Ok(Self {
            weight: theta.f_narrow(0, 0, weights)?.f_view([num_classes, dim])?,
            bias: theta.f_narrow(0, weights, num_classes)?,
            mean: Tensor::f_zeros([dim], (kind, theta.device()))?,
            scale: Tensor::f_ones([dim], (kind, theta.device()))?,
        })
    }

    /// Its weights, then its biases.
    #[cfg(test)]
    pub(super) fn parameters(&self) -> Vec<f64> {
        let flat = Tensor::cat(&[self.weight.flatten(0, 1), self.bias.shallow_clone()], 0);
        Vec::try_from(flat.to_kind(Kind::Double)).unwrap()
    }

    /// Answers over all ranks.
    pub fn score(&self, collective: &dyn Collective, queries: &Labelled) -> Result<Answers, TrainError> {
        let x = queries.embeddings.f_sub(&self.mean).and_then(|x| x.f_mul(&self.scale)).map_err(room)?;
        let logits = x.matmul(&self.weight.transpose(0, 1)) + &self.bias;
        let num_classes = self.bias.size().first().copied().unwrap_or(0);
        let mut answers = [Answers::none(num_classes as usize)];
        let [own] = &mut answers;
        if !queries.classes.is_empty() {
            own.add(&Vec::<i64>::try_from(logits.argmax(1, false))?, &queries.classes);
        }
        Answers::over_ranks(collective, &mut answers)?;
        let [answers] = answers;
        Ok(answers)
    }
}

/// Mean, 1 / standard deviation (1 where a feature is constant) and number of rows over all ranks.
fn standardization(collective: &dyn Collective, x: &Tensor) -> Result<(Tensor, Tensor, f64), TrainError> {
    let rows = x.size().first().copied().unwrap_or(0);
    let dim = x.size().get(1).copied().unwrap_or(0) as usize;
    let zeros = || Tensor::zeros([dim as i64], (Kind::Double, x.device()));
    let (mut sum, mut sum_of_squares) = (zeros(), zeros());
    for begin in (0..rows).step_by(SUMMED_AT_ONCE as usize) {
        let wide =
            x.f_narrow(0, begin, SUMMED_AT_ONCE.min(rows - begin))?.f_to_kind(Kind::Double).map_err(room)?;
        sum += wide.sum_dim_intlist([0i64].as_slice(), false, Kind::Double);
        sum_of_squares += wide.square().sum_dim_intlist([0i64].as_slice(), false, Kind::Double);
    }
    let mut sums = vec![rows as f64];
    sums.extend(Vec::<f64>::try_from(sum)?);
    sums.extend(Vec::<f64>::try_from(sum_of_squares)?);
    collective.sum_f64(&mut sums)?;
    let total = sums.first().copied().unwrap_or(0.0);
    let n = total.max(1.0);
    let mean: Vec<f64> = sums.iter().skip(1).take(dim).map(|s| s / n).collect();
    let scale: Vec<f64> = sums
        .iter()
        .skip(1 + dim)
        .zip(&mean)
        .map(|(s, m)| {
            let std = (s / n - m * m).max(0.0).sqrt();
            if std > 1e-8 { 1.0 / std } else { 1.0 }
        })
        .collect();
    let tensor = |v: &[f64]| Tensor::from_slice(v).to_kind(x.kind());
    Ok((tensor(&mean), tensor(&scale), total))
}

/// Regularized mean cross-entropy as a function of one flat vector `[num_classes * dim + num_classes]`.
pub(super) struct Problem<'a> {
    pub(super) collective: &'a dyn Collective,
    pub(super) x: Tensor,
    pub(super) classes: Tensor,
    pub(super) total: f64,
    pub(super) num_classes: i64,
    pub(super) dim: i64,
    pub(super) weight_decay: f64,
}

impl Problem<'_> {
    fn split(&self, theta: &Tensor) -> (Tensor, Tensor) {
        let weights = self.num_classes * self.dim;
        let theta = theta.to_kind(self.x.kind());
        (
            theta.narrow(0, 0, weights).view([self.num_classes, self.dim]),
            theta.narrow(0, weights, self.num_classes),
        )
    }

    /// Loss and gradient in f64, equal on all ranks.
    pub(super) fn evaluate(&self, theta: &Tensor) -> Result<(f64, Tensor), TrainError> {
        let (weight, bias) = self.split(theta);
        let log_probability = (self.x.matmul(&weight.transpose(0, 1)) + bias).log_softmax(1, self.x.kind());
        let picked = log_probability.gather(1, &self.classes.unsqueeze(1), false);
        let loss = -picked.sum(Kind::Double).double_value(&[]);
        let ones = Tensor::ones_like(&picked);
        let residual = log_probability.exp().scatter_add(1, &self.classes.unsqueeze(1), &-ones);
        let gradient_weight = residual.transpose(0, 1).matmul(&self.x).flatten(0, 1);
        let gradient_bias = residual.sum_dim_intlist([0i64].as_slice(), false, residual.kind());
        let mut sums = vec![loss];
        sums.extend(Vec::<f64>::try_from(
            Tensor::cat(&[gradient_weight, gradient_bias], 0).to_kind(Kind::Double),
        )?);
        self.collective.sum_f64(&mut sums)?;
        let gradient = Tensor::from_slice(sums.get(1..).unwrap_or_default()) / self.total;
        let weights = self.num_classes * self.dim;
        let decayed = theta.narrow(0, 0, weights);
        let mut of_weights = gradient.narrow(0, 0, weights);
        of_weights += &decayed * self.weight_decay;
        let penalty = 0.5 * self.weight_decay * decayed.square().sum(Kind::Double).double_value(&[]);
        Ok((sums.first().copied().unwrap_or(0.0) / self.total + penalty, gradient))
    }
}

fn dot(a: &Tensor, b: &Tensor) -> f64 {
    a.dot(b).double_value(&[])
}

/// L-BFGS with backtracking (Armijo) from zero.
fn minimize(problem: &Problem<'_>, iterations: usize) -> Result<Tensor, TrainError> {
    let size = problem.num_classes * (problem.dim + 1);
    let mut theta = Tensor::zeros([size], (Kind::Double, tch::Device::Cpu));
    let (mut loss, mut gradient) = problem.evaluate(&theta)?;
    let mut pairs: VecDeque<(Tensor, Tensor, f64)> = VecDeque::new();
    let work = Work::begin("fitting a linear probe", "iterations", iterations as u64);
    for _ in 0..iterations {
        work.add(1);
        let direction = -two_loop(&gradient, &pairs);
        let slope = dot(&gradient, &direction);
        if slope > -1e-14 {
            break;
        }
        // The first direction is the bare gradient: its length says nothing, so start with a unit step.
        let mut step =
            if pairs.is_empty() { (1.0 / gradient.norm().double_value(&[])).min(1.0) } else { 1.0 };
        let mut accepted = None;
        for _ in 0..20 {
            let candidate = &theta + &direction * step;
            let (value, slope_there) = problem.evaluate(&candidate)?;
            if value <= loss + 1e-4 * step * slope {
                accepted = Some((candidate, value, slope_there));
                break;
            }
            step *= 0.5;
        }
        let Some((candidate, value, next_gradient)) = accepted else { break };
        let s = &candidate - &theta;
        let y = &next_gradient - &gradient;
        let curvature = dot(&s, &y);
        if curvature > 1e-12 {
            pairs.push_back((s, y, 1.0 / curvature));
            if pairs.len() > HISTORY {
                pairs.pop_front();
            }
        }
        let decrease = loss - value;
        (theta, loss, gradient) = (candidate, value, next_gradient);
        if decrease <= TOLERANCE * loss.abs().max(1e-12) {
            break;
        }
    }
    Ok(theta)
}

/// The inverse Hessian's approximation times the gradient.
fn two_loop(gradient: &Tensor, pairs: &VecDeque<(Tensor, Tensor, f64)>) -> Tensor {
    let mut q = gradient.copy();
    let mut alphas = Vec::with_capacity(pairs.len());
    for (s, y, rho) in pairs.iter().rev() {
        let alpha = rho * dot(s, &q);
        q -= y * alpha;
        alphas.push(alpha);
    }
    if let Some((s, y, _)) = pairs.back() {
        q *= dot(s, y) / dot(y, y);
    }
    for ((s, y, rho), alpha) in pairs.iter().zip(alphas.into_iter().rev()) {
        let beta = rho * dot(y, &q);
        q += s * (alpha - beta);
    }
    q
}

#[cfg(test)]
mod tests {
    use super::*;
    use dtrain_comm::Single;

    /// Three Gaussian blobs.
    fn blobs(n: i64, seed: i64) -> Labelled {
        tch::manual_seed(seed);
        let classes: Vec<i64> = (0..n).map(|i| i % 3).collect();
        let centres = Tensor::from_slice2(&[[3.0f32, 0.0, 5.0], [-3.0, 1.0, 5.0], [0.0, -4.0, 5.0]]);
        let noise = Tensor::randn([n, 3], (Kind::Float, tch::Device::Cpu));
        let embeddings = centres.index_select(0, &Tensor::from_slice(&classes)) + noise;
        Labelled { embeddings, classes, ids: (0..n).collect() }
    }

    #[test]
    fn the_gradient_vanishes_at_the_fit_and_blobs_are_told_apart() {
        let train = blobs(150, 1);
        let single = Single::new();
        let probe = LinearProbe::fit(&single, &train, 3, (200, 1e-3)).unwrap();
        let problem = Problem {
            collective: &single,
            x: (&train.embeddings - &probe.mean) * &probe.scale,
            classes: Tensor::from_slice(&train.classes),
            total: 150.0,
            num_classes: 3,
            dim: 3,
            weight_decay: 1e-3,
        };
        let theta = Tensor::from_slice(&probe.parameters());
        let (_, gradient) = problem.evaluate(&theta).unwrap();
        assert!(gradient.norm().double_value(&[]) < 1e-3, "{gradient:?}");
        assert!(probe.score(&single, &blobs(600, 2)).unwrap().hits().accuracy() > 0.97);
    }

    #[test]
    fn the_gradient_is_the_derivative_of_the_loss() {
        let single = Single::new();
        let train = blobs(30, 5);
        let problem = Problem {
            collective: &single,
            x: train.embeddings.to_kind(Kind::Double),
            classes: Tensor::from_slice(&train.classes),
            total: 30.0,
            num_classes: 3,
            dim: 3,
            weight_decay: 0.1,
        };
        let theta = Tensor::randn([12], (Kind::Double, tch::Device::Cpu));
        let (_, gradient) = problem.evaluate(&theta).unwrap();
        for i in 0..12i64 {
            let mut nudge = Tensor::zeros([12], (Kind::Double, tch::Device::Cpu));
            let _ = nudge.get(i).fill_(1e-6);
            let (up, _) = problem.evaluate(&(&theta + &nudge)).unwrap();
            let (down, _) = problem.evaluate(&(&theta - &nudge)).unwrap();
            nudge = gradient.get(i);
            assert!(((up - down) / 2e-6 - nudge.double_value(&[])).abs() < 1e-6);
        }
    }
}
