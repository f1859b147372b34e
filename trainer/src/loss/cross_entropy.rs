//! Softmax cross-entropy with label smoothing (Szegedy et al. 2016, arXiv 1512.00567, sec. 7, in PyTorch's form), as a
//! share of the mean over the global batch.

use tch::{Reduction, Tensor};

use super::widened;

/// Label of a sample that takes no part.
pub const NO_LABEL: i64 = -1;

/// Sum over the labelled samples of `(1 - e) (-log p_y) + e/C sum_c (-log p_c)`, divided by `global_count`, the number
/// of labelled samples of the whole batch over all ranks and micro-batches. Summed over those, this is the mean loss of
/// the batch, so the gradients are to be summed and not averaged. With no labelled sample anywhere the loss is 0.
///
/// Half-precision logits are widened to fp32.
///
/// # Shapes
/// `logits` is `[n, C]` with n >= 0, `labels` `[n]` of i64 in 0..C or [`NO_LABEL`]; the result is 0-dimensional and
/// carries the graph.
pub fn cross_entropy(logits: &Tensor, labels: &Tensor, global_count: u64, label_smoothing: f64) -> Tensor {
    let sum = widened(logits).cross_entropy_loss(
        labels,
        None::<&Tensor>,
        Reduction::Sum,
        NO_LABEL,
        label_smoothing,
    );
    sum / global_count.max(1) as f64
}

/// Samples with a label among `labels`, for the global count.
pub fn num_labelled(labels: &[i64]) -> u64 {
    labels.iter().filter(|label| **label != NO_LABEL).count() as u64
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    const CPU: (Kind, Device) = (Kind::Double, Device::Cpu);

    /// The formula of the documentation, sample by sample.
    fn naive(logits: &[Vec<f64>], labels: &[i64], smoothing: f64) -> f64 {
        let (mut sum, mut count) = (0.0, 0);
        for (row, label) in logits.iter().zip(labels).filter(|(_, label)| **label >= 0) {
            let lse = row.iter().map(|x| x.exp()).sum::<f64>().ln();
            let nll = |c: usize| lse - row[c];
            let uniform = (0..row.len()).map(nll).sum::<f64>() / row.len() as f64;
            sum += (1.0 - smoothing) * nll(*label as usize) + smoothing * uniform;
            count += 1;
        }
        sum / f64::from(count)
    }

    fn rows(t: &Tensor) -> Vec<Vec<f64>> {
        Vec::<Vec<f64>>::try_from(t).unwrap()
    }

    #[test]
    fn equals_the_formula_and_parts_sum_to_the_whole() {
        tch::manual_seed(1);
        let labels = [2, -1, 0, 4, 4, -1, 1, 3, -1];
        let targets = Tensor::from_slice(&labels);
        for smoothing in [0.0, 0.1, 0.7] {
            let logits = (Tensor::randn([9, 5], CPU) * 3.0).set_requires_grad(true);
            let count = num_labelled(&labels);
            let whole = cross_entropy(&logits, &targets, count, smoothing);
            assert!((whole.double_value(&[]) - naive(&rows(&logits), &labels, smoothing)).abs() < 1e-12);
            whole.backward();
            let expected = logits.grad().copy();
            let _ = logits.grad().zero_();
            let mut sum = 0.0;
            // The second part has no sample, the last no label.
            for (start, end) in [(0, 5), (5, 5), (5, 8), (8, 9)] {
                let part = cross_entropy(
                    &logits.narrow(0, start, end - start),
                    &targets.narrow(0, start, end - start),
                    count,
                    smoothing,
                );
                sum += part.double_value(&[]);
                part.backward();
            }
            assert!((sum - whole.double_value(&[])).abs() < 1e-12);
            assert!((logits.grad() - expected).abs().max().double_value(&[]) < 1e-14);
        }
    }

    #[test]
    fn without_labels_the_loss_is_zero() {
        let logits = Tensor::randn([3, 4], CPU).set_requires_grad(true);
        let loss = cross_entropy(&logits, &Tensor::full([3], NO_LABEL, (Kind::Int64, Device::Cpu)), 0, 0.1);
        loss.backward();
        assert_eq!(loss.double_value(&[]), 0.0);
        assert_eq!(logits.grad().abs().max().double_value(&[]), 0.0);
    }

    #[test]
    fn half_precision_is_widened() {
        let logits = Tensor::randn([6, 4], (Kind::Float, Device::Cpu)).to_kind(Kind::BFloat16);
        let labels = Tensor::from_slice(&[0_i64, 1, 2, 3, 0, 1]);
        let loss = cross_entropy(&logits, &labels, 6, 0.0);
        assert_eq!(loss.kind(), Kind::Float);
        let wide = cross_entropy(&logits.to_kind(Kind::Double), &labels, 6, 0.0);
        assert!((loss.double_value(&[]) - wide.double_value(&[])).abs() < 1e-6);
    }
}
