//! The running statistics of all batch norms of a network, by the names that they are saved under.

use tch::Tensor;

use super::parameters::{Buffer, Parameters};

/// The statistics of one layer; they share its memory.
#[derive(Debug)]
pub struct NormStatistics {
    /// Mean of each channel.
    pub mean: Tensor,
    /// Variance of each channel.
    pub var: Tensor,
    /// Batches that they have learned from, 0-dimensional.
    pub num_batches: Tensor,
}

impl Parameters {
    /// The statistics of every batch norm, in the order of the layers.
    pub fn norm_statistics(&self) -> Vec<NormStatistics> {
        let of = |prefix: &str, name: &str| {
            let full = format!("{prefix}{name}");
            let found = self.buffers().iter().find(|buffer| buffer.name == full);
            found.map(|buffer| buffer.tensor.shallow_clone())
        };
        let layer = |buffer: &Buffer| {
            let prefix = buffer.name.strip_suffix("running_mean")?;
            Some(NormStatistics {
                mean: buffer.tensor.shallow_clone(),
                var: of(prefix, "running_var")?,
                num_batches: of(prefix, "num_batches_tracked")?,
            })
        };
        self.buffers().iter().filter_map(layer).collect()
    }
}
