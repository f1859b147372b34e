//! How the samples of a prepared run are read: by the loader, and for evaluations.

use std::sync::Arc;

use dtrain_data::LoaderOptions;

use super::prepared::Prepared;
use crate::eval::{LossBatches, Reading};
use crate::method::TargetColumns;

/// The labels that decide what is learned.
pub(crate) fn target_columns(prepared: &Prepared) -> TargetColumns<'_> {
    let data = &prepared.config.data;
    TargetColumns { target: &data.target, recording: data.recording.as_deref() }
}

/// How the losses of a part are computed.
pub(crate) fn loss_batches(prepared: &Prepared) -> LossBatches<'_> {
    let config = &prepared.config;
    LossBatches {
        batch_size: config.trainer.batch_size,
        seed: config.seed,
        columns: target_columns(prepared),
    }
}

/// How a part is read for an evaluation.
pub(crate) fn reading(prepared: &Prepared) -> Reading {
    Reading {
        maker: Arc::clone(&prepared.maker),
        batch_size: prepared.config.eval.batch_size,
        options: loader_options(prepared),
    }
}

/// How batches are prepared.
pub(crate) fn loader_options(prepared: &Prepared) -> LoaderOptions {
    LoaderOptions {
        threads: prepared.resolved.loader_threads,
        prefetch_batches: prepared.config.trainer.prefetch_batches,
        prefetch_bytes: prepared.config.trainer.prefetch_bytes,
        tells_of_first: false,
    }
}
