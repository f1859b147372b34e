//! How the learning rate moves.

use serde::{Deserialize, Serialize};

use super::scheduled::{Curve, Position, ScheduleKind, Shape, Span};

/// The learning rate over the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScheduleConfig {
    /// Shape after the warm-up.
    pub kind: ScheduleKind,
    /// Epochs of linear warm-up from 0 (may be a fraction).
    pub warmup_epochs: f64,
    /// `cosine` and `linear`: learning rate at the end as a fraction of the peak.
    pub final_lr_fraction: f64,
    /// `step`: epochs between two steps.
    pub step_epochs: u64,
    /// `step`: factor of a step.
    pub gamma: f64,
    /// How the learning rate follows `trainer.batch_size`, against `reference_batch`.
    pub lr_scaling: LrScaling,
    /// Samples of the batch for which `optimizer.lr` is meant; matters where `lr_scaling` is not `none`.
    pub reference_batch: usize,
    /// What a schedule that ends with the run, and phases that share its steps, do when `dtrain resume` gives the run
    /// another length. Without a word such a run is refused. A word is about the start that it is typed for; what it led to
    /// is `made_for`.
    pub length: Option<ScheduleLength>,
    /// Lengths that schedule and phases are computed for, each from a step on; empty: that of the run. Written by
    /// `schedule.length` when a run goes on; no need to set it.
    pub made_for: Vec<MadeFor>,
}

impl Default for ScheduleConfig {
    fn default() -> Self {
        Self {
            kind: ScheduleKind::Cosine,
            warmup_epochs: 0.0,
            final_lr_fraction: 0.0,
            step_epochs: 10,
            gamma: 0.1,
            lr_scaling: LrScaling::None,
            reference_batch: 256,
            length: None,
            made_for: Vec::new(),
        }
    }
}

impl ScheduleConfig {
    /// The learning rate as a share of its peak.
    pub fn curve(&self) -> Curve {
        let (to, over) = (self.final_lr_fraction, Span::RUN);
        let shape = match self.kind {
            ScheduleKind::Constant => Shape::Constant,
            ScheduleKind::Linear => Shape::Linear { to, over },
            ScheduleKind::Cosine => Shape::Cosine { to, over },
            ScheduleKind::Step => {
                Shape::Step { gamma: self.gamma, every: Span::Epochs(self.step_epochs.max(1) as f64) }
            }
        };
        Curve { from: 1.0, warmup: Some(Span::Epochs(self.warmup_epochs.max(0.0))), shape }
    }

    /// Learning rate after the warm-up: `lr` scaled from the reference batch to `global_batch`.
    pub fn peak_lr(&self, lr: f64, global_batch: usize) -> f64 {
        let ratio = global_batch as f64 / self.reference_batch.max(1) as f64;
        match self.lr_scaling {
            LrScaling::None => lr,
            LrScaling::Linear => lr * ratio,
            LrScaling::Sqrt => lr * ratio.sqrt(),
        }
    }

    /// Learning rate of a step whose peak is `peak`.
    pub fn lr_at(&self, peak: f64, at: Position) -> f64 {
        self.curve().times(peak, at)
    }
}

/// What becomes of a schedule when its run gets another length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScheduleLength {
    /// It keeps the length that it was made for: it goes on to its old end and stays at its last value from there on. Phases
    /// keep their steps, and the last one goes on.
    Keep,
    /// From the step at which the run goes on it is that of a run which had the new length from the beginning; the learning
    /// rate jumps there. So are phases.
    New,
}

impl ScheduleLength {
    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            ScheduleLength::Keep => "keep",
            ScheduleLength::New => "new",
        }
    }
}

/// A length of the run that schedule and phases are computed for, in the words of `trainer`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MadeFor {
    /// First step that it holds for, counted from 0 over the whole run.
    pub from_step: u64,
    /// `trainer.max_epochs` of that length.
    pub max_epochs: Option<u64>,
    /// `trainer.max_steps` of that length.
    pub max_steps: Option<u64>,
}

/// How the learning rate follows the global batch B, with reference batch R.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LrScaling {
    /// The learning rate is `optimizer.lr`, whatever the batch.
    None,
    /// lr * B / R, as is usual for SGD and LARS (Goyal et al. 2017).
    Linear,
    /// lr * sqrt(B / R), as is usual for Adam.
    Sqrt,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lr_at(
        step: u64,
        total_steps: u64,
        steps_per_epoch: u64,
        schedule: &ScheduleConfig,
        base_lr: f64,
        global_batch: usize,
    ) -> f64 {
        let peak = schedule.peak_lr(base_lr, global_batch);
        schedule.lr_at(peak, Position { step, steps_per_epoch, total_steps })
    }

    fn cosine(warmup_epochs: f64, final_lr_fraction: f64) -> ScheduleConfig {
        ScheduleConfig { warmup_epochs, final_lr_fraction, ..ScheduleConfig::default() }
    }

    #[test]
    fn warm_up_peak_and_middle_are_where_they_should_be() {
        let lr = |step| lr_at(step, 110, 10, &cosine(1.0, 0.1), 2.0, 64);
        assert!((lr(0) - 0.2).abs() < 1e-15);
        assert_eq!((lr(9), lr(10)), (2.0, 2.0));
        assert!((lr(60) - 2.0 * 0.55).abs() < 1e-12);
        assert!((lr(110) - 0.2).abs() < 1e-12);
        assert_eq!(lr(1000), lr(110));
    }

    #[test]
    fn without_warm_up_the_first_step_has_the_peak() {
        assert_eq!(lr_at(0, 100, 10, &cosine(0.0, 0.0), 0.5, 64), 0.5);
        let constant = ScheduleConfig { kind: ScheduleKind::Constant, ..ScheduleConfig::default() };
        assert!((0..100).all(|step| lr_at(step, 100, 10, &constant, 0.5, 64) == 0.5));
    }

    /// PyTorch's recursion: at the beginning of every `step_epochs`-th epoch but the first the rate falls.
    #[test]
    fn steps_are_those_of_pytorch() {
        const PER_EPOCH: u64 = 7;
        for (step_epochs, gamma) in [(1, 0.9), (3, 0.1), (10, 0.5)] {
            let kind = ScheduleKind::Step;
            let schedule = ScheduleConfig { kind, step_epochs, gamma, ..ScheduleConfig::default() };
            let warm = ScheduleConfig { warmup_epochs: 1.5, ..schedule.clone() };
            let mut rate = 0.002;
            for step in 0..40 * PER_EPOCH {
                let epoch = step / PER_EPOCH;
                if step % PER_EPOCH == 0 && epoch > 0 && epoch.is_multiple_of(step_epochs) {
                    rate *= gamma;
                }
                let lr =
                    |schedule: &ScheduleConfig| lr_at(step, 40 * PER_EPOCH, PER_EPOCH, schedule, 0.002, 64);
                assert!((lr(&schedule) - rate).abs() <= 1e-12 * rate, "{step} {step_epochs} {gamma}");
                // The warm-up has 10.5 steps; falls before its end are not lost.
                let expected = if step < 10 { 0.002 * (step + 1) as f64 / 10.5 } else { rate };
                assert!((lr(&warm) - expected).abs() <= 1e-12 * expected, "{step} {step_epochs} {gamma}");
            }
        }
        assert_eq!(
            lr_at(5, 10, 0, &ScheduleConfig { kind: ScheduleKind::Step, ..cosine(0.0, 0.0) }, 1.0, 64),
            1.0
        );
    }

    #[test]
    fn follows_the_global_batch() {
        let scaled =
            |lr_scaling| ScheduleConfig { lr_scaling, ..ScheduleConfig::default() }.peak_lr(0.3, 4096);
        assert_eq!(scaled(LrScaling::None), 0.3);
        assert!((scaled(LrScaling::Linear) - 4.8).abs() < 1e-12);
        assert!((scaled(LrScaling::Sqrt) - 1.2).abs() < 1e-12);
    }

    #[test]
    fn a_warm_up_of_part_of_a_step_or_longer_than_the_run_is_no_trouble() {
        assert_eq!(lr_at(0, 10, 10, &cosine(0.05, 0.0), 1.0, 64), 1.0);
        let lr = |step| lr_at(step, 10, 10, &cosine(4.0, 0.0), 1.0, 64);
        assert!((lr(9) - 0.25).abs() < 1e-15);
        assert!(lr_at(0, 0, 0, &cosine(1.0, 0.0), 1.0, 64).is_finite());
    }

    /// The formulas that runs up to now were trained by, bit for bit.
    fn before(step: u64, total_steps: u64, per_epoch: u64, schedule: &ScheduleConfig, peak: f64) -> f64 {
        let warmup_steps = (schedule.warmup_epochs * per_epoch as f64).max(0.0);
        let step = if schedule.kind == ScheduleKind::Cosine { step.min(total_steps) } else { step };
        let num_falls = step / per_epoch.max(1) / schedule.step_epochs.max(1);
        let (step, total_steps) = (step as f64, total_steps as f64);
        if step + 1.0 <= warmup_steps {
            return peak * (step + 1.0) / warmup_steps;
        }
        match schedule.kind {
            ScheduleKind::Step => peak * schedule.gamma.powi(i32::try_from(num_falls).unwrap_or(i32::MAX)),
            ScheduleKind::Cosine => {
                let length = total_steps - warmup_steps;
                let progress =
                    if length > 0.0 { ((step - warmup_steps) / length).clamp(0.0, 1.0) } else { 0.0 };
                let last = schedule.final_lr_fraction;
                peak * (last + (1.0 - last) * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()))
            }
            _ => peak,
        }
    }

    #[test]
    fn a_line_ends_with_the_run() {
        let schedule = ScheduleConfig { kind: ScheduleKind::Linear, ..cosine(1.0, 0.5) };
        let lr = |step| lr_at(step, 110, 10, &schedule, 2.0, 64);
        assert_eq!([0, 9, 10, 60, 110, 500].map(lr), [0.2, 2.0, 2.0, 1.5, 1.0, 1.0]);
    }

    proptest! {
        #[test]
        fn rates_are_those_of_before_bit_for_bit(
            total in 1_u64..400,
            per_epoch in 1_u64..50,
            warmup in 0.0_f64..12.0,
            last in 0.0_f64..1.0,
            peak in 1e-6_f64..10.0,
            (gamma, step_epochs) in (0.01_f64..1.0, 1_u64..9),
        ) {
            for kind in [ScheduleKind::Cosine, ScheduleKind::Constant, ScheduleKind::Step] {
                for warmup in [0.0, warmup] {
                    let schedule = ScheduleConfig { kind, gamma, step_epochs, ..cosine(warmup, last) };
                    for step in 0..total + 20 {
                        let now = lr_at(step, total, per_epoch, &schedule, peak, 64);
                        let expected = before(step, total, per_epoch, &schedule, peak);
                        prop_assert_eq!(now.to_bits(), expected.to_bits(), "{:?} {}", schedule, step);
                    }
                }
            }
        }

        #[test]
        fn rises_then_falls_within_bounds(
            total in 1_u64..400,
            per_epoch in 1_u64..50,
            warmup in 0.0_f64..12.0,
            last in 0.0_f64..1.0,
        ) {
            let schedule = cosine(warmup, last);
            let rates: Vec<f64> = (0..=total).map(|s| lr_at(s, total, per_epoch, &schedule, 1.0, 64)).collect();
            let warm = (warmup * per_epoch as f64).floor() as usize;
            for (step, pair) in rates.windows(2).enumerate() {
                if step + 1 < warm {
                    prop_assert!(pair[1] > pair[0]);
                    // Neighbours differ by one part of the ramp: it starts at 0.
                    prop_assert!((pair[1] - pair[0] - 1.0 / (warmup * per_epoch as f64)).abs() < 1e-12);
                } else if step >= warm {
                    prop_assert!(pair[1] <= pair[0] + 1e-15);
                }
            }
            prop_assert!(rates.iter().all(|r| *r > 0.0 - 1e-15 && *r <= 1.0));
            if (warm as u64) < total {
                prop_assert!(rates.iter().skip(warm).all(|r| *r >= last - 1e-12));
            }
        }
    }
}
