//! The contrastive loss, in time and memory per pair.

use std::hint::black_box;
use std::time::Instant;

use serde::Serialize;
use tch::{Device, Kind, Tensor};

use super::process::{memory, reset_peak};
use crate::error::TrainError;
use crate::loss::contrastive::{PairKeys, PairLoss, PairProblem, default_tile};

/// The contrastive loss.
#[derive(Debug, Clone, Serialize)]
pub struct LossFigures {
    /// Nanoseconds per ordered pair of rows, loss and gradient together.
    pub ns_per_pair: f64,
    /// Peak memory beside the embeddings and their gradient, in bytes.
    pub extra_bytes: u64,
    /// Rows.
    pub rows: usize,
    /// Width of a row.
    pub dim: usize,
    /// Rows of a tile.
    pub tile: usize,
    /// CPU threads.
    pub threads: usize,
}

/// Times loss and gradient of random unit rows, two per sample.
pub fn loss(rows: usize, dim: usize, tile: Option<usize>, threads: usize) -> Result<LossFigures, TrainError> {
    if rows < 2 || dim < 1 {
        return Err(TrainError::config(
            format!("the loss needs at least 2 rows and 1 column, not {rows} x {dim}"),
            "raise `--rows` or `--dim`",
        ));
    }
    tch::set_num_threads(threads.max(1) as i32);
    tch::manual_seed(0);
    let z = Tensor::randn([rows as i64, dim as i64], (Kind::Float, Device::Cpu));
    let z = &z / z.norm_scalaropt_dim(2, [1], true);
    let tile = tile.unwrap_or_else(|| default_tile(z.device(), rows));
    let settings = PairLoss { temperature: 0.1, tile: Some(tile) };
    let solve = |z: &Tensor| {
        let groups: Vec<i64> = (0..z.size().first().copied().unwrap_or(0)).map(|row| row / 2).collect();
        PairProblem::new(z, &PairKeys::new(groups.clone(), groups), None, &settings).whole()
    };
    // A small call first, so that libtorch's own start-up is not counted.
    let small = (rows as i64).min(2 * tile as i64);
    black_box(solve(&z.narrow(0, 0, small)));

    reset_peak();
    let before = memory("VmRSS:");
    let begin = Instant::now();
    let result = solve(&z);
    black_box(result.loss.double_value(&[]));
    let secs = begin.elapsed().as_secs_f64();
    let gradient_bytes = (rows * dim * size_of::<f32>()) as u64;
    Ok(LossFigures {
        ns_per_pair: secs * 1e9 / (rows as f64 * rows as f64),
        extra_bytes: memory("VmHWM:").saturating_sub(before).saturating_sub(gradient_bytes),
        rows,
        dim,
        tile,
        threads,
    })
}
