//! How far two trainings are apart, as relative norms.

use std::ops::Range;

use dtrain_comm::{Buffer, Collective, CommError, ReduceOp};
use tch::{Kind, TchError, Tensor};

/// Differences between one way and the reference: the largest of all steps, and of all ranks after
/// [`Differences::merge`]. What is not a number counts as infinite.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Differences {
    /// Of the loss.
    pub(super) loss: f64,
    /// Of the gradient as one vector.
    pub(super) gradient: f64,
    /// Of each parameter's gradient.
    pub(super) gradient_of: Vec<f64>,
    /// Of the weights as one vector, after the last step.
    pub(super) weights: f64,
    /// Of each parameter and then each running statistic, after the last step.
    pub(super) weights_of: Vec<f64>,
    /// Whether ranks ended with different bits.
    pub(super) parted: bool,
}

impl Differences {
    /// No difference, for `num_parameters` parameters.
    pub(super) fn none(num_parameters: usize) -> Self {
        Self {
            loss: 0.0,
            gradient: 0.0,
            gradient_of: vec![0.0; num_parameters],
            weights: 0.0,
            weights_of: Vec::new(),
            parted: false,
        }
    }

    /// The losses of all steps; a step that is missing differs infinitely. A difference counts relative to a loss above 1,
    /// and as it is below: a mean of cosines goes through zero.
    pub(super) fn compare_losses(&mut self, actual: &[f64], expected: &[f64]) {
        for (step, &expected) in expected.iter().enumerate() {
            let actual = actual.get(step).copied().unwrap_or(f64::NAN);
            self.loss = self.loss.max(relative((actual - expected).abs(), expected.abs().max(1.0)));
        }
    }

    /// The gradients of a step.
    pub(super) fn compare_gradients(&mut self, actual: Flat<'_>, expected: Flat<'_>) -> Result<(), TchError> {
        let (whole, of_each) = actual.compare(expected)?;
        self.gradient = self.gradient.max(whole);
        for (largest, other) in self.gradient_of.iter_mut().zip(of_each) {
            *largest = largest.max(other);
        }
        Ok(())
    }

    /// The weights.
    pub(super) fn compare_weights(&mut self, actual: Flat<'_>, expected: Flat<'_>) -> Result<(), TchError> {
        (self.weights, self.weights_of) = actual.compare(expected)?;
        Ok(())
    }

    /// The running statistics, after the weights, each difference measured by its scale.
    pub(super) fn compare_statistics(
        &mut self,
        actual: &[Tensor],
        expected: &[Tensor],
        scales: &[f64],
    ) -> Result<(), TchError> {
        for ((actual, expected), &scale) in actual.iter().zip(expected).zip(scales) {
            self.weights_of.push(relative(norm(&difference(actual, expected)?)?, scale));
        }
        Ok(())
    }

    /// The largest differences over all ranks, on all ranks.
    pub(super) fn merge(mut self, collective: &dyn Collective) -> Result<Self, CommError> {
        let mut numbers = vec![self.loss, self.gradient, self.weights, f64::from(u8::from(self.parted))];
        numbers.extend(&self.gradient_of);
        numbers.extend(&self.weights_of);
        collective.all_reduce(Buffer::from(numbers.as_mut_slice()), ReduceOp::Max)?;
        let mut numbers = numbers.into_iter();
        let mut parted = 0.0;
        for place in [&mut self.loss, &mut self.gradient, &mut self.weights, &mut parted]
            .into_iter()
            .chain(&mut self.gradient_of)
            .chain(&mut self.weights_of)
        {
            *place = numbers.next().unwrap_or(f64::INFINITY);
        }
        self.parted = parted > 0.0;
        Ok(self)
    }
}

/// A flat tensor and where each parameter lies in it, which depends on the type: parameters are aligned.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flat<'a> {
    pub(super) values: &'a Tensor,
    pub(super) parts: &'a [Range<usize>],
}

impl Flat<'_> {
    /// Relative differences from `expected`, as one vector and by part.
    fn compare(self, expected: Flat<'_>) -> Result<(f64, Vec<f64>), TchError> {
        let (mut squares, mut scale) = (0.0, 0.0);
        let mut of_each = Vec::with_capacity(self.parts.len());
        for (own, other) in self.parts.iter().zip(expected.parts) {
            let other = part(expected.values, other)?;
            let (distance, length) = (norm(&difference(&part(self.values, own)?, &other)?)?, norm(&other)?);
            of_each.push(relative(distance, length));
            squares += distance * distance;
            scale += length * length;
        }
        Ok((relative(squares.sqrt(), scale.sqrt()), of_each))
    }
}

fn part(values: &Tensor, range: &Range<usize>) -> Result<Tensor, TchError> {
    values.f_narrow(0, range.start as i64, range.len() as i64)
}

fn difference(actual: &Tensor, expected: &Tensor) -> Result<Tensor, TchError> {
    actual.f_to_kind(Kind::Double)?.f_sub(&expected.f_to_kind(Kind::Double)?)
}

/// Euclidean norm in f64.
pub(super) fn norm(tensor: &Tensor) -> Result<f64, TchError> {
    tensor.f_to_kind(Kind::Double)?.f_norm()?.f_double_value(&[])
}

/// `difference / scale`; 0 where nothing differs, infinite where something is not a number.
fn relative(difference: f64, scale: f64) -> f64 {
    if difference == 0.0 {
        return 0.0;
    }
    let relative = difference / scale;
    if relative.is_nan() { f64::INFINITY } else { relative }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use dtrain_comm::local_world;

    use super::*;

    const PARTS: [Range<usize>; 2] = [0..2, 2..4];

    fn compared(actual: &[f64], expected: &[f64]) -> Differences {
        let mut differences = Differences::none(PARTS.len());
        let [actual, expected] = [actual, expected].map(Tensor::from_slice);
        let [actual, expected] = [&actual, &expected].map(|values| Flat { values, parts: &PARTS });
        differences.compare_gradients(actual, expected).unwrap();
        differences
    }

    #[test]
    fn differences_are_norms_over_norms() {
        let found = compared(&[3.0, 4.0, 0.0, 11.0], &[3.0, 4.0, 0.0, 10.0]);
        assert_eq!(found.gradient_of, [0.0, 0.1]);
        assert!((found.gradient - 1.0 / 125_f64.sqrt()).abs() < 1e-15);
    }

    #[test]
    fn the_largest_step_counts() {
        let mut found = compared(&[1.0, 0.0, 1.0, 0.0], &[1.0, 0.0, 2.0, 0.0]);
        let same = Tensor::from_slice(&[1.0, 1.0, 1.0, 1.0]);
        let same = Flat { values: &same, parts: &PARTS };
        found.compare_gradients(same, same).unwrap();
        assert_eq!(found.gradient_of, [0.0, 0.5]);
        found.compare_losses(&[1.0, 3.0], &[1.0, 2.0]);
        found.compare_losses(&[1.0, 2.0], &[1.0, 2.0]);
        assert_eq!(found.loss, 0.5);
        found.compare_losses(&[1e-12, -0.25], &[0.0, 0.5]);
        assert_eq!(found.loss, 0.75);
    }

    #[test]
    fn parameters_may_lie_apart() {
        let mut found = Differences::none(2);
        let (f32s, f64s) = (Tensor::from_slice(&[1.0_f32, 0.0, 0.0, 2.0]), Tensor::from_slice(&[1.0, 2.5]));
        let actual = Flat { values: &f32s, parts: &[0..1, 3..4] };
        found.compare_weights(actual, Flat { values: &f64s, parts: &[0..1, 1..2] }).unwrap();
        assert_eq!(found.weights_of, [0.0, 0.2]);
    }

    #[test]
    fn what_is_no_number_is_never_small() {
        assert_eq!(compared(&[f64::NAN, 0.0, 1.0, 1.0], &[1.0, 0.0, 1.0, 1.0]).gradient, f64::INFINITY);
        assert_eq!(compared(&[1e-100, 0.0, 1.0, 1.0], &[0.0, 0.0, 1.0, 1.0]).gradient_of[0], f64::INFINITY);
        assert_eq!(compared(&[0.0; 4], &[0.0; 4]).gradient_of, [0.0, 0.0]);
        let mut missing = Differences::none(0);
        missing.compare_losses(&[1.0], &[1.0, 2.0]);
        assert_eq!(missing.loss, f64::INFINITY);
    }

    #[test]
    fn all_ranks_learn_the_largest_differences() {
        let threads: Vec<_> = local_world(2)
            .into_iter()
            .map(|collective| {
                thread::spawn(move || {
                    let mut own = Differences::none(2);
                    if collective.world().rank == 1 {
                        own.gradient_of = vec![0.0, 7.0];
                        (own.loss, own.parted) = (f64::INFINITY, true);
                    } else {
                        own.weights = 3.0;
                    }
                    own.weights_of = vec![collective.world().rank as f64];
                    own.merge(&*collective).unwrap()
                })
            })
            .collect();
        let expected = Differences {
            loss: f64::INFINITY,
            gradient: 0.0,
            gradient_of: vec![0.0, 7.0],
            weights: 3.0,
            weights_of: vec![1.0],
            parted: true,
        };
        for thread in threads {
            assert_eq!(thread.join().unwrap(), expected);
        }
    }
}
