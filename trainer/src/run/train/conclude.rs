//! The end of a run: what its best weights reach beside the last ones, and its result.

use std::collections::BTreeMap;
use std::sync::Arc;

use dtrain_comm::{Collective, CollectiveExt};

use super::evaluate::{Evaluator, awaits_best, sums};
use super::record::Recorder;
use crate::coordinator::StopReason;
use crate::error::TrainError;
use crate::run::agree::{agreed, on_rank_0, rank_0_says};
use crate::run::checkpoints::{best_checkpoint, is_of_weights, load_at};
use crate::run::prepare::Prepared;
use crate::run::report::Observer;
use crate::track::{BestWeights, FullEvaluation, Optimized, RaisedAlarm, RunResult, SessionStatus};

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Why.
    pub reason: StopReason,
    /// Optimizer steps done; rank 0 knows them.
    pub steps: u64,
    /// Last value of every metric.
    pub metrics: BTreeMap<String, f64>,
    /// Seconds of training, earlier parts of a resumed run included.
    pub wall_secs: f64,
    /// Samples that took part in optimizer steps.
    pub samples_seen: u64,
    /// The best weights, where a metric has chosen some; rank 0 knows them.
    pub best: Option<BestWeights>,
    /// The alarms that are on; rank 0 knows them.
    pub alarms: Vec<RaisedAlarm>,
}

/// Finds the best weights and writes the result, unless this start has not `acted` and there is a result already.
///
/// # Errors
/// The same on all ranks.
pub(super) fn conclude(
    prepared: &mut Prepared,
    evaluator: &mut Evaluator,
    recorder: &mut Recorder,
    observer: &mut dyn Observer,
    mut outcome: Outcome,
    acted: bool,
) -> Result<Outcome, TrainError> {
    let ranks = Arc::clone(prepared.engine.collective());
    let ranks = &*ranks;
    let looks = ranks.world().rank == 0 && !acted;
    let earlier = if looks { earlier_result(prepared, recorder, &outcome) } else { None };
    if rank_0_says(ranks, earlier.is_some())? {
        outcome.best = earlier.and_then(|earlier| earlier.best);
        return Ok(outcome);
    }
    outcome.best = best_weights(prepared, evaluator, recorder, observer, &outcome)?;
    outcome.metrics.clone_from(recorder.metrics());
    on_rank_0(ranks, || write_result(prepared, evaluator.full(), recorder, &outcome))?;
    Ok(outcome)
}

/// What the run's directory says already of this end.
fn earlier_result(prepared: &Prepared, recorder: &Recorder, outcome: &Outcome) -> Option<RunResult> {
    let path = recorder.run_dir.as_ref()?.result();
    let earlier = RunResult::read(&path).ok().filter(|_| path.exists())?;
    let monitor = prepared.config.checkpoint.monitored().map(|(name, _)| name);
    let is_same = earlier.step == outcome.steps
        && earlier.stop_reason == outcome.reason.as_str()
        && earlier.data_fingerprint.is_some()
        && earlier.best.as_ref().map(|best| best.monitor.as_str()) == monitor;
    is_same.then_some(earlier)
}

/// The best weights of the run. Where it has ended for good they are evaluated as the last ones have been, which they
/// replace in the engine: nothing is trained after this.
fn best_weights(
    prepared: &mut Prepared,
    evaluator: &mut Evaluator,
    recorder: &mut Recorder,
    observer: &mut dyn Observer,
    outcome: &Outcome,
) -> Result<Option<BestWeights>, TrainError> {
    let Some(run_dir) = recorder.run_dir.clone() else { return Ok(None) };
    let ranks = Arc::clone(prepared.engine.collective());
    let ranks = &*ranks;
    let is_rank_0 = ranks.world().rank == 0;
    let here = if is_rank_0 { best_checkpoint(&run_dir, &prepared.config.checkpoint) } else { Ok(None) };
    let here = agreed(ranks, here)?;
    // Only rank 0 knows how many steps were done.
    let found = here.as_ref().map(|best| (best.weights.step, best.weights.step == outcome.steps));
    let told = ranks.broadcast_bytes(serde_json::to_vec(&found).map_err(TrainError::internal)?, 0)?;
    let found: Option<(u64, bool)> = serde_json::from_slice(&told).map_err(TrainError::internal)?;
    let ends_for_good =
        matches!(outcome.reason, StopReason::Finished | StopReason::EarlyStopped | StopReason::Alarm);
    let evaluates = ends_for_good && prepared.config.eval.every_epochs > 0;
    let is_reported = awaits_best(prepared, recorder);
    let Some((step, is_last)) = found else {
        if evaluates && is_reported {
            if is_rank_0 {
                tracing::warn!("no checkpoint is the best one, so that the last weights are evaluated");
            }
            evaluator.evaluate_last(prepared, recorder, observer, (last_step(ranks, outcome)?, true))?;
        }
        return Ok(None);
    };
    let mut metrics = here.as_ref().map(|best| best.weights.metrics.clone()).unwrap_or_default();
    if is_last && !is_reported {
        let measured = recorder.metrics().iter().filter(|(name, _)| evaluates && is_of_weights(name));
        metrics.extend(measured.map(|(name, value)| (name.clone(), *value)));
    } else if evaluates {
        if !is_last {
            let path = here.as_ref().map_or_else(|| run_dir.path().to_owned(), |best| best.folder.clone());
            load_at(ranks, &path)?.apply_weights(prepared)?;
            // Weights of losses and whatever else is scheduled are those that these weights were trained with.
            prepared.engine.freeze_as_before(step)?;
        }
        tracing::debug!(step, "the best weights are evaluated");
        metrics.extend(evaluator.evaluate_best(prepared, recorder, observer, step)?);
        let sums = sums(&prepared.config, |name| metrics.get(name).copied());
        metrics.extend(sums);
    }
    Ok(here.map(|best| BestWeights { metrics, ..best.weights }))
}

/// Steps of the run, which only rank 0 knows.
fn last_step(ranks: &dyn Collective, outcome: &Outcome) -> Result<u64, TrainError> {
    let told = ranks.broadcast_bytes(outcome.steps.to_le_bytes().to_vec(), 0)?;
    let bytes = <[u8; 8]>::try_from(told.as_slice()).map_err(TrainError::internal)?;
    Ok(u64::from_le_bytes(bytes))
}

fn write_result(
    prepared: &Prepared,
    full: Option<&FullEvaluation>,
    recorder: &mut Recorder,
    outcome: &Outcome,
) -> Result<(), TrainError> {
    let Some(run_dir) = &recorder.run_dir else { return Ok(()) };
    let best = outcome.best.as_ref().filter(|_| awaits_best(prepared, recorder));
    let evaluated = best.map_or(&outcome.metrics, |best| &best.metrics);
    let result = RunResult {
        world_size: prepared.engine.collective().world().world_size,
        stop_reason: outcome.reason.as_str().to_owned(),
        step: outcome.steps,
        epoch: outcome.steps / prepared.plan.steps_per_epoch.max(1),
        samples_seen: outcome.samples_seen,
        wall_s: outcome.wall_secs,
        optimized: prepared.config.optimized_metric.clone().map(|name| Optimized {
            value: evaluated.get(&name).copied().filter(|value| value.is_finite()),
            name,
        }),
        metrics: outcome.metrics.clone(),
        best: outcome.best.clone(),
        evaluation: full.cloned(),
        alarms: outcome.alarms.clone(),
        data_fingerprint: Some(format!("{:016x}", prepared.dataset.fingerprint)),
    };
    result.write(&run_dir.result())?;
    let tracker = &mut recorder.tracker;
    if let Some(best) = &outcome.best {
        tracker.best(best)?;
    }
    // A run that will be continued has not ended for TensorBoard.
    match outcome.reason {
        StopReason::Finished | StopReason::EarlyStopped | StopReason::Alarm => {
            tracker.end(SessionStatus::Success)?
        }
        StopReason::NonFinite => tracker.end(SessionStatus::Failure)?,
        StopReason::Interrupted | StopReason::Requeue | StopReason::Rollback(_) => {}
    }
    Ok(())
}
