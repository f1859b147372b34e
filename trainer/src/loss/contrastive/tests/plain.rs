//! No exclusion and no queue: NT-Xent and SupCon as published.

use super::*;

fn labels(pattern: usize, n: usize) -> Vec<i64> {
    let n = n as i64;
    (0..n)
        .map(|i| match pattern {
            0 => i / 2, // pairs, one row left over when n is odd
            1 => i % 3, // three classes
            2 => 7,     // one class
            3 => i,     // nobody has a positive
            4 => {
                if i == n / 2 {
                    -1
                } else {
                    i % 2
                }
            } // a class with one row
            _ => {
                if i < n / 2 {
                    0
                } else {
                    i
                }
            } // one class among unlabelled rows
        })
        .collect()
}

fn of_labels(z: &Tensor, labels: &[i64], temperature: f64, tile: usize) -> Contrastive {
    PairProblem::new(z, &unique(labels), None, &PairLoss { temperature, tile: Some(tile) }).whole()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn equals_the_naive_formula_for_any_ranks_and_tiles(
        n in 2_usize..70,
        temperature in prop::sample::select(vec![0.01, 0.05, 0.1, 0.5, 1.0]),
        tile in 1_usize..70,
        pattern in 0_usize..6,
        ranks in 1_usize..=4,
        seed in 0_i64..1000,
    ) {
        let z = unit_rows(n, 5, Kind::Double, seed);
        let keys = unique(&labels(pattern, n));
        let problem = PairProblem::new(&z, &keys, None, &PairLoss { temperature, tile: Some(tile) });
        check("plain", &problem, &naive(&z, &keys, None, temperature), ranks)?;
    }
}

#[test]
fn gradient_equals_finite_differences() {
    let (n, d, step) = (9, 4, 1e-6);
    let z = unit_rows(n, d, Kind::Double, 3);
    for pattern in 0..6 {
        let labels = labels(pattern, n);
        let dz = of_labels(&z, &labels, 0.2, 4).gradient;
        for k in 0..n as i64 * d {
            let moved = |by: f64| {
                let z = z.copy();
                let _ = z.view(-1).narrow(0, k, 1).g_add_scalar_(by);
                of_labels(&z, &labels, 0.2, 4).loss.double_value(&[])
            };
            let slope = (moved(step) - moved(-step)) / (2.0 * step);
            assert!((slope - dz.view(-1).double_value(&[k])).abs() < 1e-7, "pattern {pattern}, element {k}");
        }
    }
}

/// HobbitLong/SupContrast `SupConLoss` with temperature = base_temperature. `repaired` is the variant that replaces
/// the number of positives 0 by 1.
fn sup_contrast(z: &Tensor, labels: &[i64], temperature: f64, repaired: bool) -> f64 {
    let n = labels.len() as i64;
    let label = Tensor::from_slice(labels);
    let logits_mask = 1.0 - Tensor::eye(n, (Kind::Double, Device::Cpu));
    let mask = label.unsqueeze(0).eq_tensor(&label.unsqueeze(1)).to_kind(Kind::Double) * &logits_mask;
    let logits = z.mm(&z.tr()) / temperature;
    let logits = &logits - logits.amax(1, true);
    let exp_sum = (logits.exp() * logits_mask).sum_dim_intlist(1, true, Kind::Double);
    let log_prob = logits - (exp_sum + 1e-9).log();
    let count = mask.sum_dim_intlist(1, false, Kind::Double);
    let count = if repaired { count.clamp_min(1.0) } else { count };
    let mean = (mask * log_prob).sum_dim_intlist(1, false, Kind::Double) / count;
    -mean.mean(Kind::Double).double_value(&[])
}

#[test]
fn departs_from_supcontrast_only_as_documented() {
    let (n, tile) = (12, 5);
    let z = unit_rows(n, 16, Kind::Double, 5);
    let ours = |labels: &[i64], temperature: f64| {
        let c = of_labels(&z, labels, temperature, tile);
        (c.loss.double_value(&[]), c.num_anchors)
    };
    // Everybody has a positive: the same value.
    let pairs = labels(0, n);
    assert!((ours(&pairs, 0.5).0 - sup_contrast(&z, &pairs, 0.5, false)).abs() < 1e-7);
    // One class has one row: NaN, or a mean over rows that add nothing; ours is the mean over the 11 others.
    let single = labels(4, n);
    let (loss, num_anchors) = ours(&single, 0.5);
    assert_eq!(num_anchors, 11);
    assert!(sup_contrast(&z, &single, 0.5, false).is_nan());
    let repaired = sup_contrast(&z, &single, 0.5, true);
    assert!((repaired - loss * 11.0 / 12.0).abs() < 1e-7);
    assert!((repaired - loss).abs() > 0.1, "{repaired} and {loss} should differ");
    // Small temperature: 1e-9 is not small beside a sum in which every term is far below the diagonal's 1.
    let exact = naive(&z, &unique(&pairs), None, 0.03).0;
    assert!((ours(&pairs, 0.03).0 - exact).abs() < 1e-11);
    assert!((sup_contrast(&z, &pairs, 0.03, false) - exact).abs() > 1e-2);
}

/// A rectangle of similarities 1 and 0 has a loss that can be written down: two pairs of identical unit vectors,
/// pairs orthogonal to each other, give log(e^(1/tau) + 2) - 1/tau.
#[test]
fn nt_xent_of_two_orthogonal_pairs() {
    let z = Tensor::from_slice2(&[[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]);
    for temperature in [0.01, 0.1, 1.0_f64] {
        let loss = of_labels(&z, &[0, 1, 0, 1], temperature, 3).loss;
        let expected = (2.0 * (-1.0 / temperature).exp()).ln_1p();
        assert!((loss.double_value(&[]) - expected).abs() < 1e-12);
    }
}

#[test]
fn single_precision_stays_close_and_finite_at_small_temperatures() {
    for (temperature, tolerance) in [(0.5, 1e-6), (0.07, 1e-5), (0.01, 1e-4), (0.002, 1e-3)] {
        for pattern in 0..6 {
            let z = unit_rows(64, 8, Kind::Float, 11);
            let labels = labels(pattern, 64);
            let (loss, dz) = naive(&z.to_kind(Kind::Double), &unique(&labels), None, temperature);
            let ours = of_labels(&z, &labels, temperature, 24);
            assert_eq!(ours.gradient.kind(), Kind::Float);
            assert!((ours.loss.double_value(&[]) - loss).abs() <= tolerance * (1.0 + loss));
            let difference = largest(&(ours.gradient.to_kind(Kind::Double) - &dz));
            assert!(difference <= tolerance / temperature, "tau {temperature}: {difference}");
        }
    }
}

#[test]
fn without_any_positive_loss_and_gradient_are_zero() {
    for n in [0, 1, 5] {
        let z = unit_rows(n, 3, Kind::Float, 2);
        let c = of_labels(&z, &labels(3, n), 0.1, 2);
        assert_eq!((c.loss.double_value(&[]), c.num_anchors), (0.0, 0));
        assert_eq!(c.gradient.size(), z.size());
        assert_eq!(c.gradient.abs().sum(Kind::Double).double_value(&[]), 0.0);
    }
}

#[test]
fn embeddings_with_a_graph_and_in_half_precision_are_accepted() {
    let z = unit_rows(6, 4, Kind::Double, 8).to_kind(Kind::BFloat16).set_requires_grad(true);
    let c = of_labels(&z, &labels(0, 6), 0.1, 4);
    assert_eq!(c.gradient.kind(), Kind::BFloat16);
    assert!(!c.gradient.requires_grad());
}

#[test]
fn a_row_that_is_not_a_number_is_seen_in_the_loss() {
    let z = unit_rows(6, 4, Kind::Float, 8);
    let _ = z.narrow(0, 2, 1).fill_(f64::NAN);
    let c = of_labels(&z, &labels(0, 6), 0.1, 4);
    assert!(c.loss.double_value(&[]).is_nan());
}
