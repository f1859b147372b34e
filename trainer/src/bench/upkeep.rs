//! What it costs a step that the run can be stopped, watched and trusted: the round of reports and directive before it, the
//! marks of the heartbeat in it, and the comparison of replicas every so many steps. A difference of two whole steps would
//! drown in the machine's noise, so each is timed by itself.

use std::sync::Arc;
use std::time::Instant;

use dtrain_comm::{Collective, CollectiveExt, Stage};
use dtrain_configs::RunConfig;
use serde::Serialize;

use super::median;
use crate::checkpoint::{decode, encode};
use crate::coordinator::{Coordinator, CoordinatorState, Directive, Report};
use crate::error::TrainError;
use crate::run::{DIRECTIVE, Message, Purpose, REPORT, prepare};

/// What shares are of, in seconds.
const STEP_SECS: f64 = 0.1;
/// Stages that a step enters and leaves: data, report, forward, backward, update, with room for a second micro-batch and
/// waiting for a device.
const MARKS_PER_STEP: u32 = 8;
/// Times that replicas are compared.
const NUM_COMPARISONS: u64 = 7;

/// Seconds of a step, on rank 0.
#[derive(Debug, Clone, Serialize)]
pub struct UpkeepFigures {
    /// Ranks.
    pub world_size: usize,
    /// Elements of the parameters.
    pub parameters: usize,
    /// Median of a round: all ranks report, rank 0 decides, all hear.
    pub directive_s: f64,
    /// The heartbeat's marks of a step.
    pub marks_s: f64,
    /// Median of hashing weights, moments and statistics, and comparing them over the ranks.
    pub comparison_s: f64,
    /// Steps between two comparisons (`trainer.replica_check_steps`); 0 for never.
    pub replica_check_steps: u64,
    /// All of it, per step.
    pub per_step_s: f64,
    /// Of a step of 100 ms.
    pub share_of_100_ms: f64,
}

/// Times `rounds` rounds of reports and the rest beside them.
pub fn upkeep(
    config: RunConfig,
    ranks: &Arc<dyn Collective>,
    rounds: u32,
) -> Result<UpkeepFigures, TrainError> {
    let prepared = prepare(config, ranks, Purpose::Train, None)?;
    let engine = &prepared.engine;
    let every = prepared.config.trainer.replica_check_steps;

    let mut seconds = Vec::with_capacity(rounds as usize);
    let mut coordinator = Coordinator::new(prepared.plan.clone(), CoordinatorState::default());
    for _ in 0..rounds.max(1) {
        let begun = Instant::now();
        let directive = round(&**ranks, &mut coordinator)?;
        seconds.push(begun.elapsed().as_secs_f64());
        if matches!(directive, Directive::Stop(_)) {
            coordinator = Coordinator::new(prepared.plan.clone(), CoordinatorState::default());
        }
    }
    let directive_s = median(&mut seconds);

    let begun = Instant::now();
    for step in 0..u64::from(rounds.max(1)) {
        ranks.heartbeat().set_step(step);
        for _ in 0..MARKS_PER_STEP {
            drop(ranks.heartbeat().enter(Stage::Forward));
        }
    }
    let marks_s = begun.elapsed().as_secs_f64() / f64::from(rounds.max(1));

    let mut seconds = Vec::new();
    for step in 0..NUM_COMPARISONS {
        ranks.barrier()?;
        let begun = Instant::now();
        engine.check_replicas(step)?;
        seconds.push(begun.elapsed().as_secs_f64());
    }
    let comparison_s = median(&mut seconds);

    let comparisons_s = if every == 0 { 0.0 } else { comparison_s / every as f64 };
    let per_step_s = directive_s + marks_s + comparisons_s;
    Ok(UpkeepFigures {
        world_size: ranks.world().world_size,
        parameters: engine.flat().num_elements(),
        directive_s,
        marks_s,
        comparison_s,
        replica_check_steps: every,
        per_step_s,
        share_of_100_ms: per_step_s / STEP_SECS,
    })
}

/// As the loop does it before each step.
fn round(ranks: &dyn Collective, coordinator: &mut Coordinator) -> Result<Directive, TrainError> {
    let report = Report { ready_samples: 8, last_step_finite: Some(true), ..Report::default() };
    let own = encode(&REPORT, &Message { report, failure: None })?;
    let mut reports = Vec::new();
    for bytes in ranks.gather_bytes(&own)? {
        reports.push(decode::<Message>(&REPORT, &bytes)?.report);
    }
    let mut message = Vec::new();
    if ranks.world().rank == 0 {
        message = encode(&DIRECTIVE, &coordinator.next(&reports))?;
    }
    Ok(decode(&DIRECTIVE, &ranks.broadcast_bytes(message, 0)?)?)
}
