use tch::Device;

use super::*;

const CPU: (Kind, Device) = (Kind::Double, Device::Cpu);
const LOSSES: [HeadLoss; 5] = [
    HeadLoss::CrossEntropy,
    HeadLoss::OrdinalRegression,
    HeadLoss::QuantizedRegression,
    HeadLoss::DistanceWeighted,
    HeadLoss::SoftTargets,
];

fn settings(loss: HeadLoss) -> HeadSettings {
    HeadSettings {
        weight: 1.0,
        loss,
        label_smoothing: 0.1,
        cross_entropy_weight: 0.3,
        distance_power: 1.5,
        target_width: 0.8,
    }
}

/// A scale, evenly spaced or not, with K classes.
fn scales(num_classes: usize) -> [HeadScale; 2] {
    let uneven = (0..num_classes).map(|class| 40.0 * 1.7f64.powi(class as i32) - 300.0).collect();
    [HeadScale::indices(num_classes), HeadScale { values: uneven }]
}

/// `[n, K]` or `[n, 1]`, of the size that the loss meets in training.
fn scores(loss: HeadLoss, num_samples: usize, num_classes: usize) -> Tensor {
    let num_outputs = num_outputs(loss, num_classes as i64);
    Tensor::randn([num_samples as i64, num_outputs], CPU) * if num_outputs == 1 { 0.4 } else { 2.0 }
}

/// Labels of all classes, every third missing.
fn labels(num_samples: usize, num_classes: usize) -> Vec<i64> {
    (0..num_samples).map(|i| if i % 3 == 1 { NO_LABEL } else { (5 * i % num_classes) as i64 }).collect()
}

fn num_labelled(labels: &[i64]) -> u64 {
    super::super::cross_entropy::num_labelled(labels)
}

fn rows(scores: &Tensor) -> Vec<Vec<f64>> {
    Vec::<Vec<f64>>::try_from(scores).unwrap()
}

fn centred(scale: &HeadScale) -> Vec<f64> {
    let least = scale.values.iter().copied().fold(f64::INFINITY, f64::min);
    let largest = scale.values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let range = if largest > least { largest - least } else { 1.0 };
    scale.values.iter().map(|value| (value - (least + largest) / 2.0) / range).collect()
}

fn softmax(row: &[f64]) -> Vec<f64> {
    let sum: f64 = row.iter().map(|score| score.exp()).sum();
    row.iter().map(|score| score.exp() / sum).collect()
}

/// The table of the documentation, for one sample.
fn loss_of(settings: &HeadSettings, row: &[f64], class: usize, scale: &HeadScale) -> f64 {
    let (p, u) = (softmax(row), centred(scale));
    let num_classes = u.len();
    let nll = |class: usize| -p[class].ln();
    match settings.loss {
        HeadLoss::CrossEntropy => {
            let uniform = (0..num_classes).map(nll).sum::<f64>() / num_classes as f64;
            (1.0 - settings.label_smoothing) * nll(class) + settings.label_smoothing * uniform
        }
        HeadLoss::OrdinalRegression => {
            let expected: f64 = p.iter().zip(&u).map(|(p, u)| p * u).sum();
            (expected - u[class]).abs() + settings.cross_entropy_weight * nll(class)
        }
        HeadLoss::QuantizedRegression => (row[0] - u[class]).powi(2),
        HeadLoss::DistanceWeighted => {
            let weight = |k: usize| 1.0 + (u[k] - u[class]).abs().powf(settings.distance_power);
            nll(class) + (0..num_classes).filter(|&k| k != class).map(|k| weight(k) * p[k]).sum::<f64>()
        }
        HeadLoss::SoftTargets => {
            let t =
                |k: usize| (-(k as f64 - class as f64).powi(2) / (2.0 * settings.target_width.powi(2))).exp();
            let sum: f64 = (0..num_classes).map(t).sum();
            (0..num_classes).map(|k| t(k) / sum * nll(k)).sum()
        }
    }
}

#[test]
fn every_loss_is_its_formula_and_parts_sum_to_the_whole() {
    tch::manual_seed(1);
    for (loss, num_classes) in
        LOSSES.into_iter().flat_map(|loss| [1, 2, 5, 64].map(|classes| (loss, classes)))
    {
        for scale in scales(num_classes) {
            let settings = settings(loss);
            let labels = labels(11, num_classes);
            let (classes, values) = (Tensor::from_slice(&labels), scale.tensor(Device::Cpu));
            let count = num_labelled(&labels);
            let scores = scores(loss, 11, num_classes).set_requires_grad(true);
            let whole = head_loss(&settings, &scores, &classes, &values, count);
            let labelled = rows(&scores).into_iter().zip(&labels).filter(|(_, label)| **label != NO_LABEL);
            let expected: f64 =
                labelled.map(|(row, label)| loss_of(&settings, &row, *label as usize, &scale)).sum::<f64>()
                    / count as f64;
            assert!(
                (whole.double_value(&[]) - expected).abs() < 1e-12 * expected.abs().max(1.0),
                "{loss:?}, {num_classes} classes: {whole:?}, not {expected}"
            );
            whole.backward();
            let gradient = scores.grad().copy();
            let _ = scores.grad().zero_();
            let mut sum = 0.0;
            // The second part has no sample, the last no label.
            for (start, end) in [(0, 6), (6, 6), (6, 10), (10, 11)] {
                let part = |tensor: &Tensor| tensor.narrow(0, start, end - start);
                let share = head_loss(&settings, &part(&scores), &part(&classes), &values, count);
                assert_eq!(share.dim(), 0);
                sum += share.double_value(&[]);
                share.backward();
            }
            assert!((sum - expected).abs() < 1e-12 * expected.abs().max(1.0), "{loss:?}");
            assert!((scores.grad() - gradient).abs().max().double_value(&[]) < 1e-13, "{loss:?}");
        }
    }
}

#[test]
fn gradients_are_those_of_finite_differences() {
    const STEP: f64 = 1e-6;
    tch::manual_seed(2);
    for loss in LOSSES {
        let (settings, scale) = (settings(loss), &scales(6)[1]);
        let labels = labels(4, 6);
        let (classes, values) = (Tensor::from_slice(&labels), scale.tensor(Device::Cpu));
        let scores = scores(loss, 4, 6).set_requires_grad(true);
        head_loss(&settings, &scores, &classes, &values, 3).backward();
        let at = |index: i64, by: f64| {
            let moved = scores.detach().copy();
            let _ = moved.view(-1).get(index).g_add_scalar_(by);
            head_loss(&settings, &moved, &classes, &values, 3).double_value(&[])
        };
        let gradient = Vec::<f64>::try_from(scores.grad().view(-1)).unwrap();
        for (index, gradient) in gradient.into_iter().enumerate() {
            let difference = (at(index as i64, STEP) - at(index as i64, -STEP)) / (2.0 * STEP);
            assert!((gradient - difference).abs() < 1e-8, "{loss:?}, {index}: {gradient}, not {difference}");
        }
    }
}

#[test]
fn a_sample_without_label_has_no_part_whatever_its_scores() {
    for loss in LOSSES {
        let settings = settings(loss);
        let values = scales(4)[1].tensor(Device::Cpu);
        let scores = scores(loss, 2, 4);
        let _ = scores.get(1).fill_(f64::NAN);
        let scores = scores.set_requires_grad(true);
        let one = head_loss(&settings, &scores, &Tensor::from_slice(&[2_i64, NO_LABEL]), &values, 1);
        one.backward();
        let alone = head_loss(&settings, &scores.narrow(0, 0, 1), &Tensor::from_slice(&[2_i64]), &values, 1);
        assert_eq!(one.double_value(&[]), alone.double_value(&[]), "{loss:?}");
        assert_eq!(scores.grad().get(1).abs().max().double_value(&[]), 0.0, "{loss:?}");

        let none = head_loss(&settings, &scores, &Tensor::from_slice(&[NO_LABEL; 2]), &values, 0);
        none.backward();
        assert_eq!(none.double_value(&[]), 0.0, "{loss:?}");
    }
}

/// Hz or kHz, shifted or not: the loss and its gradient stay.
#[test]
fn units_do_not_matter() {
    tch::manual_seed(3);
    for loss in LOSSES {
        let [_, scale] = scales(7);
        let classes = Tensor::from_slice(&labels(9, 7));
        let scores = scores(loss, 9, 7);
        let of = |factor: f64, offset: f64| {
            let values = scale.values.iter().map(|value| value * factor + offset).collect();
            let scores = scores.copy().set_requires_grad(true);
            let values = HeadScale { values }.tensor(Device::Cpu);
            let loss = head_loss(&settings(loss), &scores, &classes, &values, 6);
            loss.backward();
            (loss.double_value(&[]), scores.grad())
        };
        let ((loss_hz, gradient_hz), (loss_khz, gradient_khz)) = (of(1.0, 0.0), of(1e-3, 5.0));
        assert!((loss_hz - loss_khz).abs() < 1e-12, "{loss:?}");
        assert!((gradient_hz - gradient_khz).abs().max().double_value(&[]) < 1e-12, "{loss:?}");
    }
}

/// What the losses are for: a far class costs more than a near one, except under cross-entropy.
#[test]
fn a_miss_by_more_costs_more() {
    let values = HeadScale::indices(9).tensor(Device::Cpu);
    for loss in LOSSES {
        let says = |class: i64| {
            let scores = match num_outputs(loss, 9) {
                1 => Tensor::full([1, 1], class as f64 / 8.0 - 0.5, CPU),
                _ => Tensor::from_slice(&[class]).onehot(9).to_kind(Kind::Double) * 4.0,
            };
            head_loss(&settings(loss), &scores, &Tensor::from_slice(&[2_i64]), &values, 1).double_value(&[])
        };
        let costs: Vec<f64> = (2..9).map(says).collect();
        let grows = costs.windows(2).all(|pair| pair[1] > pair[0] + 1e-3);
        assert_eq!(
            grows,
            !matches!(loss, HeadLoss::CrossEntropy | HeadLoss::SoftTargets),
            "{loss:?}: {costs:?}"
        );
        // Beyond three widths all are equally wrong to a Gaussian.
        assert!(costs[1] > costs[0] + 1e-3 && costs[6] > costs[1] - 1e-12, "{loss:?}: {costs:?}");
    }
}

#[test]
fn one_class_has_nothing_to_learn() {
    let values = HeadScale { values: vec![440.0] }.tensor(Device::Cpu);
    for loss in LOSSES {
        let scores = Tensor::zeros([3, 1], CPU).set_requires_grad(true);
        let total =
            head_loss(&settings(loss), &scores, &Tensor::zeros([3], (Kind::Int64, Device::Cpu)), &values, 3);
        total.backward();
        assert_eq!(total.double_value(&[]), 0.0, "{loss:?}");
        assert_eq!(scores.grad().abs().max().double_value(&[]), 0.0, "{loss:?}");
        let far = Tensor::full([1, 1], 7.0, CPU);
        assert_eq!(predicted_classes(&settings(loss), &far, &values).int64_value(&[0]), 0, "{loss:?}");
        assert_eq!(predicted_values(&settings(loss), &far, &values).double_value(&[0]), 440.0, "{loss:?}");
    }
}

#[test]
fn half_precision_is_widened() {
    tch::manual_seed(4);
    for (loss, kind) in
        LOSSES.into_iter().flat_map(|loss| [Kind::Half, Kind::BFloat16].map(|kind| (loss, kind)))
    {
        let settings = settings(loss);
        let values = scales(256)[0].tensor(Device::Cpu);
        let scores = scores(loss, 32, 256).to_kind(kind);
        let classes = Tensor::from_slice(&labels(32, 256));
        let narrow = head_loss(&settings, &scores, &classes, &values, 21);
        assert_eq!(narrow.kind(), Kind::Float);
        let wide = head_loss(&settings, &scores.to_kind(Kind::Double), &classes, &values, 21);
        assert!((narrow.double_value(&[]) - wide.double_value(&[])).abs() < 1e-5, "{loss:?}");
        let told = |scores: &Tensor| predicted_values(&settings, scores, &values);
        let differences = told(&scores) - told(&scores.to_kind(Kind::Double));
        assert!(differences.abs().max().double_value(&[]) < 1e-3, "{loss:?}");
    }
}

#[test]
fn predictions_are_in_units_and_within_the_range() {
    let values = Tensor::from_slice(&[100.0, 200.0, 400.0]);
    let told = |loss: HeadLoss, scores: &Tensor| {
        let settings = settings(loss);
        (
            Vec::<i64>::try_from(predicted_classes(&settings, scores, &values)).unwrap(),
            Vec::<f64>::try_from(predicted_values(&settings, scores, &values)).unwrap(),
        )
    };
    // Probabilities of 0.5, 0.1 and 0.4: the likeliest is the first, the expected value is 230.
    let scores = Tensor::from_slice(&[0.5_f64, 0.1, 0.4]).log().view([1, 3]);
    for loss in [HeadLoss::CrossEntropy, HeadLoss::DistanceWeighted, HeadLoss::SoftTargets] {
        assert_eq!(told(loss, &scores), (vec![0], vec![100.0]));
    }
    let (classes, expected) = told(HeadLoss::OrdinalRegression, &scores);
    assert_eq!(classes, [1]);
    assert!((expected[0] - 230.0).abs() < 1e-9, "{expected:?}");
    // 0 is the middle of the range, 250; beyond the range is its end.
    let outputs = Tensor::from_slice(&[0.0, 0.4, 9.0, -0.5, -3.0]).view([5, 1]);
    let (classes, expected) = told(HeadLoss::QuantizedRegression, &outputs);
    assert_eq!(classes, [1, 2, 2, 0, 0]);
    for (told, value) in expected.iter().zip([250.0, 370.0, 400.0, 100.0, 100.0]) {
        assert!((told - value).abs() < 1e-9, "{expected:?}");
    }
    for loss in LOSSES {
        let (classes, told) = told(loss, &Tensor::zeros([0, num_outputs(loss, 3)], CPU));
        assert!(classes.is_empty() && told.is_empty(), "{loss:?}");
    }
}
