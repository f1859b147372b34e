//! A classifier of one hidden layer: linear, SiLU, dropout, linear.

use tch::{TchError, Tensor};

use super::ForwardContext;
use super::dropout::Dropout;
use super::layers::Linear;
use super::parameters::Parameters;

/// See the module.
#[derive(Debug)]
pub struct SemanticHead {
    hidden: Linear,
    dropout: Dropout,
    out: Linear,
}

impl SemanticHead {
    /// Registers `hidden` and `out` in the current scope of `parameters`; `layer` tells its dropout from that of others.
    pub fn new(
        [num_features, hidden_dim, num_classes]: [i64; 3],
        share: f64,
        layer: u64,
        parameters: &mut Parameters,
    ) -> Self {
        Self {
            hidden: Linear::new("hidden", (num_features, hidden_dim), true, parameters),
            dropout: Dropout { share, layer },
            out: Linear::new("out", (hidden_dim, num_classes), true, parameters),
        }
    }

    /// Scores the classes.
    ///
    /// # Shapes
    /// (N, `num_features`) to (N, `num_classes`); N may be 0.
    ///
    /// # Errors
    /// When the shape does not fit or memory runs out.
    pub fn forward(&self, input: &Tensor, pass: &ForwardContext) -> Result<Tensor, TchError> {
        let hidden = self.hidden.forward(input)?.f_silu()?;
        self.out.forward(&self.dropout.forward(&hidden, pass)?)
    }
}
