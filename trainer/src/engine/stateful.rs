//! What the engine keeps in a checkpoint: weights, the optimizer's state, the loss scale, and the method's own.

use std::ops::Range;

use tch::Tensor;

use super::flat::Flat;
use super::optimizer::Optimizer;
use super::ranks::Ranks;
use super::shard::Shard;
use super::{Engine, state};
use crate::checkpoint::{FrameKind, TensorHome};
use crate::error::TrainError;
use crate::state::{Layout, Stateful, Stored, Values, spec_of};
use crate::torch_extra::LossScale;

const OPTIMIZER: FrameKind = FrameKind { name: "optimizer", tag: *b"OPTM", version: 1 };
const LOSS_SCALE: FrameKind = FrameKind { name: "loss scale", tag: *b"SCAL", version: 1 };

impl Engine {
    /// Every part that holds state. The outcome of the last step must be known ([`Engine::flush`]).
    pub fn stateful(&mut self) -> Vec<Box<dyn Stateful + '_>> {
        // Field by field, so that a new one does not compile until it is said how it is saved.
        let Self {
            method,
            parameters,
            flat,
            optimizer,
            shard,
            reducer,
            ranks,
            loss_scale,
            // Views of `parameters`.
            buffers: _,
            teacher: _,
            // Made from the settings, a function of the step, or none between steps.
            rate_places: _,
            sum: _,
            sync: _,
            phase: _,
            last_step: _,
            // The flag is a buffer.
            started_version: _,
            in_flight: _,
            settings: _,
        } = self;
        let optimizer =
            OptimizerState { flat, shard, ranks, buckets: reducer.buckets(), optimizer: &mut **optimizer };
        let mut parts: Vec<Box<dyn Stateful + '_>> = vec![Box::new(parameters), Box::new(optimizer)];
        parts.extend(loss_scale.as_mut().map(|scale| Box::new(scale) as Box<dyn Stateful + '_>));
        parts.extend(method.own_state().map(|own| Box::new(own) as Box<dyn Stateful + '_>));
        parts
    }
}

/// Moments and step counts, whole, whichever rank keeps which part.
struct OptimizerState<'a> {
    flat: &'a Flat,
    shard: &'a Shard,
    ranks: &'a Ranks,
    buckets: &'a [Range<usize>],
    optimizer: &'a mut dyn Optimizer,
}

impl Stateful for OptimizerState<'_> {
    fn layout(&self) -> Result<Layout, TrainError> {
        let kind = self.flat.parameters().kind();
        let specs = state::moment_specs(self.flat, self.optimizer);
        let specs = specs.into_iter().map(|(name, shape)| spec_of(&name, &shape, kind));
        Ok(Layout { kind: OPTIMIZER, home: TensorHome::Optimizer, tensors: specs.collect::<Result<_, _>>()? })
    }

    fn save(&self) -> Result<Values, TrainError> {
        let moments = state::moments(self.flat, self.shard, self.ranks, self.buckets, self.optimizer)?;
        let moments: Vec<Tensor> = moments.into_iter().map(|(_, moment)| moment).collect();
        Ok(Values::new(OPTIMIZER, moments, self.optimizer.steps().to_vec()))
    }

    fn restore(&mut self, stored: &Stored<'_>) -> Result<(), TrainError> {
        let steps: Vec<u64> = stored.value(&OPTIMIZER)?;
        let moments = stored.tensors(TensorHome::Optimizer, &self.layout()?.tensors)?;
        state::restore(self.flat, self.shard, self.optimizer, &moments, &steps)
    }
}

impl Stateful for LossScale {
    fn layout(&self) -> Result<Layout, TrainError> {
        Ok(Layout { kind: LOSS_SCALE, home: TensorHome::Optimizer, tensors: Vec::new() })
    }

    fn save(&self) -> Result<Values, TrainError> {
        Ok(Values::new(LOSS_SCALE, Vec::new(), *self))
    }

    fn restore(&mut self, stored: &Stored<'_>) -> Result<(), TrainError> {
        *self = stored.value(&LOSS_SCALE)?;
        Ok(())
    }
}

#[cfg(test)]
#[path = "stateful_tests.rs"]
mod tests;
