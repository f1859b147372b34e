//! Measures samples on several threads, as batches are made.

use std::sync::Arc;

use rayon::ThreadPoolBuilder;
use rayon::prelude::*;

use super::LoaderError;
use crate::progress::Work;
use crate::views::{Views, Workspace};

/// Samples that a thread measures with the same buffers.
const SAMPLES_AT_ONCE: usize = 64;

/// For each of `ids` the values of [`Views::measures`], or `None` where it cannot be read.
///
/// # Errors
/// [`LoaderError::Threads`].
pub fn measure(
    maker: &Arc<dyn Views>,
    ids: &[u32],
    threads: usize,
) -> Result<Vec<Option<Vec<f64>>>, LoaderError> {
    let pool = ThreadPoolBuilder::new().num_threads(threads.max(1)).build();
    let pool = pool.map_err(|error| LoaderError::Threads(error.to_string()))?;
    let work = Work::begin("measuring samples", "samples", ids.len() as u64);
    let of_some = |ids: &[u32]| -> Vec<Option<Vec<f64>>> {
        let mut workspace = Workspace::default();
        let of_one = |&id: &u32| {
            let measured = maker.measure(&mut workspace, id).ok();
            work.add(1);
            measured
        };
        ids.iter().map(of_one).collect()
    };
    Ok(pool.install(|| ids.par_chunks(SAMPLES_AT_ONCE).flat_map_iter(of_some).collect()))
}
