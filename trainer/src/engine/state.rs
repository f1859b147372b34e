//! The optimizer's state under the parameters' names: whole, whichever rank keeps which part of it.

use std::ops::Range;

use dtrain_comm::TensorOp;
use tch::Tensor;

use super::Engine;
use super::flat::part;
use super::ranks::Ranks;
use super::shard::part_len;
use crate::error::TrainError;

impl Engine {
    /// The moments per parameter, named `MOMENT.PARAMETER`, in the parameters' shapes. Where ranks keep parts, all ranks
    /// call it and each holds the whole afterwards, for as long as the result lives.
    ///
    /// # Errors
    /// When memory runs out or the ranks cannot talk.
    pub fn moments(&self) -> Result<Vec<(String, Tensor)>, TrainError> {
        let mut named = Vec::new();
        for (name, own) in self.optimizer.moments() {
            let whole = if self.shard.is_whole() {
                own.shallow_clone()
            } else {
                let whole = self.flat.parameters().zeros_like();
                self.shard.scatter(own, &whole);
                gather_parts(&self.ranks, self.reducer.buckets(), &whole)?;
                whole
            };
            named.extend(self.named_parts(name, &whole));
        }
        Ok(named)
    }

    /// Names and shapes of what [`Engine::moments`] gives, without memory behind them.
    pub fn moment_specs(&self) -> Vec<(String, Vec<i64>)> {
        let names = self.optimizer.moments().into_iter().map(|(name, _)| name);
        let of_moment = |name| {
            self.flat.segments().iter().map(move |s| (format!("{name}.{}", s.name), s.shape.clone()))
        };
        names.flat_map(of_moment).collect()
    }

    /// Steps that each parameter has taken; empty where the update does not depend on it.
    pub fn optimizer_steps(&self) -> &[u64] {
        self.optimizer.steps()
    }

    /// Restores what [`Engine::moments`] and [`Engine::optimizer_steps`] gave, bit for bit. Nothing changes if it fails.
    ///
    /// # Errors
    /// When a number, shape or type differs.
    pub fn restore_optimizer(&mut self, tensors: &[Tensor], steps: &[u64]) -> Result<(), TrainError> {
        let specs = self.moment_specs();
        let hint = "use the model, method, optimizer and precision of the run that wrote the checkpoint";
        if specs.len() != tensors.len() || self.optimizer.steps().len() != steps.len() {
            let message = format!(
                "the optimizer's saved state has {} tensors and {} step counts, this run's has {} and {}",
                tensors.len(),
                steps.len(),
                specs.len(),
                self.optimizer.steps().len()
            );
            return Err(TrainError::config(message, hint));
        }
        let kind = self.kind();
        for ((name, shape), saved) in specs.iter().zip(tensors) {
            if *shape != saved.size() || kind != saved.kind() {
                let message = format!(
                    "the saved `{name}` is {:?} {:?}, this run's is {kind:?} {shape:?}",
                    saved.kind(),
                    saved.size(),
                );
                return Err(TrainError::config(message, hint));
            }
        }
        let segments = self.flat.segments().len().max(1);
        tch::no_grad(|| {
            for ((_, own), saved) in self.optimizer.moments().into_iter().zip(tensors.chunks(segments)) {
                let whole = self.flat.parameters().zeros_like();
                for (segment, saved) in self.flat.segments().iter().zip(saved) {
                    segment.view_of(&whole).copy_(saved);
                }
                self.shard.collect(&whole, own);
            }
        });
        self.optimizer.set_steps(steps);
        Ok(())
    }

    fn named_parts<'a>(&'a self, name: &'a str, whole: &'a Tensor) -> impl Iterator<Item = (String, Tensor)> + 'a {
        self.flat.segments().iter().map(move |s| (format!("{name}.{}", s.name), s.view_of(whole)))
    }
}

/// Every rank gives its part of each bucket of `flat` and receives those of the others.
pub(super) fn gather_parts(ranks: &Ranks, buckets: &[Range<usize>], flat: &Tensor) -> Result<(), TrainError> {
    let world_size = ranks.world().world_size;
    for bucket in buckets {
        let len = part_len(bucket, world_size);
        let range = bucket.start..bucket.start + world_size * len;
        ranks.run(TensorOp::AllGather { counts: vec![len; world_size] }, &part(flat, &range))?;
    }
    Ok(())
}
