//! What is allowed, and whether a way keeps to it.

use super::differences::Differences;
use super::groups::{Judgement, Member};
use super::report::{Comparison, Measured, Verdict, WorstTensor};
use super::ways::Way;
use crate::engine::Arithmetic;

/// Largest relative differences that are allowed; see the [module](crate::verify).
pub mod tolerance {
    /// f64: loss, gradient and weights, each as one vector.
    pub const F64: f64 = 1e-10;
    /// f64: each weight tensor and running statistic by itself.
    pub const F64_TENSOR: f64 = 1e-8;
    /// fp32: loss.
    pub const F32_LOSS: f64 = 1e-6;
    /// fp32: gradient as one vector.
    pub const F32_GRADIENT: f64 = 1e-5;
    /// fp32: gradient of each tensor.
    pub const F32_TENSOR: f64 = 1e-4;
    /// In fp32 so many times the noise on one rank is allowed where that is more.
    pub const NOISE_FACTOR: f64 = 10.0;
    /// bf16: loss, against fp32.
    pub const BF16_LOSS: f64 = 1e-2;
    /// A gradient below this part of the whole gradient's norm, in f64, is rounding: it is zero by construction.
    pub const ZERO_GRADIENT: f64 = 1e-13;
}

/// Judges one comparison after the other.
#[derive(Debug, Clone)]
pub(super) struct Judge {
    /// Names of parameters, then of statistics.
    names: Vec<String>,
    /// Parameters whose gradient is zero by construction.
    zero: Vec<bool>,
    /// The largest differences that are noise so far.
    noise: Option<Differences>,
}

impl Judge {
    pub(super) fn new(names: Vec<String>, zero: Vec<bool>) -> Self {
        Self { names, zero, noise: None }
    }

    /// The same, of which no noise is known yet.
    pub(super) fn without_noise(&self) -> Self {
        Self { noise: None, ..self.clone() }
    }

    /// One that knows the largest noise that any of `judges` knows; `None` without any.
    pub(super) fn of_largest_noise<'a>(judges: impl IntoIterator<Item = &'a Self>) -> Option<Self> {
        let mut judges = judges.into_iter();
        let mut largest = judges.next()?.clone();
        for noise in judges.filter_map(|judge| judge.noise.as_ref()) {
            largest.learn_noise(noise);
        }
        Some(largest)
    }

    /// Names of the parameters that are left out by tensor.
    pub(super) fn zero_gradients(&self) -> Vec<String> {
        self.names.iter().zip(&self.zero).filter(|(_, zero)| **zero).map(|(name, _)| name.clone()).collect()
    }

    /// Judges a way.
    pub(super) fn judge(&mut self, member: &Member, differences: &Differences) -> Comparison {
        let way = &member.way;
        let strict =
            |difference, tolerance| Measured { difference, tolerance: Some(tolerance), from_noise: false };
        let mut comparison = Comparison {
            precision: way.arithmetic.precision(),
            way: member.name.clone(),
            ranks: way.world_size,
            steps: way.num_steps,
            loss: Measured::only(differences.loss),
            gradient: gradient_of(way, differences),
            weights: None,
            worst: None,
            ranks_agree: !differences.parted,
            verdict: Verdict::Reported,
        };
        match member.judgement {
            Judgement::Double => {
                comparison.loss = strict(differences.loss, tolerance::F64);
                comparison.gradient =
                    comparison.gradient.map(|measured| strict(measured.difference, tolerance::F64));
                comparison.weights = Some(strict(differences.weights, tolerance::F64));
                comparison.worst = self.worst(&differences.weights_of, |_| (tolerance::F64_TENSOR, false));
            }
            Judgement::Single => {
                let noise = self.noise.as_ref();
                let within = |difference, tolerance, noise: Option<f64>| {
                    let (allowed, from_noise) = at_least(tolerance, noise);
                    Measured { difference, tolerance: Some(allowed), from_noise }
                };
                comparison.loss = within(differences.loss, tolerance::F32_LOSS, noise.map(|n| n.loss));
                comparison.gradient = comparison.gradient.map(|measured| {
                    within(measured.difference, tolerance::F32_GRADIENT, noise.map(|n| n.gradient))
                });
                // Jumps of the noise hit one tensor or another, so the largest of all counts.
                let of_tensors = noise.map(|n| self.largest(&n.gradient_of));
                let allowed = at_least(tolerance::F32_TENSOR, of_tensors);
                comparison.worst = self.worst(&differences.gradient_of, |_| allowed);
            }
            Judgement::Half => {
                comparison.loss = strict(differences.loss, tolerance::BF16_LOSS);
                comparison.gradient = None;
            }
            Judgement::Noise => {
                comparison.worst = self.worst(&differences.gradient_of, |_| (tolerance::F32_TENSOR, false));
                self.learn_noise(differences);
            }
            Judgement::Reported => {
                comparison.weights = Some(Measured::only(differences.weights));
                comparison.worst = self.worst(&differences.weights_of, |_| (tolerance::F64_TENSOR, false));
            }
        }
        if matches!(member.judgement, Judgement::Noise | Judgement::Reported) {
            if let Some(worst) = &mut comparison.worst {
                worst.measured = Measured::only(worst.measured.difference);
            }
            return comparison;
        }
        comparison.verdict = match comparison.keeps_to_tolerances() && comparison.ranks_agree {
            true => Verdict::Within,
            false => Verdict::Beyond,
        };
        comparison
    }

    /// The tensor that comes closest to what is allowed for it, or goes furthest beyond; `allowed` gives the tolerance of
    /// tensor `index` and whether it follows the noise.
    fn worst(&self, of_each: &[f64], allowed: impl Fn(usize) -> (f64, bool)) -> Option<WorstTensor> {
        let judged = of_each.iter().zip(&self.names).enumerate();
        let judged = judged.filter(|(index, _)| !self.zero.get(*index).copied().unwrap_or(false));
        let measured = judged.map(|(index, (&difference, name))| {
            let (tolerance, from_noise) = allowed(index);
            (name, Measured { difference, tolerance: Some(tolerance), from_noise })
        });
        let worst = measured.max_by(|(_, a), (_, b)| a.exhausted().total_cmp(&b.exhausted()));
        worst.map(|(name, measured)| WorstTensor { name: name.clone(), measured })
    }

    /// The largest difference of a tensor that is judged.
    fn largest(&self, of_each: &[f64]) -> f64 {
        let judged = of_each.iter().zip(&self.zero).filter(|(_, zero)| !**zero);
        judged.map(|(&difference, _)| difference).fold(0.0, f64::max)
    }

    fn learn_noise(&mut self, differences: &Differences) {
        let noise = self.noise.get_or_insert_with(|| Differences::none(differences.gradient_of.len()));
        noise.loss = noise.loss.max(differences.loss);
        noise.gradient = noise.gradient.max(differences.gradient);
        for (noise, &other) in noise.gradient_of.iter_mut().zip(&differences.gradient_of) {
            *noise = noise.max(other);
        }
    }
}

/// With a sharded optimizer each rank has the sums of its part only.
fn gradient_of(way: &Way, differences: &Differences) -> Option<Measured> {
    let whole = !(way.shard_optimizer && way.world_size > 1) && way.arithmetic != Arithmetic::Bf16;
    whole.then_some(Measured::only(differences.gradient))
}

/// A tolerance, raised to a multiple of the noise where that is finite and more.
fn at_least(tolerance: f64, noise: Option<f64>) -> (f64, bool) {
    match noise.map(|noise| tolerance::NOISE_FACTOR * noise).filter(|noise| noise.is_finite()) {
        Some(noise) if noise > tolerance => (noise, true),
        _ => (tolerance, false),
    }
}

#[cfg(test)]
mod tests {
    use super::super::groups::Facts;
    use super::*;

    /// Parameters `weight`, `bias` (zero by construction) and a statistic.
    fn judge() -> Judge {
        let names = ["weight", "bias", "running_mean"].map(str::to_owned).to_vec();
        Judge::new(names, vec![false, true])
    }

    fn equal() -> Differences {
        Differences { weights_of: vec![0.0; 3], ..Differences::none(2) }
    }

    fn members(judgement: Judgement) -> Vec<Member> {
        let facts = Facts {
            worlds: vec![1, 2],
            batch: 4,
            num_steps: 2,
            pair_rows: None,
            queue_rows: 0,
            batch_norm: true,
        };
        let groups = facts.groups().into_iter().flat_map(|group| group.members);
        groups.filter(|member| member.judgement == judgement).collect()
    }

    fn judged(judge: &mut Judge, judgement: Judgement, change: impl Fn(&mut Differences)) -> Comparison {
        let mut differences = equal();
        change(&mut differences);
        judge.judge(&members(judgement)[0], &differences)
    }

    #[test]
    fn f64_is_judged_by_loss_gradient_weights_and_each_tensor() {
        let verdict =
            |change: &dyn Fn(&mut Differences)| judged(&mut judge(), Judgement::Double, change).verdict;
        assert_eq!(verdict(&|_| {}), Verdict::Within);
        assert_eq!(verdict(&|d| (d.loss, d.gradient, d.weights) = (9e-11, 9e-11, 9e-11)), Verdict::Within);
        assert_eq!(verdict(&|d| d.weights_of = vec![9e-9, f64::INFINITY, 9e-9]), Verdict::Within);
        for change in [
            (|d| d.loss = 1.1e-10) as fn(&mut Differences),
            |d| d.gradient = 1.1e-10,
            |d| d.weights = 1.1e-10,
            |d| d.weights_of[0] = 1.1e-8,
            |d| d.weights_of[2] = 1.1e-8,
            |d| d.loss = f64::INFINITY,
            |d| d.gradient = f64::NAN,
            |d| d.parted = true,
        ] {
            assert_eq!(verdict(&change), Verdict::Beyond);
        }
        let worst = judged(&mut judge(), Judgement::Double, |d| d.weights_of = vec![1e-9, 1.0, 2e-9]).worst;
        let worst = worst.unwrap();
        assert_eq!((worst.name.as_str(), worst.measured.difference), ("running_mean", 2e-9));
    }

    #[test]
    fn the_gradient_of_a_shard_is_not_judged() {
        let sharded = members(Judgement::Double).into_iter().find(|m| m.way.shard_optimizer).unwrap();
        let differences = Differences { gradient: 1.0, ..equal() };
        let comparison = judge().judge(&sharded, &differences);
        assert_eq!((comparison.verdict, comparison.gradient), (Verdict::Within, None));
    }

    #[test]
    fn fp32_is_judged_by_its_tolerances_or_the_noise() {
        let mut judge = judge();
        let verdict = |judge: &mut Judge, change: &dyn Fn(&mut Differences)| {
            judged(judge, Judgement::Single, change).verdict
        };
        assert_eq!(verdict(&mut judge, &|d| (d.loss, d.gradient) = (9e-7, 9e-6)), Verdict::Within);
        assert_eq!(verdict(&mut judge, &|d| d.gradient_of = vec![9e-5, 1.0]), Verdict::Within);
        for change in [
            (|d| d.loss = 1.1e-6) as fn(&mut Differences),
            |d| d.gradient = 1.1e-5,
            |d| d.gradient_of[0] = 1.1e-4,
        ] {
            assert_eq!(verdict(&mut judge, &change), Verdict::Beyond);
        }

        let noise = judged(&mut judge, Judgement::Noise, |d| {
            (d.loss, d.gradient, d.gradient_of) = (1e-8, 2e-5, vec![5e-5, 1.0]);
        });
        assert_eq!(noise.verdict, Verdict::Reported);
        let within =
            judged(&mut judge, Judgement::Single, |d| (d.gradient, d.gradient_of[0]) = (1.9e-4, 4.9e-4));
        assert_eq!(within.verdict, Verdict::Within);
        assert!(within.gradient.unwrap().from_noise && !within.loss.from_noise);
        assert!(within.worst.unwrap().measured.from_noise);
        assert_eq!(verdict(&mut judge, &|d| d.gradient = 2.1e-4), Verdict::Beyond);
        assert_eq!(verdict(&mut judge, &|d| d.gradient_of[0] = 5.1e-4), Verdict::Beyond);
        assert_eq!(verdict(&mut judge, &|d| d.loss = 1.1e-6), Verdict::Beyond);

        // Noise without bound excuses nothing.
        let _ = judged(&mut judge, Judgement::Noise, |d| d.loss = f64::INFINITY);
        assert_eq!(verdict(&mut judge, &|d| d.loss = 1.1e-6), Verdict::Beyond);
    }

    #[test]
    fn bf16_is_judged_by_its_loss_alone() {
        let verdict =
            |loss| judged(&mut judge(), Judgement::Half, |d| (d.loss, d.gradient) = (loss, 1.0)).verdict;
        assert_eq!((verdict(9e-3), verdict(1.1e-2)), (Verdict::Within, Verdict::Beyond));
    }

    #[test]
    fn fp32_weights_are_reported() {
        let comparison = judged(&mut judge(), Judgement::Reported, |d| d.weights = 0.5);
        assert_eq!(comparison.verdict, Verdict::Reported);
        assert_eq!(comparison.weights, Some(Measured::only(0.5)));
    }
}
