//! Checkpoints of a running session: the state of all components at the boundary of a step, handed to the saver.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use crate::checkpoint::{ManifestInfo, Written};
use crate::coordinator::SaveKind;
use crate::error::TrainError;
use crate::run::agree::on_rank_0;
use crate::run::checkpoints::{LoopState, Pause, Saver, VIEW_SHAPE};
use crate::run::prepare::Prepared;
use crate::state::Snapshot;

/// How a session saves. Whoever calls is told of each checkpoint that has become durable.
pub(super) struct Saving {
    /// Whether there is a run directory, on any rank.
    pub(super) is_on: bool,
    /// Rank 0's, where there is a run directory.
    pub(super) saver: Option<Saver>,
}

impl Saving {
    /// Rank 0 saves what `metrics` were measured of, and keeps the newest checkpoint up to each step of `keeps`; the others give it their parts, and wait for the copy only, unless it is
    /// the last checkpoint. What it cost rank 0.
    ///
    /// # Errors
    /// The same on all ranks: the disk's, also of the checkpoint before.
    pub(super) fn save(
        &mut self,
        prepared: &mut Prepared,
        (kind, step): (SaveKind, u64),
        (state, keeps): (&LoopState, Vec<u64>),
        metrics: BTreeMap<String, f64>,
        tell: &mut dyn FnMut(&Written),
    ) -> Result<Option<Pause>, TrainError> {
        if !self.is_on {
            return Ok(None);
        }
        let begin = Instant::now();
        let ranks = Arc::clone(prepared.engine.collective());
        let mut snapshot = Snapshot::of(&prepared.engine.stateful())?;
        state.put(&mut snapshot.sections)?;
        let gather_secs = begin.elapsed().as_secs_f64();
        let info = ManifestInfo {
            epoch: step / prepared.plan.steps_per_epoch.max(1),
            metrics,
            metadata: BTreeMap::from([
                ("world_size".into(), ranks.world().world_size.into()),
                // Channels, rows and columns, which an export has to know.
                (VIEW_SHAPE.into(), prepared.maker.shape().to_vec().into()),
            ]),
        };
        let mut cost = None;
        on_rank_0(&*ranks, || {
            let Some(saver) = &mut self.saver else { return Ok(()) };
            let mut written = Vec::new();
            let pause = saver.save((kind, step), &snapshot, info, keeps, &mut written);
            written.iter().for_each(tell);
            let Pause { wait_secs, pause_secs } = pause?;
            cost = Some(Pause { wait_secs, pause_secs: pause_secs + gather_secs });
            Ok(())
        })?;
        Ok(cost)
    }

    /// Rank 0 looks whether the checkpoint in flight has become durable.
    ///
    /// # Errors
    /// Why it could not be written; the other ranks do not know yet.
    pub(super) fn look_after(&mut self, tell: &mut dyn FnMut(&Written)) -> Result<(), TrainError> {
        let Some(saver) = &mut self.saver else { return Ok(()) };
        saver.poll()?.iter().for_each(tell);
        Ok(())
    }

    /// All ranks wait for the checkpoint in flight. `is_last` says that a durable one of the run's end has been written.
    ///
    /// # Errors
    /// The same on all ranks: why it could not be written.
    pub(super) fn finish(
        &mut self,
        prepared: &Prepared,
        is_last: bool,
        tell: &mut dyn FnMut(&Written),
    ) -> Result<(), TrainError> {
        on_rank_0(&**prepared.engine.collective(), || {
            let Some(saver) = &mut self.saver else { return Ok(()) };
            let written = saver.finish()?;
            if is_last {
                saver.leave_local();
            }
            written.iter().for_each(tell);
            Ok(())
        })
    }
}
