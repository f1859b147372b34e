//! The end of a run: what its best weights reach beside the last ones, and its result.

use std::collections::BTreeMap;

use dtrain_comm::CollectiveExt;

use super::evaluate::{Evaluator, sums};
use super::record::Recorder;
use crate::coordinator::StopReason;
use crate::error::TrainError;
use crate::run::agree::{agreed, on_rank_0, rank_0_says};
use crate::run::checkpoints::{best_checkpoint, is_of_weights, load_at};
use crate::run::prepare::Prepared;
use crate::track::{BestWeights, Optimized, RunResult, SessionStatus};

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
}

/// Finds the best weights and writes the result, unless this start has not `acted` and there is a result already.
///
/// # Errors
/// The same on all ranks.
pub(super) fn conclude(
    prepared: &Prepared,
    evaluator: &mut Evaluator,
    recorder: &mut Recorder,
    mut outcome: Outcome,
    acted: bool,
) -> Result<Outcome, TrainError> {
    let ranks = &**prepared.engine.collective();
    let looks = ranks.world().rank == 0 && !acted;
    let earlier = if looks { earlier_result(prepared, recorder, &outcome) } else { None };
    if rank_0_says(ranks, earlier.is_some())? {
        outcome.best = earlier.and_then(|earlier| earlier.best);
        return Ok(outcome);
    }
    outcome.best = best_weights(prepared, evaluator, recorder, &outcome)?;
    on_rank_0(ranks, || write_result(prepared, recorder, &outcome))?;
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
    prepared: &Prepared,
    evaluator: &mut Evaluator,
    recorder: &Recorder,
    outcome: &Outcome,
) -> Result<Option<BestWeights>, TrainError> {
    let Some(run_dir) = &recorder.run_dir else { return Ok(None) };
    let ranks = &**prepared.engine.collective();
    let is_rank_0 = ranks.world().rank == 0;
    let here = if is_rank_0 { best_checkpoint(run_dir, &prepared.config.checkpoint) } else { Ok(None) };
    let here = agreed(ranks, here)?;
    // Only rank 0 knows how many steps were done.
    let found = here.as_ref().map(|best| (best.weights.step, best.weights.step == outcome.steps));
    let told = ranks.broadcast_bytes(serde_json::to_vec(&found).map_err(TrainError::internal)?, 0)?;
    let found: Option<(u64, bool)> = serde_json::from_slice(&told).map_err(TrainError::internal)?;
    let Some((step, is_last)) = found else { return Ok(None) };
    let ends_for_good = matches!(outcome.reason, StopReason::Finished | StopReason::EarlyStopped);
    let evaluates = ends_for_good && prepared.config.eval.every_epochs > 0;
    let mut metrics = here.as_ref().map(|best| best.weights.metrics.clone()).unwrap_or_default();
    if is_last {
        let measured = recorder.metrics().iter().filter(|(name, _)| evaluates && is_of_weights(name));
        metrics.extend(measured.map(|(name, value)| (name.clone(), *value)));
    } else if evaluates {
        let path = here.as_ref().map_or_else(|| run_dir.path().to_owned(), |best| best.folder.clone());
        load_at(ranks, &path)?.apply_weights(prepared)?;
        tracing::debug!(step, "the best weights are evaluated");
        for evaluation in evaluator.evaluations(prepared, step, true)? {
            metrics.extend(evaluation.metrics);
        }
        let sums = sums(&prepared.config, |name| metrics.get(name).copied());
        metrics.extend(sums);
    }
    Ok(here.map(|best| BestWeights { metrics, ..best.weights }))
}

fn write_result(prepared: &Prepared, recorder: &mut Recorder, outcome: &Outcome) -> Result<(), TrainError> {
    let Some(run_dir) = &recorder.run_dir else { return Ok(()) };
    let result = RunResult {
        world_size: prepared.engine.collective().world().world_size,
        stop_reason: outcome.reason.as_str().to_owned(),
        step: outcome.steps,
        epoch: outcome.steps / prepared.plan.steps_per_epoch.max(1),
        samples_seen: outcome.samples_seen,
        wall_s: outcome.wall_secs,
        optimized: prepared.config.optimized_metric.clone().map(|name| Optimized {
            value: outcome.metrics.get(&name).copied().filter(|value| value.is_finite()),
            name,
        }),
        metrics: outcome.metrics.clone(),
        best: outcome.best.clone(),
        data_fingerprint: Some(format!("{:016x}", prepared.dataset.fingerprint)),
    };
    result.write(&run_dir.result())?;
    let tracker = &mut recorder.tracker;
    if let Some(best) = &outcome.best {
        tracker.best(best)?;
    }
    // A run that will be continued has not ended for TensorBoard.
    match outcome.reason {
        StopReason::Finished | StopReason::EarlyStopped => tracker.end(SessionStatus::Success)?,
        StopReason::NonFinite => tracker.end(SessionStatus::Failure)?,
        StopReason::Interrupted | StopReason::Requeue => {}
    }
    Ok(())
}
