//! Whether two trainings are the same, up to what roundings leave.

use super::*;

pub(super) fn norm(tensor: &Tensor) -> f64 {
    tensor.to_kind(Kind::Double).norm().double_value(&[])
}

/// Relative difference of two lists of tensors, as one vector.
fn difference<'a>(pairs: impl Iterator<Item = (&'a Tensor, &'a Tensor)>) -> f64 {
    let (mut squares, mut scale) = (0.0, 0.0);
    for (actual, expected) in pairs {
        squares += norm(&(actual - expected)).powi(2);
        scale += norm(expected).powi(2);
    }
    (squares / f64::max(scale, 1e-300)).sqrt()
}

pub(super) fn assert_same_training(what: &str, actual: &Trained, expected: &Trained) {
    assert_alike(what, actual, expected, 1.0);
}

/// As [`assert_same_training`], where roundings differ by `noise` times as much.
pub(super) fn assert_alike(what: &str, actual: &Trained, expected: &Trained, noise: f64) {
    for (step, (a, e)) in actual.outcomes.iter().zip(&expected.outcomes).enumerate() {
        assert!(a.finite && e.finite, "{what}: step {step} is not finite");
        assert!(
            (a.loss / e.loss - 1.0).abs() < 1e-10 * noise,
            "{what}: loss {} is not {} in step {step}",
            a.loss,
            e.loss
        );
        let error = (a.grad_norm / e.grad_norm - 1.0).abs();
        assert!(error < 1e-10 * noise, "{what}: gradient norm in step {step} differs by {error:e}");
        assert_eq!((a.means.len(), a.anchors, a.lr), (e.means.len(), e.anchors, e.lr), "{what}: step {step}");
        for ((name, a), (expected, e)) in a.means.iter().zip(&e.means) {
            assert!(
                name == expected && (a - e).abs() < 1e-12 * noise,
                "{what}: {name} is {a}, not {e}, in step {step}"
            );
        }
        let error = difference([(&actual.gradients[step], &expected.gradients[step])].into_iter());
        // A rank with a shard has the sums of its shard only.
        assert!(
            actual.partial || error < 1e-10 * noise,
            "{what}: gradient of step {step} differs by {error:e}"
        );
    }
    for (part, tolerance, a, e) in [
        ("weights", 1e-10, &actual.weights, &expected.weights),
        ("moments", 1e-9, &actual.moments, &expected.moments),
    ] {
        let error = difference(a.iter().zip(e).map(|(a, e)| (&a.1, &e.1)));
        assert!(error < tolerance * noise, "{what}: {part} differ by {error:e}");
    }
    for (a, e) in
        actual.weights.iter().chain(&actual.buffers).zip(expected.weights.iter().chain(&expected.buffers))
    {
        let allowed = 1e-8 * noise * norm(&e.1).max(1e-3);
        let error = norm(&(&a.1 - &e.1));
        assert!(error < allowed, "{what}: `{}` differs by {error:e} of {:e}", a.0, norm(&e.1));
    }
}

pub(super) fn assert_moved(what: &str, trained: &Trained, case: &Case) {
    let mut fresh = Parameters::new(Device::Cpu, Kind::Double, 3);
    let _ = (case.build)(&mut fresh);
    for ((name, after), before) in trained.weights.iter().zip(fresh.parameters()) {
        assert_ne!(*after, before.tensor.detach(), "{what}: `{name}` never moved");
    }
}
