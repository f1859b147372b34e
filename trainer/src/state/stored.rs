//! A checkpoint that was read, as components take themselves out of it. What is missing, different or nobody's is refused
//! by name.

use std::collections::BTreeSet;

use serde::de::DeserializeOwned;
use tch::Tensor;

use super::{Stateful, tensor_of};
use crate::checkpoint::{FrameKind, Sections, TensorFile, TensorHome, TensorSpec};
use crate::error::TrainError;

/// A checkpoint's content.
#[derive(Debug, Clone, Copy)]
pub struct Stored<'a> {
    /// `state.bin`.
    pub sections: &'a Sections,
    /// `model.safetensors`.
    pub model: &'a TensorFile,
    /// `optimizer.safetensors`.
    pub optimizer: &'a TensorFile,
}

impl Stored<'_> {
    /// The value in the section of `kind`.
    ///
    /// # Errors
    /// When there is none, or it has another version or type.
    pub fn value<T: DeserializeOwned>(&self, kind: &FrameKind) -> Result<T, TrainError> {
        Ok(self.sections.get(kind)?)
    }

    /// The tensors of `specs`, in their shapes and types.
    ///
    /// # Errors
    /// One that is missing or different is named.
    pub fn tensors(&self, home: TensorHome, specs: &[TensorSpec]) -> Result<Vec<Tensor>, TrainError> {
        let file = self.file(home);
        let take = |spec: &TensorSpec| {
            let TensorSpec { name, dtype, shape } = spec;
            let Ok(view) = file.tensor(name) else {
                return Err(TrainError::config(
                    format!("the checkpoint's `{}` lacks `{name}`, which this run needs", home.file()),
                    "use the model, method and optimizer of the run that wrote it, or `init_from` to take what fits",
                ));
            };
            if view.spec != spec {
                return Err(TrainError::config(
                    format!(
                        "the checkpoint's `{name}` is {} {:?}, this run's is {} {shape:?}",
                        view.spec.dtype.name(),
                        view.spec.shape,
                        dtype.name(),
                    ),
                    "use the model, method and precision of the run that wrote it",
                ));
            }
            tensor_of(spec, view.bytes)
        };
        specs.iter().map(take).collect()
    }

    /// Lets every component take its state.
    ///
    /// # Errors
    /// The first that finds something missing or different; then sections beside `others` and tensors that no component
    /// has taken: the run that wrote them had a part that this one has not.
    pub fn restore(&self, parts: &mut [Box<dyn Stateful + '_>], others: &[&str]) -> Result<(), TrainError> {
        let mut names = others.to_vec();
        let mut known = [BTreeSet::new(), BTreeSet::new()];
        for part in parts.iter() {
            let layout = part.layout()?;
            names.push(layout.kind.name);
            if let Some(known) = known.get_mut(layout.home as usize) {
                known.extend(layout.tensors.into_iter().map(|spec| spec.name));
            }
        }
        parts.iter_mut().try_for_each(|part| part.restore(self))?;
        self.sections.require_known(&names)?;
        TensorHome::ALL.into_iter().zip(&known).try_for_each(|(home, known)| self.require_known(home, known))
    }

    /// Refuses tensors beside those of `known`.
    ///
    /// # Errors
    /// With the name of the first.
    pub fn require_known(&self, home: TensorHome, known: &BTreeSet<String>) -> Result<(), TrainError> {
        match self.file(home).tensors().find(|tensor| !known.contains(&tensor.spec.name)) {
            None => Ok(()),
            Some(extra) => Err(TrainError::config(
                format!("the checkpoint holds `{}`, which this model lacks", extra.spec.name),
                "use the model and method of the run that wrote it",
            )),
        }
    }

    fn file(&self, home: TensorHome) -> &TensorFile {
        match home {
            TensorHome::Model => self.model,
            TensorHome::Optimizer => self.optimizer,
        }
    }
}
