//! What a rank works on in a step, and a piece of it.

use std::ops::Range;

use tch::Tensor;

use crate::method::Targets;

/// This rank's share of a global batch.
pub struct LocalBatch {
    /// `[num_views * n, C, H, W]`, view-major.
    pub inputs: Tensor,
    /// What the method may know about the samples.
    pub targets: Targets,
}

impl LocalBatch {
    /// The samples `rows`, all of their views.
    pub(super) fn narrow(&self, rows: &Range<usize>, num_views: u32) -> LocalBatch {
        let samples = self.targets.classes.len();
        let inputs = if *rows == (0..samples) {
            self.inputs.shallow_clone()
        } else {
            let views: Vec<Tensor> = (0..num_views as usize)
                .map(|v| self.inputs.narrow(0, (v * samples + rows.start) as i64, rows.len() as i64))
                .collect();
            Tensor::cat(&views, 0)
        };
        LocalBatch { inputs, targets: self.targets.narrow(rows) }
    }
}
