//! The learning rate as a pure function of the step: scaled by the global batch (Goyal et al. 2017, arXiv 1706.02677),
//! warmed up linearly, then constant, half a cosine (Loshchilov & Hutter 2017, arXiv 1608.03983) or falling in steps.

use std::f64::consts::PI;

use dtrain_configs::schema::{LrScaling, ScheduleConfig, ScheduleKind};

/// Learning rate of `step`, counted from 0, in a run of `total_steps`.
///
/// The first of W warm-up steps has `peak / W`, step W - 1 and step W have the peak. A cosine falls from there and would
/// reach `final_lr_fraction * peak` at `step = total_steps`, one past the last, as PyTorch's `CosineAnnealingLR` does. Steps
/// are PyTorch's `StepLR` by epoch: `peak * gamma^(epoch / step_epochs)`, rounded down, with epochs counted from the
/// beginning of the run and not of the peak. A warm-up longer than the run never ends. Beyond `total_steps` a cosine, warm-up
/// included, stays at its last rate; the other kinds do not depend on the length.
pub fn lr_at(
    step: u64,
    total_steps: u64,
    steps_per_epoch: u64,
    schedule: &ScheduleConfig,
    base_lr: f64,
    global_batch: usize,
) -> f64 {
    let peak = peak_lr(schedule, base_lr, global_batch);
    let warmup_steps = (schedule.warmup_epochs * steps_per_epoch as f64).max(0.0);
    let step = if schedule.kind == ScheduleKind::Cosine { step.min(total_steps) } else { step };
    let num_falls = step / steps_per_epoch.max(1) / schedule.step_epochs.max(1);
    let (step, total_steps) = (step as f64, total_steps as f64);
    if step + 1.0 <= warmup_steps {
        return peak * (step + 1.0) / warmup_steps;
    }
    match schedule.kind {
        ScheduleKind::Constant => peak,
        ScheduleKind::Step => peak * schedule.gamma.powi(i32::try_from(num_falls).unwrap_or(i32::MAX)),
        ScheduleKind::Cosine => {
            let length = total_steps - warmup_steps;
            let progress = if length > 0.0 { ((step - warmup_steps) / length).clamp(0.0, 1.0) } else { 0.0 };
            let last = schedule.final_lr_fraction;
            peak * (last + (1.0 - last) * 0.5 * (1.0 + (PI * progress).cos()))
        }
    }
}

/// Learning rate after the warm-up: `base_lr` scaled from the reference batch to `global_batch`.
pub fn peak_lr(schedule: &ScheduleConfig, base_lr: f64, global_batch: usize) -> f64 {
    let ratio = global_batch as f64 / schedule.reference_batch.max(1) as f64;
    match schedule.lr_scaling {
        LrScaling::None => base_lr,
        LrScaling::Linear => base_lr * ratio,
        LrScaling::Sqrt => base_lr * ratio.sqrt(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
            |lr_scaling| peak_lr(&ScheduleConfig { lr_scaling, ..ScheduleConfig::default() }, 0.3, 4096);
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

    proptest! {
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
