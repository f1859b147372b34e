//! Whether an answer depends on what masks mark: the share of what matters that lies within them, of every sample with a mask, by
//! three ways to tell what matters.

use dtrain_comm::CollectiveExt;
use tch::Tensor;

use super::evaluator::{Asks, Conclusion, Evaluator, Role, Seen, Subject};
use super::explain::{grad_cam, integrated_gradients, log_probability_gradient, share_within};
use super::heads::numbers;
use super::{Evaluation, Thoroughness, names};
use crate::error::TrainError;
use crate::method::Method;

/// Shares of the input gradient, of integrated gradients and of Grad-CAM. The first is cheap enough for each evaluation.
const SHARES: [&str; 3] =
    [names::GRADIENT_IN_MASK, names::INTEGRATED_GRADIENT_IN_MASK, names::GRAD_CAM_IN_MASK];
/// Samples that are kept to be drawn.
const NUM_DRAWN: usize = 8;

/// What a sample is seen by, for a picture: planes [H, W] each.
#[derive(Debug, Clone, Default)]
pub struct ExplainedSample {
    /// What the sample is called.
    pub name: String,
    /// Rows and columns.
    pub size: [usize; 2],
    /// The first channel of the view, its mask, then how much each position matters: by the input gradient, by integrated gradients,
    /// by Grad-CAM where there are maps.
    pub planes: Vec<Vec<f32>>,
}

/// Sums over this rank's samples.
pub(super) struct Explanations<'a> {
    method: Option<&'a dyn Method>,
    in_full: bool,
    /// Of each of [`SHARES`]: sum and count.
    sums: [[f64; 2]; SHARES.len()],
    drawn: Vec<(u32, ExplainedSample)>,
}

impl<'a> Explanations<'a> {
    pub(super) fn new(subject: &Subject<'a>) -> Self {
        let is_asked = subject.config.explanations && subject.method.explained().is_some();
        Self {
            method: is_asked.then_some(subject.method),
            in_full: false,
            sums: [[0.0; 2]; SHARES.len()],
            drawn: Vec::new(),
        }
    }

    fn add(&mut self, which: usize, importance: &Tensor, masks: &Tensor) -> Result<(), TrainError> {
        for share in numbers(&share_within(importance, masks)?)? {
            if let (Some([sum, count]), true) = (self.sums.get_mut(which), share.is_finite()) {
                *sum += share;
                *count += 1.0;
            }
        }
        Ok(())
    }

    /// Keeps the first samples for the picture.
    fn keep(&mut self, ids: &[u32], planes: &[Tensor]) -> Result<(), TrainError> {
        for (row, &id) in (0i64..).zip(ids).take(NUM_DRAWN.saturating_sub(self.drawn.len())) {
            let mut sample = ExplainedSample::default();
            for plane in planes {
                let own = plane.f_get(row)?;
                if let [_, height, width] = *own.size() {
                    sample.size = [height as usize, width as usize];
                }
                let own = own.f_select(0, 0)?.f_to_kind(tch::Kind::Float)?.f_to_device(tch::Device::Cpu)?;
                sample.planes.push(Vec::try_from(own.f_flatten(0, -1)?)?);
            }
            self.drawn.push((id, sample));
        }
        Ok(())
    }
}

impl Evaluator for Explanations<'_> {
    fn metrics(&self, part: &str, thoroughness: Thoroughness) -> Vec<String> {
        if self.method.is_none() {
            return Vec::new();
        }
        let shares = if thoroughness.train { &SHARES[..] } else { &SHARES[..1] };
        shares.iter().map(|name| names::of_part(part, name)).collect()
    }

    fn asks(&self, role: Role, _: Thoroughness) -> Asks {
        Asks { masks: self.method.is_some() && role == Role::Examined, ..Asks::default() }
    }

    fn see(&mut self, _: Role, seen: &Seen<'_>) -> Result<(), TrainError> {
        let explained = self.method.and_then(|method| method.explained());
        let (Some(explained), Some(masks)) = (explained, seen.masks) else { return Ok(()) };
        let marked = masks.f_flatten(1, -1)?.f_any_dim(1, false)?;
        let rows = marked.f_nonzero()?.f_flatten(0, -1)?;
        if rows.numel() == 0 {
            return Ok(());
        }
        let (inputs, masks) = (seen.inputs.f_index_select(0, &rows)?, masks.f_index_select(0, &rows)?);
        let gradient = log_probability_gradient(&explained, &inputs)?;
        self.add(0, &gradient, &masks)?;
        if !self.in_full {
            return Ok(());
        }
        let integrated = integrated_gradients(&explained, &inputs)?;
        self.add(1, &integrated, &masks)?;
        let mut planes = vec![inputs, masks.shallow_clone(), gradient.f_abs()?, integrated.f_abs()?];
        if let Some(maps) = grad_cam(&explained, &planes[0])? {
            self.add(2, &maps, &masks)?;
            planes.push(maps);
        }
        let ids: Vec<u32> = seen.batch.kept_ids().collect();
        let marked = Vec::<i64>::try_from(rows.f_to_device(tch::Device::Cpu)?)?;
        let ids: Vec<u32> = marked.iter().filter_map(|&row| ids.get(row as usize).copied()).collect();
        self.keep(&ids, &planes)
    }

    fn begin(&mut self, _: Role, thoroughness: Thoroughness) {
        self.in_full = thoroughness.train;
    }

    fn conclude(
        &mut self,
        read: &Conclusion<'_>,
        evaluation: &mut Evaluation,
    ) -> Result<Vec<String>, TrainError> {
        if self.method.is_none() {
            return Ok(Vec::new());
        }
        let mut sums: Vec<f64> = std::mem::take(&mut self.sums).concat();
        read.engine.collective().sum_f64(&mut sums)?;
        for (name, share) in SHARES.iter().zip(sums.chunks_exact(2)) {
            if let [sum, count] = *share
                && count > 0.0
            {
                evaluation.metrics.insert(names::of_part(&evaluation.part, name), sum / count);
            }
        }
        let named = |(id, sample): (u32, ExplainedSample)| ExplainedSample {
            name: read.dataset.name_of(id).unwrap_or_default(),
            ..sample
        };
        evaluation.explained = std::mem::take(&mut self.drawn).into_iter().map(named).collect();
        Ok(Vec::new())
    }
}
