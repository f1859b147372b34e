//! Parameters and buffers as what a checkpoint keeps of the model, under torchvision's names and in logical order.

use std::collections::BTreeSet;

use tch::Tensor;

use super::parameters::Parameters;
use crate::checkpoint::{FrameKind, TensorHome};
use crate::error::TrainError;
use crate::state::{Layout, Stateful, Stored, Values, copy_into, spec_of};

/// The section says which version the tensors are of.
const MODEL: FrameKind = FrameKind { name: "model", tag: *b"MODL", version: 1 };

impl Parameters {
    /// All tensors under their names, parameters first and a teacher's weights last; they share the layers' memory.
    pub fn named(&self) -> impl Iterator<Item = (&str, Tensor)> {
        let trained = self.parameters().iter().map(|p| (p.name.as_str(), p.tensor.detach()));
        let buffers = self.buffers().iter().map(|b| (b.name.as_str(), b.tensor.shallow_clone()));
        let teacher = self.shadows().iter().map(|s| (s.name.as_str(), s.tensor.shallow_clone()));
        trained.chain(buffers).chain(teacher)
    }

    /// Takes the weights of a checkpoint and nothing else.
    ///
    /// # Errors
    /// A tensor that is missing, different or unknown is named.
    pub fn restore_weights(&self, stored: &Stored<'_>) -> Result<(), TrainError> {
        let layout = self.layout()?;
        let values = stored.tensors(TensorHome::Model, &layout.tensors)?;
        let known: BTreeSet<String> = layout.tensors.into_iter().map(|spec| spec.name).collect();
        stored.require_known(TensorHome::Model, &known)?;
        self.named().zip(&values).try_for_each(|((_, target), value)| copy_into(&target, value))
    }
}

impl Stateful for Parameters {
    fn layout(&self) -> Result<Layout, TrainError> {
        let specs = self.named().map(|(name, tensor)| spec_of(name, &tensor.size(), tensor.kind()));
        Ok(Layout { kind: MODEL, home: TensorHome::Model, tensors: specs.collect::<Result<_, _>>()? })
    }

    fn save(&self) -> Result<Values, TrainError> {
        Ok(Values::new(MODEL, self.named().map(|(_, tensor)| tensor).collect(), ()))
    }

    fn restore(&mut self, stored: &Stored<'_>) -> Result<(), TrainError> {
        stored.value::<()>(&MODEL)?;
        self.restore_weights(stored)
    }
}
