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

/// A library of Python that has networks of these names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PythonLibrary {
    /// <https://docs.pytorch.org/vision>
    Torchvision,
    /// <https://huggingface.co/docs/timm>
    Timm,
}

impl PythonLibrary {
    /// As it is imported.
    pub fn name(self) -> &'static str {
        match self {
            Self::Torchvision => "torchvision",
            Self::Timm => "timm",
        }
    }
}

/// How to make a network with a library of Python, where the names of its tensors are those of here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elsewhere {
    /// The library.
    pub library: PythonLibrary,
    /// The function, and arguments that it has in any case, such as `timm.create_model("vit_tiny_patch16_224", in_chans=1`: what
    /// follows are a comma, further arguments and a bracket.
    pub call: String,
    /// Whether `call` has arguments.
    pub has_arguments: bool,
    /// Lines of Python behind the call that make the rest of it what it is here.
    pub adjustments: Vec<String>,
    /// What the library calls the last layer of its classifier.
    pub last_layer: &'static str,
    /// Whether it takes `norm_layer` for another normalization.
    pub takes_norm_layer: bool,
}
