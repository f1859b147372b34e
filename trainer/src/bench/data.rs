//! Decoding and augmented views per second.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use dtrain_comm::Collective;
use dtrain_configs::RunConfig;
use dtrain_data::progress::Work;
use dtrain_data::{ViewRequest, ViewSlot, Workspace};
use serde::Serialize;

use super::median;
use crate::error::TrainError;
use crate::run::{Purpose, prepare};

/// Augmented views.
#[derive(Debug, Clone, Serialize)]
pub struct DataFigures {
    /// Views per second on one core, from decoded samples in memory.
    pub views_per_s_per_core: f64,
    /// Recordings decoded and resampled, or images read, per second on one core.
    pub decoded_files_per_s: f64,
    /// Views that were timed.
    pub views: u64,
}

/// Samples that are decoded, and views of each that are timed.
const DATA_FILES: usize = 512;
const DATA_VIEWS: u64 = 24;

/// Times decoding, and then views of what is decoded, on the calling thread.
pub fn data(config: RunConfig, ranks: &Arc<dyn Collective>) -> Result<DataFigures, TrainError> {
    let prepared = prepare(config, ranks, Purpose::Evaluate, None)?;
    let ids: Vec<u32> = prepared.dataset.train.iter().copied().take(DATA_FILES).collect();
    let maker = &prepared.maker;
    let mut workspace = Workspace::default();
    let mut view = vec![0.0; maker.slot_len(0).unwrap_or(0)];

    let decoding = Instant::now();
    let work = Work::begin("decoding", "samples", ids.len() as u64);
    for &id in &ids {
        maker.load(&mut workspace, id)?;
        work.add(1);
    }
    drop(work);
    let decode_secs = decoding.elapsed().as_secs_f64();

    let mut rounds = Vec::new();
    let work = Work::begin("making views", "views", ids.len() as u64 * DATA_VIEWS);
    for epoch in 0..DATA_VIEWS {
        let round = Instant::now();
        for &id in &ids {
            let request = ViewRequest { epoch, sample_id: id, augment: true };
            let slot = ViewSlot { spec: 0, view: 0, index: 0, values: &mut view, drawn: &mut [] };
            maker.make(&mut workspace, &request, vec![slot], &mut [])?;
            black_box(&view);
        }
        rounds.push(round.elapsed().as_secs_f64());
        work.add(ids.len() as u64);
    }
    Ok(DataFigures {
        views_per_s_per_core: ids.len() as f64 / median(&mut rounds),
        decoded_files_per_s: ids.len() as f64 / decode_secs,
        views: ids.len() as u64 * DATA_VIEWS,
    })
}
