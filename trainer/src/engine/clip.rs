//! The global gradient norm and clipping by it (Pascanu et al. 2013, arXiv 1211.5063), as
//! `torch.nn.utils.clip_grad_norm_` does.

use tch::{Kind, Tensor};

use super::flat::{ActiveSet, Flat, part, squared_norm};

/// PyTorch's guard against a division by zero.
const EPSILON: f64 = 1e-6;

/// Euclidean norm of the active gradients; not finite if one of them is not.
pub fn global_norm(flat: &Flat, active: &ActiveSet) -> f64 {
    let squares: Vec<Tensor> =
        active.ranges().iter().map(|range| squared_norm(&part(flat.gradients(), range))).collect();
    if squares.is_empty() {
        return 0.0;
    }
    Tensor::stack(&squares, 0).sum(Kind::Double).sqrt().double_value(&[])
}

/// Scales the active gradients, whose norm is `norm`, so that it becomes `max_norm` if it is larger.
pub fn scale_to(flat: &Flat, active: &ActiveSet, norm: f64, max_norm: f64) {
    let factor = max_norm / (norm + EPSILON);
    if factor < 1.0 {
        for range in active.ranges() {
            let _ = part(flat.gradients(), range).g_mul_scalar_(factor);
        }
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::model::parameters::{Init, Parameters, Role};

    fn flat() -> Flat {
        let mut parameters = Parameters::new(Device::Cpu, Kind::Float, 1);
        for (name, len) in [("a", 2), ("frozen", 3), ("b", 1)] {
            let _ = parameters.parameter(name, &[len], Init::Constant(1.0), Role::Weight);
        }
        let flat = Flat::new(&parameters).unwrap();
        for (segment, value) in flat.segments().iter().zip([2.0, 100.0, 1.0]) {
            let _ = segment.view_of(flat.gradients()).fill_(value);
        }
        flat
    }

    #[test]
    fn only_active_gradients_count_and_are_scaled() {
        let flat = flat();
        let active = flat.active_set(&[true, false, true]);
        let norm = global_norm(&flat, &active);
        assert_eq!(norm, 3.0);
        scale_to(&flat, &active, norm, 5.0);
        assert_eq!(global_norm(&flat, &active), 3.0);
        scale_to(&flat, &active, norm, 0.5);
        assert!((global_norm(&flat, &active) - 0.5).abs() < 1e-6);
        let frozen = flat.segments()[1].view_of(flat.gradients());
        assert_eq!(frozen.max().double_value(&[]), 100.0);
        assert_eq!(global_norm(&flat, &flat.active_set(&[])), 0.0);
    }

    #[test]
    fn a_gradient_that_is_not_finite_is_seen() {
        for bad in [f64::NAN, f64::INFINITY] {
            let flat = flat();
            let _ = flat.gradients().narrow(0, 1, 1).fill_(bad);
            assert!(!global_norm(&flat, &flat.active_set(&[true, true, true])).is_finite());
            assert!(global_norm(&flat, &flat.active_set(&[false, true, true])).is_finite());
        }
    }
}
