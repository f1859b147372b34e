//! Two results of one check, and whether they are near enough.

use std::fmt;

use serde::Serialize;
use tch::{Kind, Tensor};

use super::precision::DevicePrecision;

/// A gradient whose norm is a smaller part than this of the norm of all gradients, in 64 bits, is rounding.
pub(super) const ZERO_BY_CONSTRUCTION: f64 = 1e-10;

/// How much worse than the yardstick a result may be. Measured on a CPU, the worst tensor of all small networks is off by 0.43
/// in bf16 where its yardstick is off by 0.40, and by 9.7e-3 in fp32 where its yardstick is too; the rest is room for a device
/// that rounds in another order.
const WORSE_THAN_YARDSTICK: f64 = 3.0;

/// However badly conditioned a check is: half as much again as the worst that was measured. A result of zeros is off by 1, one
/// that has nothing to do with the reference by more.
const LARGEST_TOLERANCE: f64 = 0.6;

/// What a row compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantity {
    /// Losses, embeddings, statistics, weights: all outputs as one vector.
    Output,
    /// All gradients as one vector.
    Gradient,
    /// The gradient of the tensor that is off the most.
    WorstTensor,
    /// Numbers that must be equal; the error counts those that are not.
    Bits,
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Quantity::Output => "output",
            Quantity::Gradient => "gradient",
            Quantity::WorstTensor => "worst tensor",
            Quantity::Bits => "bits",
        })
    }
}

/// One comparison.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// What was computed.
    pub check: String,
    /// In which precision.
    pub precision: DevicePrecision,
    /// What is compared.
    pub quantity: Quantity,
    /// Relative error, or the number of elements that differ. Infinite where a number is not finite.
    pub error: f64,
    /// The largest error that passes.
    pub tolerance: f64,
    /// What the same check loses by the yardstick; 0 where bits are compared.
    pub yardstick: f64,
    /// The tensor that is off the most.
    pub tensor: Option<String>,
    /// Whether it is near enough.
    pub passed: bool,
}

impl Row {
    /// A row for numbers that must be equal: `differing` are not.
    pub(super) fn bits(check: impl Into<String>, precision: DevicePrecision, differing: usize) -> Self {
        Self {
            check: check.into(),
            precision,
            quantity: Quantity::Bits,
            error: differing as f64,
            tolerance: 0.0,
            yardstick: 0.0,
            tensor: None,
            passed: differing == 0,
        }
    }
}

/// What a check computed, on the CPU in f64.
#[derive(Debug, Default)]
pub(super) struct Compared {
    outputs: Vec<(String, Tensor)>,
    gradients: Vec<(String, Tensor)>,
}

impl Compared {
    /// Takes a copy of an output; its layout in memory does not matter.
    pub(super) fn output(&mut self, name: impl Into<String>, tensor: &Tensor) {
        self.outputs.push((name.into(), host(tensor)));
    }

    /// Takes a copy of a gradient.
    pub(super) fn gradient(&mut self, name: impl Into<String>, tensor: &Tensor) {
        self.gradients.push((name.into(), host(tensor)));
    }

    /// Elements that are not the same bits in `other`, NaN included; all, where the shapes are others.
    pub(super) fn differing(&self, other: &Self) -> usize {
        let own = self.outputs.iter().chain(&self.gradients);
        let others: Vec<_> = other.outputs.iter().chain(&other.gradients).collect();
        if own.clone().count() != others.len() {
            return own.map(|(_, tensor)| tensor.numel()).sum::<usize>().max(1);
        }
        own.zip(others).map(|((_, a), (_, b))| differing(a, b)).sum()
    }

    /// Names of the gradients whose norm is below `part` of the norm of all.
    pub(super) fn negligible_gradients(&self, part: f64) -> Vec<String> {
        let limit = part * norm(self.gradients.iter().map(|(_, tensor)| tensor));
        let below = self.gradients.iter().filter(|(_, tensor)| norm([tensor]) <= limit);
        below.map(|(name, _)| name.clone()).collect()
    }
}

/// Elements that are not the same number; NaN differs from everything.
pub(super) fn differing(a: &Tensor, b: &Tensor) -> usize {
    if a.size() != b.size() {
        return a.numel().max(b.numel()).max(1);
    }
    let equal = a.eq_tensor(b).sum(Kind::Int64).int64_value(&[]);
    a.numel() - usize::try_from(equal).unwrap_or(0)
}

/// Outputs, gradients, and the worst single gradient of `measured` against `reference`. `yardsticks` are other results of
/// the same check, the worst of which counts.
pub(super) fn judge(
    check: &str,
    precision: DevicePrecision,
    reference: &Compared,
    measured: &Compared,
    yardsticks: &[Compared],
) -> Vec<Row> {
    let row = |quantity, error: f64, tensor, fixed: f64, yardstick: f64| {
        let relative = if yardstick.is_finite() { WORSE_THAN_YARDSTICK * yardstick } else { 0.0 };
        let tolerance = relative.clamp(fixed, LARGEST_TOLERANCE);
        Row {
            check: check.to_owned(),
            precision,
            quantity,
            error,
            tolerance,
            yardstick,
            tensor,
            passed: error <= tolerance,
        }
    };
    let worst_of = |error: &dyn Fn(&Compared) -> f64| yardsticks.iter().map(error).fold(0.0, f64::max);
    let mut rows = Vec::new();
    let (outputs, gradients) = (precision.output_tolerance(), precision.gradient_tolerance());
    if !reference.outputs.is_empty() {
        let error = distance(&measured.outputs, &reference.outputs);
        let own = worst_of(&|other| distance(&other.outputs, &reference.outputs));
        rows.push(row(Quantity::Output, error, None, outputs, own));
    }
    if !reference.gradients.is_empty() {
        let error = distance(&measured.gradients, &reference.gradients);
        let own = worst_of(&|other| distance(&other.gradients, &reference.gradients));
        rows.push(row(Quantity::Gradient, error, None, gradients, own));
        let zero = reference.negligible_gradients(ZERO_BY_CONSTRUCTION);
        if let Some((tensor, error)) = worst(&measured.gradients, &reference.gradients, &zero) {
            let own = worst_of(&|other| {
                worst(&other.gradients, &reference.gradients, &zero).map_or(0.0, |worst| worst.1)
            });
            rows.push(row(Quantity::WorstTensor, error, Some(tensor), gradients, own));
        }
    }
    rows
}

fn host(tensor: &Tensor) -> Tensor {
    // A copy: what it is taken from goes on changing.
    tensor.detach().to_device(tch::Device::Cpu).to_kind(Kind::Double).contiguous().copy()
}

/// Euclidean norm of all elements.
fn norm<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> f64 {
    tensors.into_iter().map(|tensor| tensor.square().sum(Kind::Double).double_value(&[])).sum::<f64>().sqrt()
}

/// |a - b| / |b| of all tensors as one vector; infinite where they do not correspond or a number is not finite.
fn distance(measured: &[(String, Tensor)], reference: &[(String, Tensor)]) -> f64 {
    let corresponds = |((_, a), (_, b)): (&(String, Tensor), &(String, Tensor))| a.size() == b.size();
    if measured.len() != reference.len() || !measured.iter().zip(reference).all(corresponds) {
        return f64::INFINITY;
    }
    let differences: Vec<Tensor> = measured.iter().zip(reference).map(|((_, a), (_, b))| a - b).collect();
    finite(norm(&differences) / norm(reference.iter().map(|(_, tensor)| tensor)))
}

/// The tensor that is off the most, relative to its own norm.
fn worst(
    measured: &[(String, Tensor)],
    reference: &[(String, Tensor)],
    left_out: &[String],
) -> Option<(String, f64)> {
    let judged = measured.iter().zip(reference).filter(|(_, (name, _))| !left_out.contains(name));
    let errors = judged.map(|((_, a), (name, b))| {
        let error = if a.size() == b.size() { finite(norm([&(a - b)]) / norm([b])) } else { f64::INFINITY };
        (name.clone(), error)
    });
    errors.max_by(|a, b| a.1.total_cmp(&b.1))
}

fn finite(error: f64) -> f64 {
    if error.is_finite() { error } else { f64::INFINITY }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(output: &[f64], gradients: &[(&str, &[f64])]) -> Compared {
        let mut all = Compared::default();
        all.output("loss", &Tensor::from_slice(output));
        for (name, values) in gradients {
            all.gradient(*name, &Tensor::from_slice(values));
        }
        all
    }

    fn reference() -> Compared {
        compared(&[2.0], &[("large", &[300.0, 400.0]), ("small", &[0.01]), ("zero", &[1e-9])])
    }

    fn verdicts(measured: &Compared, yardstick: Compared) -> Vec<(Quantity, bool, Option<String>)> {
        let rows = judge("check", DevicePrecision::Fp32, &reference(), measured, &[reference(), yardstick]);
        rows.into_iter().map(|row| (row.quantity, row.passed, row.tensor)).collect()
    }

    #[test]
    fn equal_results_pass() {
        let verdicts = verdicts(&reference(), reference());
        assert_eq!(verdicts.len(), 3);
        assert!(verdicts.iter().all(|(_, passed, _)| *passed), "{verdicts:?}");
    }

    #[test]
    fn one_wrong_tensor_is_found_and_named() {
        let wrong = compared(&[2.0], &[("large", &[300.0, 400.0]), ("small", &[-0.01]), ("zero", &[1e-9])]);
        let verdicts = verdicts(&wrong, reference());
        assert!(verdicts[1].1, "as one vector the small tensor does not count");
        assert_eq!(verdicts[2], (Quantity::WorstTensor, false, Some("small".into())));
    }

    #[test]
    fn a_wrong_output_and_a_wrong_gradient_are_found() {
        let gradients: &[(&str, &[f64])] =
            &[("large", &[300.0, 401.0]), ("small", &[0.01]), ("zero", &[1e-9])];
        let passed: Vec<bool> =
            verdicts(&compared(&[2.001], gradients), reference()).into_iter().map(|v| v.1).collect();
        assert_eq!(passed, [false, false, false]);
    }

    #[test]
    fn a_number_that_is_not_finite_never_passes() {
        for bad in [f64::NAN, f64::INFINITY] {
            let gradients: &[(&str, &[f64])] =
                &[("large", &[300.0, bad]), ("small", &[0.01]), ("zero", &[1e-9])];
            let broken = || compared(&[bad], gradients);
            // A yardstick that is broken too excuses nothing.
            for yardstick in [reference(), broken()] {
                assert!(verdicts(&broken(), yardstick).iter().all(|verdict| !verdict.1));
            }
        }
    }

    #[test]
    fn results_of_other_shapes_never_pass() {
        let fewer = compared(&[2.0], &[("large", &[300.0, 400.0])]);
        assert!(!verdicts(&fewer, reference())[1].1);
        let longer =
            compared(&[2.0, 0.0], &[("large", &[300.0, 400.0, 0.0]), ("small", &[0.01]), ("zero", &[0.0])]);
        assert!(verdicts(&longer, reference()).iter().all(|verdict| !verdict.1));
    }

    #[test]
    fn rounding_in_a_gradient_that_is_zero_is_left_out() {
        let other = compared(&[2.0], &[("large", &[300.0, 400.0]), ("small", &[0.01]), ("zero", &[-5e-9])]);
        assert_eq!(reference().negligible_gradients(ZERO_BY_CONSTRUCTION), ["zero"]);
        assert!(verdicts(&other, reference()).iter().all(|verdict| verdict.1));
    }

    #[test]
    fn a_badly_conditioned_check_may_lose_three_times_the_yardstick() {
        let off = |by: f64| {
            compared(&[2.0], &[("large", &[300.0, 400.0 + by]), ("small", &[0.01]), ("zero", &[1e-9])])
        };
        assert!(!verdicts(&off(0.9), reference())[1].1);
        assert!(verdicts(&off(0.9), off(0.31))[1].1);
        assert!(!verdicts(&off(0.9), off(0.29))[1].1);
    }

    #[test]
    fn no_conditioning_excuses_a_gradient_of_zeros() {
        let zeros = || compared(&[0.0], &[("large", &[0.0, 0.0]), ("small", &[0.0]), ("zero", &[0.0])]);
        assert!(verdicts(&zeros(), zeros()).iter().all(|verdict| !verdict.1));
    }

    #[test]
    fn differing_bits_are_counted() {
        let same = reference();
        assert_eq!(same.differing(&reference()), 0);
        let one = compared(&[2.0], &[("large", &[300.0, 400.1]), ("small", &[0.01]), ("zero", &[1e-9])]);
        assert_eq!(same.differing(&one), 1);
        assert_eq!(same.differing(&compared(&[2.0], &[])), 5);
        assert_eq!(differing(&Tensor::from_slice(&[f64::NAN]), &Tensor::from_slice(&[f64::NAN])), 1);
    }
}
