//! Checkpoints of a running session: the state of all components at the border of a step, handed to the saver.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::Session;
use crate::checkpoint::{ManifestInfo, Written};
use crate::coordinator::SaveKind;
use crate::error::TrainError;
use crate::state::Snapshot;

impl Session<'_> {
    /// Rank 0 saves; the others give it their parts, and wait for the copy only, unless it is the last checkpoint.
    pub(super) fn save(&mut self, step: u64, kind: SaveKind) -> Result<(), TrainError> {
        if self.run_dir.is_none() {
            return Ok(());
        }
        let begin = Instant::now();
        let mut snapshot = Snapshot::of(&self.prepared.engine.stateful())?;
        self.loop_state().put(&mut snapshot.sections)?;
        let gather_secs = begin.elapsed().as_secs_f64();
        let info = ManifestInfo {
            epoch: step / self.prepared.plan.steps_per_epoch.max(1),
            metrics: self.measured_at(step),
            metadata: BTreeMap::from([("world_size".into(), self.world_size().into())]),
        };
        self.on_rank_0(|session| {
            let Some(saver) = &mut session.saver else { return Ok(()) };
            let mut written = Vec::new();
            let pause = saver.save((kind, step), &snapshot, info, &mut written);
            written.iter().for_each(|written| session.tell_saved(written));
            session.window.saved(pause?, gather_secs);
            Ok(())
        })
    }

    /// Rank 0 looks whether the checkpoint in flight has become durable.
    ///
    /// # Errors
    /// Why it could not be written; the other ranks do not know yet.
    pub(super) fn look_after_save(&mut self) -> Result<(), TrainError> {
        let Some(saver) = &mut self.saver else { return Ok(()) };
        let written = saver.poll()?;
        written.iter().for_each(|written| self.tell_saved(written));
        Ok(())
    }

    /// All ranks wait for the checkpoint in flight. `is_last` says that a durable one of the run's end has been written.
    pub(super) fn finish_saving(&mut self, is_last: bool) -> Result<(), TrainError> {
        self.on_rank_0(|session| {
            let Some(saver) = &mut session.saver else { return Ok(()) };
            let written = saver.finish()?;
            if is_last {
                saver.leave_local();
            }
            written.iter().for_each(|written| session.tell_saved(written));
            Ok(())
        })
    }

    fn tell_saved(&mut self, written: &Written) {
        tracing::debug!(step = written.step, secs = written.secs, "saved");
        self.wishes.pace.saved(Duration::from_secs_f64(written.secs));
        self.observer.saved(&written.folder, written.step);
    }
}
