//! What outlives the process. A component that holds state is [`Stateful`]: it says beforehand what it keeps, gives it, and
//! takes it back. Nothing is saved in any other way, so that a checkpoint is complete when its components are listed; and
//! who lists them takes his own fields apart one by one, so that a new field does not compile until it has its place.
//!
//! ```text
//! Engine::stateful -> [model, optimizer, loss scale, method's own]   tensors and a section of state.bin each
//! LoopState        -> [coordinator, loop, run]                       sections of state.bin
//! ```

mod snapshot;
mod staging;
mod stored;
mod tensor_bytes;

pub use snapshot::Snapshot;
pub use staging::Staging;
pub use stored::Stored;
pub use tensor_bytes::{bytes_of, copy_into, dtype_of, spec_of, tensor_of};

use tch::Tensor;

use crate::checkpoint::{CheckpointError, FrameKind, Sections, TensorHome, TensorSpec};
use crate::error::TrainError;

/// A component whose state outlives the process.
///
/// All ranks call the three in the same order. Only rank 0 writes.
pub trait Stateful {
    /// What it keeps, without values. It is the same from the start of a run to its end.
    ///
    /// # Errors
    /// Tensors of a type that no checkpoint holds.
    fn layout(&self) -> Result<Layout, TrainError>;

    /// The values now, the tensors in the order of the layout. Parts that ranks share are gathered.
    ///
    /// # Errors
    /// When memory runs out or the ranks cannot talk.
    fn save(&self) -> Result<Values, TrainError>;

    /// Takes back what [`Stateful::save`] gave, bit for bit.
    ///
    /// # Errors
    /// What is missing or different, by name; the component may be in pieces then.
    fn restore(&mut self, stored: &Stored<'_>) -> Result<(), TrainError>;
}

impl<T: Stateful + ?Sized> Stateful for &mut T {
    fn layout(&self) -> Result<Layout, TrainError> {
        (**self).layout()
    }

    fn save(&self) -> Result<Values, TrainError> {
        (**self).save()
    }

    fn restore(&mut self, stored: &Stored<'_>) -> Result<(), TrainError> {
        (**self).restore(stored)
    }
}

/// What a component keeps, without values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Its name, unique in a run, and the version of its section.
    pub kind: FrameKind,
    /// Which file its tensors go into.
    pub home: TensorHome,
    /// Names, types and shapes of its tensors.
    pub tensors: Vec<TensorSpec>,
}

/// What a component keeps.
pub struct Values {
    /// In the order of [`Layout::tensors`]; they share the component's memory.
    pub tensors: Vec<Tensor>,
    /// Adds its section.
    put: Box<Put>,
}

type Put = dyn FnOnce(&mut Sections) -> Result<(), CheckpointError>;

impl Values {
    /// Tensors, and the value that goes into the section of `kind`.
    pub fn new<T: serde::Serialize + 'static>(kind: FrameKind, tensors: Vec<Tensor>, value: T) -> Self {
        Self { tensors, put: Box::new(move |sections| sections.put(&kind, &value)) }
    }
}
