//! How the samples of a prepared run are read: by the loader, and for evaluations.

use std::sync::Arc;

use dtrain_configs::RunConfig;
use dtrain_data::{Dataset, LoaderOptions};

use super::bank::Bank;
use super::prepared::Prepared;
use super::probes::probe_labels;
use crate::eval::{Embedder, LossBatches, Reading, Subject};
use crate::method::{Method, TargetColumns};

/// The labels that decide what is learned.
pub(crate) fn target_columns(config: &RunConfig) -> TargetColumns<'_> {
    let data = &config.data;
    TargetColumns { target: &data.target, recording: data.recording_label(), pools: &data.pools }
}

/// What an evaluation of the run is about.
pub(crate) fn subject(prepared: &Prepared) -> Subject<'_> {
    subject_of(&prepared.config, &prepared.dataset, prepared.engine.method())
}

/// The same before there is an engine.
pub(super) fn subject_of<'a>(
    config: &'a RunConfig,
    dataset: &'a Dataset,
    method: &'a dyn Method,
) -> Subject<'a> {
    let columns = target_columns(config);
    let losses = LossBatches { batch_size: config.trainer.batch_size, seed: config.seed, columns };
    Subject { method, dataset, labels: probe_labels(config, dataset), config: &config.eval, losses }
}

/// What is asked about a probe bank.
pub(crate) fn subject_of_bank<'a>(
    config: &'a RunConfig,
    bank: &'a Bank,
    method: &'a dyn Method,
) -> Subject<'a> {
    let columns = TargetColumns { target: bank.target(), recording: bank.recording(), pools: &[] };
    let losses = LossBatches { batch_size: config.trainer.batch_size, seed: config.seed, columns };
    Subject { method, dataset: &bank.dataset, labels: bank.labels(config), config: &config.eval, losses }
}

/// How a part is read for an evaluation.
pub(crate) fn reading(prepared: &Prepared) -> Reading {
    Reading {
        maker: Arc::clone(&prepared.maker),
        batch_size: prepared.config.eval.batch_size,
        options: loader_options(prepared),
        embedder: Embedder::Network,
        masks: false,
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
