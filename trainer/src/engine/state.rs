//! The optimizer's state under the parameters' names: whole, whichever rank keeps which part of it.

use std::ops::Range;

use dtrain_comm::TensorOp;
use tch::Tensor;

use super::Engine;
use super::flat::{Flat, part};
use super::optimizer::Optimizer;
use super::ranks::Ranks;
use super::shard::{Shard, part_len};
use crate::error::TrainError;

impl Engine {
    /// The moments per parameter, named `MOMENT.PARAMETER`, in the parameters' shapes. Where ranks keep parts, all ranks
    /// call it and each holds the whole afterwards, for as long as the result lives.
    ///
    /// # Errors
    /// When memory runs out or the ranks cannot talk.
    pub fn moments(&self) -> Result<Vec<(String, Tensor)>, TrainError> {
        moments(&self.flat, &self.shard, &self.ranks, self.reducer.buckets(), &*self.optimizer)
    }

    /// Steps that each parameter has taken; empty where the update does not depend on it.
    pub fn optimizer_steps(&self) -> &[u64] {
        self.optimizer.steps()
    }
}

/// The moments of all ranks per parameter, named `MOMENT.PARAMETER`.
pub(super) fn moments(
    flat: &Flat,
    shard: &Shard,
    ranks: &Ranks,
    buckets: &[Range<usize>],
    optimizer: &dyn Optimizer,
) -> Result<Vec<(String, Tensor)>, TrainError> {
    let mut all = Vec::new();
    for (name, own) in optimizer.moments() {
        let whole = if shard.is_whole() {
            own.shallow_clone()
        } else {
            let whole = flat.zeros_like()?;
            shard.scatter(own, &whole);
            gather_parts(ranks, buckets, &whole)?;
            whole
        };
        all.extend(named_parts(flat, name, &whole));
    }
    Ok(all)
}

/// `whole`, in the layout of the flat buffers, per parameter.
pub(super) fn named_parts<'a>(
    flat: &'a Flat,
    name: &'a str,
    whole: &'a Tensor,
) -> impl Iterator<Item = (String, Tensor)> + 'a {
    flat.segments().iter().map(move |s| (format!("{name}.{}", s.name), s.view_of(whole)))
}

/// Names and shapes of the moments, without memory behind them.
pub(super) fn moment_specs(flat: &Flat, optimizer: &dyn Optimizer) -> Vec<(String, Vec<i64>)> {
    let of_moment =
        |name| flat.segments().iter().map(move |s| (format!("{name}.{}", s.name), s.shape.clone()));
    optimizer.moments().into_iter().flat_map(|(name, _)| of_moment(name)).collect()
}

/// Puts whole moments and step counts into the optimizer of a rank with `shard`, bit for bit. Nothing changes if it fails.
///
/// # Errors
/// When a number, shape or type differs, or memory runs out.
pub(super) fn restore(
    flat: &Flat,
    shard: &Shard,
    optimizer: &mut dyn Optimizer,
    tensors: &[Tensor],
    steps: &[u64],
) -> Result<(), TrainError> {
    let specs = moment_specs(flat, optimizer);
    let hint = "use the model, method, optimizer and precision of the run that wrote the checkpoint";
    if specs.len() != tensors.len() || optimizer.steps().len() != steps.len() {
        let message = format!(
            "the optimizer's saved state has {} tensors and {} step counts, this run's has {} and {}",
            tensors.len(),
            steps.len(),
            specs.len(),
            optimizer.steps().len()
        );
        return Err(TrainError::config(message, hint));
    }
    let kind = flat.parameters().kind();
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
    // One for all moments: each fills all of it but the padding.
    let whole = flat.zeros_like()?;
    tch::no_grad(|| {
        for ((_, own), saved) in
            optimizer.moments().into_iter().zip(tensors.chunks(flat.segments().len().max(1)))
        {
            for (segment, saved) in flat.segments().iter().zip(saved) {
                segment.view_of(&whole).copy_(saved);
            }
            shard.collect(&whole, own);
        }
    });
    optimizer.set_steps(steps);
    Ok(())
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
