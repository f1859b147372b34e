use proptest::prelude::*;

use super::*;

const PER_EPOCH: u64 = 10;

fn at(step: u64, total_steps: u64) -> Position {
    Position { step, steps_per_epoch: PER_EPOCH, total_steps }
}

fn curve(shape: Shape) -> Curve {
    Curve { from: 2.0, warmup: None, shape }
}

/// `torch.optim.lr_scheduler.CosineAnnealingLR`'s recursion, with eta_min.
#[test]
fn a_cosine_is_pytorchs() {
    const TOTAL: u64 = 60;
    for (from, to) in [(2.0, 0.2), (0.04, 0.4), (1.0, 1.0)] {
        let curve = Curve { from, ..curve(Shape::Cosine { to, over: Span::RUN }) };
        let mut value = from;
        for step in 0..TOTAL {
            assert!((curve.at(at(step, TOTAL)) - value).abs() < 1e-12, "{step}");
            let angle = |step: u64| 1.0 + (PI * step as f64 / TOTAL as f64).cos();
            value = angle(step + 1) / angle(step) * (value - to) + to;
        }
        assert_eq!(curve.at(at(TOTAL, TOTAL)), to);
        assert_eq!(curve.at(at(5 * TOTAL, TOTAL)), to, "it stays there");
    }
}

/// `torch.optim.lr_scheduler.LinearLR`'s recursion, with start_factor 1 and end_factor `to / from`.
#[test]
fn a_line_is_pytorchs() {
    const TOTAL: u64 = 40;
    let (start, end) = (1.0, 0.1);
    let curve = curve(Shape::Linear { to: 0.2, over: Span::Epochs(4.0) });
    let mut value = 2.0;
    for step in 0..2 * TOTAL {
        assert!((curve.at(at(step, 1000)) - value).abs() < 1e-12, "{step}: {value}");
        if step < TOTAL {
            value *= 1.0 + (end - start) / (TOTAL as f64 * start + step as f64 * (end - start));
        }
    }
}

/// `torch.optim.lr_scheduler.StepLR` by steps, epochs and fractions.
#[test]
fn steps_are_pytorchs() {
    for (every, distance) in
        [(Span::Steps(7), 7), (Span::Epochs(1.5), 15), (Span::Fraction(0.125), 20), (Span::Epochs(3.0), 30)]
    {
        let curve = curve(Shape::Step { gamma: 0.1, every });
        let mut value = 2.0;
        for step in 0..160 {
            if step > 0 && step % distance == 0 {
                value *= 0.1;
            }
            assert!((curve.at(at(step, 160)) / value - 1.0).abs() < 1e-12, "{step} {every}");
        }
    }
}

/// DINO's weight decay, `final + 0.5 * (base - final) * (1 + cos(pi * iters / len(iters)))`, and its teacher's temperature,
/// `linspace(warmup, final, warmup_epochs)` by epochs, here by steps.
#[test]
fn dinos_schedules_can_be_written() {
    let decay = Curve { from: 0.04, warmup: None, shape: Shape::Cosine { to: 0.4, over: Span::RUN } };
    for step in 0..100 {
        let expected = 0.4 + 0.5 * (0.04 - 0.4) * (1.0 + (PI * step as f64 / 100.0).cos());
        assert!((decay.at(at(step, 100)) - expected).abs() < 1e-15);
    }
    let temperature =
        Curve { from: 0.04, warmup: None, shape: Shape::Linear { to: 0.07, over: Span::Epochs(3.0) } };
    let values = [0, 15, 30, 31, 99].map(|step| temperature.at(at(step, 100)));
    for (value, expected) in values.into_iter().zip([0.04, 0.055, 0.07, 0.07, 0.07]) {
        assert!((value - expected).abs() < 1e-15, "{values:?}");
    }
}

#[test]
fn a_warm_up_rises_to_the_first_value_and_is_part_of_the_stretch() {
    for warmup in [Span::Steps(20), Span::Epochs(2.0), Span::Fraction(0.2)] {
        let shape = Shape::Linear { to: 0.0, over: Span::Steps(60) };
        let curve = Curve { warmup: Some(warmup), ..curve(shape) };
        let values = [0, 9, 19, 20, 40, 60, 80].map(|step| curve.at(at(step, 100)));
        assert_eq!(values, [0.1, 1.0, 2.0, 2.0, 1.0, 0.0, 0.0]);
    }
    let longer =
        Curve { warmup: Some(Span::Steps(200)), ..curve(Shape::Cosine { to: 0.0, over: Span::RUN }) };
    assert_eq!(longer.at(at(99, 100)), 1.0);
    assert_eq!(longer.at(at(150, 100)), 2.0 * 101.0 / 200.0, "it stays where it was at the end");
}

proptest! {
    #[test]
    fn values_lie_between_the_ends_and_do_not_turn(
        from in -3.0_f64..3.0,
        to in -3.0_f64..3.0,
        over in 1_u64..300,
        total in 1_u64..400,
        is_line: bool,
    ) {
        let over = Span::Steps(over);
        let shape = if is_line { Shape::Linear { to, over } } else { Shape::Cosine { to, over } };
        let curve = Curve { from, warmup: None, shape };
        let values: Vec<f64> = (0..=total).map(|step| curve.at(at(step, total))).collect();
        let (low, high) = (from.min(to), from.max(to));
        prop_assert!((values[0] - from).abs() < 1e-12);
        prop_assert!(values.iter().all(|value| (low - 1e-12..=high + 1e-12).contains(value)));
        let turns = |pair: &[f64]| (pair[1] - pair[0]) * (to - from) < -1e-12;
        prop_assert!(!values.windows(2).any(turns));
    }

    #[test]
    fn any_curve_reads_back_and_is_a_function_of_the_step_alone(
        from: f64, to: f64, kind in 0..4, warmup: Option<u64>, epochs in 0.1_f64..50.0, gamma in 0.01_f64..1.0,
    ) {
        prop_assume!(from.is_finite() && to.is_finite());
        let over = Span::Epochs(epochs);
        let shape = match kind {
            0 => Shape::Constant,
            1 => Shape::Linear { to, over },
            2 => Shape::Cosine { to, over },
            _ => Shape::Step { gamma, every: over },
        };
        let curve = Curve { from, warmup: warmup.filter(|w| *w > 0).map(Span::Steps), shape };
        let text = serde_json::to_string(&curve).unwrap();
        prop_assert_eq!(serde_json::from_str::<Curve>(&text).unwrap(), curve);
        for step in [0, 1, 17, 300, u64::MAX] {
            prop_assert_eq!(curve.at(at(step, 200)).to_bits(), curve.times(1.0, at(step, 200)).to_bits());
        }
    }
}
