//! Whether a layer is left as it is while others learn.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the scope of a layer with running statistics is frozen; the layer holds a clone and then neither uses nor
/// changes the statistics of a batch.
#[derive(Debug, Clone, Default)]
pub struct Frozen(Arc<AtomicBool>);

impl Frozen {
    /// Whether the layer stays as it is.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn set(&self, frozen: bool) {
        self.0.store(frozen, Ordering::Relaxed);
    }
}
