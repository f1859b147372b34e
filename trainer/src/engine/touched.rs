//! Which parameters had a gradient in this step. A parameter without one keeps its weight and moments; a gradient of
//! zero would not do that.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::TrainError;
use crate::model::parameters::Parameters;
use crate::torch_extra::GradientHooks;

/// One flag per parameter, set by a hook when its gradient has been accumulated.
pub struct Touched {
    flags: Arc<[AtomicBool]>,
    _hooks: GradientHooks,
}

impl Touched {
    /// Hooks every parameter.
    pub fn watch(parameters: &Parameters) -> Result<Self, TrainError> {
        let flags: Arc<[AtomicBool]> =
            parameters.parameters().iter().map(|_| AtomicBool::new(false)).collect();
        let tensors = parameters.parameters().iter().map(|p| &p.tensor);
        let set = Arc::clone(&flags);
        let hooks = GradientHooks::new(tensors, move |index| {
            if let Some(flag) = set.get(index) {
                flag.store(true, Ordering::Relaxed);
            }
        })?;
        Ok(Self { flags, _hooks: hooks })
    }

    /// Before a step.
    pub fn clear(&self) {
        self.flags.iter().for_each(|flag| flag.store(false, Ordering::Relaxed));
    }

    /// After backward.
    pub fn snapshot(&self) -> Vec<bool> {
        self.flags.iter().map(|flag| flag.load(Ordering::Relaxed)).collect()
    }
}
