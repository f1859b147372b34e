//! A linear classifier on embeddings.

use tch::{TchError, Tensor};

use super::layers::Linear;
use super::parameters::Parameters;

/// One linear layer with `torch.nn.Linear`'s initialization.
#[derive(Debug)]
pub struct Classifier {
    linear: Linear,
}

impl Classifier {
    /// Registers `weight` and `bias` in the current scope of `parameters`.
    pub fn new(num_features: i64, num_classes: i64, parameters: &mut Parameters) -> Self {
        Self { linear: Linear::new("", (num_features, num_classes), true, parameters) }
    }

    /// Scores the classes.
    ///
    /// # Shapes
    /// Embeddings (N, `num_features`) to logits (N, `num_classes`); N may be 0.
    ///
    /// # Errors
    /// When the shape does not fit or memory runs out.
    pub fn forward(&self, embedding: &Tensor) -> Result<Tensor, TchError> {
        self.linear.forward(embedding)
    }
}
