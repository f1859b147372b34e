//! The global gradient norm and clipping by it (Pascanu et al. 2013, arXiv 1211.5063), as
//! `torch.nn.utils.clip_grad_norm_` does, or by the norm of each parameter, as DINO's official code (`clip_gradients`).

use dtrain_configs::schema::ClipNorm;
use tch::{Kind, Tensor};

use super::flat::{ActiveSet, Flat, part, squared_norm};
use super::ranks::Ranks;
use super::shard::Shard;
use crate::error::TrainError;

/// PyTorch's guard against a division by zero.
const EPSILON: f64 = 1e-6;

/// A limit of gradients.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Clip {
    /// Largest norm.
    pub max_norm: f64,
    /// Of what.
    pub of: ClipNorm,
}

/// Euclidean norm of the active gradients, 0-dimensional, f64, on the device; not finite if one of them is not. Where each
/// rank has the sum of its shard only, the ranks add up their parts.
///
/// # Errors
/// When the ranks cannot talk.
pub fn global_norm(
    flat: &Flat,
    active: &ActiveSet,
    shard: &Shard,
    ranks: &Ranks,
) -> Result<Tensor, TrainError> {
    let runs: Vec<_> = active.ranges().iter().map(|range| (range.clone(), ())).collect();
    let squares: Vec<Tensor> = shard
        .runs(ranks.world().rank, &runs)
        .iter()
        .filter(|run| run.counts)
        .map(|run| squared_norm(&part(flat.gradients(), &run.flat)))
        .collect();
    let mut sum = if squares.is_empty() {
        Tensor::zeros([1], (Kind::Double, flat.gradients().device()))
    } else {
        Tensor::stack(&squares, 0).sum(Kind::Double).view([1])
    };
    if !shard.is_whole() {
        ranks.sum_f64(&mut sum)?;
    }
    Ok(sum.sqrt().squeeze())
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

/// As [`scale_to`], with a norm that only the device knows.
pub fn scale_to_on_device(flat: &Flat, active: &ActiveSet, norm: &Tensor, max_norm: f64) {
    let factor = ((norm + EPSILON).reciprocal() * max_norm).clamp_max(1.0).to_kind(flat.gradients().kind());
    for range in active.ranges() {
        let _ = part(flat.gradients(), range).g_mul_(&factor);
    }
}

/// Scales the gradient of each active parameter so that its norm becomes `max_norm` if it is larger; none of it is known to the
/// host. Where each rank has the sum of its shard only, that is what is scaled, and the ranks add up their parts of the norms.
///
/// # Errors
/// When the ranks cannot talk, or memory runs out.
pub fn scale_each(
    flat: &Flat,
    active: &ActiveSet,
    shard: &Shard,
    ranks: &Ranks,
    max_norm: f64,
) -> Result<(), TrainError> {
    let segments = flat.segments().iter().enumerate().filter(|(index, _)| active.contains(*index));
    let each: Vec<_> = segments
        .enumerate()
        .map(|(place, (_, segment))| (segment.offset..segment.offset + segment.len, place))
        .collect();
    let own = shard.runs(ranks.world().rank, &each);
    let gradients = flat.gradients();
    let zero = Tensor::f_zeros([0_i64; 0], (Kind::Double, gradients.device()))?;
    let mut squares: Vec<Tensor> = each.iter().map(|_| zero.shallow_clone()).collect();
    for run in own.iter().filter(|run| run.counts) {
        if let Some(sum) = squares.get_mut(run.treatment) {
            *sum = sum.f_add(&squared_norm(&part(gradients, &run.flat)))?;
        }
    }
    if squares.is_empty() {
        return Ok(());
    }
    let mut squares = Tensor::f_stack(&squares, 0)?;
    if !shard.is_whole() {
        ranks.sum_f64(&mut squares)?;
    }
    let factors = ((squares.f_sqrt()? + EPSILON).f_reciprocal()? * max_norm).f_clamp_max(1.0)?;
    let factors = factors.f_to_kind(gradients.kind())?;
    for run in &own {
        let _ = part(gradients, &run.flat).f_mul_(&factors.f_select(0, run.treatment as i64)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use dtrain_comm::{Collective, Single};
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

    fn norm_of(flat: &Flat, active: &ActiveSet) -> f64 {
        let alone: Arc<dyn Collective> = Arc::new(Single::new());
        let shard = Shard::whole(flat.num_elements());
        global_norm(flat, active, &shard, &Ranks::inline(&alone)).unwrap().double_value(&[])
    }

    #[test]
    fn only_active_gradients_count_and_are_scaled() {
        let flat = flat();
        let active = flat.active_set(&[true, false, true]);
        let norm = norm_of(&flat, &active);
        assert_eq!(norm, 3.0);
        scale_to(&flat, &active, norm, 5.0);
        assert_eq!(norm_of(&flat, &active), 3.0);
        scale_to(&flat, &active, norm, 0.5);
        assert!((norm_of(&flat, &active) - 0.5).abs() < 1e-6);
        scale_to_on_device(&flat, &active, &Tensor::from(0.5), 0.25);
        assert!((norm_of(&flat, &active) - 0.25).abs() < 1e-6);
        scale_to_on_device(&flat, &active, &Tensor::from(0.25), 1.0);
        assert!((norm_of(&flat, &active) - 0.25).abs() < 1e-6);
        let frozen = flat.segments()[1].view_of(flat.gradients());
        assert_eq!(frozen.max().double_value(&[]), 100.0);
        assert_eq!(norm_of(&flat, &flat.active_set(&[])), 0.0);
    }

    #[test]
    fn each_parameter_is_scaled_by_its_own_norm() {
        let flat = flat();
        let active = flat.active_set(&[true, false, true]);
        let alone: Arc<dyn Collective> = Arc::new(Single::new());
        let (shard, ranks) = (Shard::whole(flat.num_elements()), Ranks::inline(&alone));
        // Norms of sqrt(8) and 1, of which the first is too large.
        scale_each(&flat, &active, &shard, &ranks, 1.5).unwrap();
        let norms: Vec<f64> = flat
            .segments()
            .iter()
            .map(|segment| segment.view_of(flat.gradients()).norm().double_value(&[]))
            .collect();
        let frozen = 100.0 * 3f64.sqrt();
        for (norm, expected) in norms.into_iter().zip([1.5, frozen, 1.0]) {
            assert!((norm - expected).abs() < 1e-5 * expected, "{norm} is not {expected}");
        }
        scale_each(&flat, &flat.active_set(&[]), &shard, &ranks, 1e-3).unwrap();
    }

    #[test]
    fn a_gradient_that_is_not_finite_is_seen() {
        for bad in [f64::NAN, f64::INFINITY] {
            let flat = flat();
            let _ = flat.gradients().narrow(0, 1, 1).fill_(bad);
            assert!(!norm_of(&flat, &flat.active_set(&[true, true, true])).is_finite());
            assert!(norm_of(&flat, &flat.active_set(&[false, true, true])).is_finite());
        }
    }
}
