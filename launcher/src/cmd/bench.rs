//! `dtrain bench`.

use std::path::Path;

use dtrain_configs::{RunConfig, compose};
use dtrain_front::cli::{BenchSettings, BenchTarget};
use dtrain_front::{Exit, Printer};
use dtrain_trainer::{TrainError, bench};
use serde::Serialize;

use crate::context::{with_ranks, with_session};
use crate::failure::Failure;
use crate::logging;

/// Measures and prints JSON.
pub fn run(what: BenchTarget, printer: &Printer) -> Result<Exit, Failure> {
    logging::install(printer.rank());
    match what {
        BenchTarget::Step { steps, warmup, synthetic: Some(shape), settings } => {
            let config = composed(&settings)?;
            let comm = config.comm.clone();
            with_ranks(printer, &comm, |ranks| {
                let figures = bench::synthetic(config, ranks, shape.0, warmup, steps)?;
                report(&figures, settings.json.as_deref(), printer)
            })
        }
        BenchTarget::Step { steps, warmup, synthetic: None, settings } => {
            let config = composed(&settings)?;
            let comm = config.comm.clone();
            with_ranks(printer, &comm, |ranks| {
                report(&bench::step(config, ranks, warmup, steps)?, settings.json.as_deref(), printer)
            })
        }
        BenchTarget::Data { settings } => {
            let config = composed(&settings)?;
            let comm = config.comm.clone();
            with_ranks(printer, &comm, |ranks| {
                report(&bench::data(config, ranks)?, settings.json.as_deref(), printer)
            })
        }
        BenchTarget::Open { data, rounds, json } => {
            report(&bench::open(&data, rounds)?, json.as_deref(), printer)
        }
        BenchTarget::Loss { rows, dim, tile, threads, json } => {
            report(&bench::loss(rows, dim, tile, threads)?, json.as_deref(), printer)
        }
        BenchTarget::Probes { rows, queries, dim, classes, decays, threads, json } => {
            let sizes = bench::ProbeSizes { rows, queries, dim, classes };
            report(&bench::probes(sizes, &decays, threads)?, json.as_deref(), printer)
        }
        BenchTarget::Comm { bytes, reps, settings } => {
            let config = composed(&settings)?;
            let comm = config.comm.clone();
            with_session(printer, &comm, |session| {
                let bare = |buffer: &mut [f32]| session.bare_all_reduce(buffer);
                let figures = bench::comm(&config, session.collective(), &bare, &bytes, reps)?;
                printer.say(figures.to_string().trim_end());
                report(&figures, settings.json.as_deref(), printer)
            })
        }
        BenchTarget::Checkpoint { dir, rounds, mut settings } => {
            for (group, choice) in [("model=", "model=resnet50"), ("optimizer=", "optimizer=adamw")] {
                if !settings.overrides.iter().any(|word| word.starts_with(group)) {
                    settings.overrides.insert(0, choice.to_owned());
                }
            }
            let config = composed(&settings)?;
            let comm = config.comm.clone();
            with_ranks(printer, &comm, |ranks| {
                let figures = bench::checkpoint(&config, ranks, &dir, rounds)?;
                report(&figures, settings.json.as_deref(), printer)
            })
        }
        BenchTarget::Upkeep { rounds, settings } => {
            let config = composed(&settings)?;
            let comm = config.comm.clone();
            with_ranks(printer, &comm, |ranks| {
                report(&bench::upkeep(config, ranks, rounds)?, settings.json.as_deref(), printer)
            })
        }
        BenchTarget::Predict { inputs, json } => report(&bench::predict(&inputs)?, json.as_deref(), printer),
    }
}

fn composed(settings: &BenchSettings) -> Result<RunConfig, Failure> {
    let options = settings.config.options();
    Ok(compose(&settings.overrides, &options)?.config)
}

fn report(figures: &impl Serialize, json: Option<&Path>, printer: &Printer) -> Result<Exit, Failure> {
    let text = serde_json::to_string_pretty(figures)
        .map_err(|e| Failure::agreed(Exit::Failed, format!("figures cannot be written: {e}"), None))?;
    match json {
        Some(path) if printer.speaks() => fs_err::write(path, text + "\n").map_err(TrainError::from)?,
        Some(_) => {}
        None => printer.data(&text),
    }
    Ok(Exit::Done)
}
