//! What a network states about itself once, as data.

use super::NetworkConfig;

/// What the rest of the program goes by, so that nothing outside of a network's own files asks for its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetworkFacts {
    /// Rows and columns that a view has at least.
    pub min_side: usize,
    /// Width of an embedding.
    pub num_features: usize,
    /// Whether it sees views of the size that it was built for only.
    pub one_size: bool,
    /// Whether a quick proof leaves it out for its size.
    pub is_large: bool,
}

/// A form of a network that a proof goes through.
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkVariant {
    /// The network, without randomness.
    pub network: NetworkConfig,
    /// What tells it from its other forms, such as `small stem`; empty where there is one form.
    pub words: &'static str,
    /// Rows and columns of the views that it is tried with: every layer has several positions.
    pub side: usize,
}

/// How to make a network with torchvision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torchvision {
    /// The function of `torchvision.models`; its last layer is called `fc`, and it takes `norm_layer`.
    pub function: &'static str,
    /// Lines of Python after `model = torchvision.models.FUNCTION()` that make the rest of it what it is here.
    pub adjustments: Vec<String>,
}
