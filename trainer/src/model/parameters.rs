//! All named tensors of one training program, in registration order. Names are torchvision's, so that weights move
//! between programs; the engine later lays the parameters out in one flat buffer.

use tch::{Device, Kind, Tensor};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// What a parameter is, which decides about weight decay and layer-wise adaptation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Weight of a convolution or linear layer: decayed and adapted.
    Weight,
    /// Bias: neither, by default.
    Bias,
    /// Scale or shift of a normalization layer: neither, by default.
    Norm,
}

/// How a parameter begins. The draw depends on the seed and the parameter's name only, not on the rank or on other
/// parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// A constant.
    Constant(f64),
    /// Normal with mean 0.
    Normal {
        /// Standard deviation.
        std: f64,
    },
    /// Uniform in (-bound, bound).
    Uniform {
        /// Half the width.
        bound: f64,
    },
}

/// A trainable tensor.
#[derive(Debug)]
pub struct Parameter {
    /// Dotted name, unique.
    pub name: String,
    /// The leaf tensor that layers hold too (a shallow clone shares its storage and gradient).
    pub tensor: Tensor,
    /// Decides about decay and adaptation.
    pub role: Role,
}

/// A tensor that is saved but not trained, such as running statistics.
#[derive(Debug)]
pub struct Buffer {
    /// Dotted name, unique.
    pub name: String,
    /// The tensor that layers hold too.
    pub tensor: Tensor,
}

/// All parameters and buffers, in registration order.
#[derive(Debug)]
pub struct Parameters {
    device: Device,
    kind: Kind,
    seed: u64,
    parameters: Vec<Parameter>,
    buffers: Vec<Buffer>,
}

impl Parameters {
    /// An empty set. `kind` is `Float` or `Double`.
    pub fn new(device: Device, kind: Kind, seed: u64) -> Self {
        Self { device, kind, seed, parameters: Vec::new(), buffers: Vec::new() }
    }

    /// Where the tensors live.
    pub fn device(&self) -> Device {
        self.device
    }

    /// Type of the elements.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Registers a parameter and returns the tensor for the layer. Drawn in fp32 on the CPU and then converted, so
    /// that every device and precision starts from the same values.
    pub fn parameter(&mut self, name: &str, shape: &[i64], init: Init, role: Role) -> Tensor {
        let cpu = (Kind::Float, Device::Cpu);
        let value = match init {
            Init::Constant(value) => Tensor::full(shape, value, cpu),
            Init::Normal { std } => {
                self.seed_generator(name);
                Tensor::randn(shape, cpu) * std
            }
            Init::Uniform { bound } => {
                self.seed_generator(name);
                Tensor::empty(shape, cpu).uniform_(-bound, bound)
            }
        };
        let tensor = value.to_device(self.device).to_kind(self.kind).set_requires_grad(true);
        let layer = tensor.shallow_clone();
        self.parameters.push(Parameter { name: name.to_owned(), tensor, role });
        layer
    }

    /// Registers a buffer filled with `value` and returns the tensor for the layer.
    pub fn buffer(&mut self, name: &str, shape: &[i64], value: f64) -> Tensor {
        let tensor = Tensor::full(shape, value, (self.kind, self.device));
        let layer = tensor.shallow_clone();
        self.buffers.push(Buffer { name: name.to_owned(), tensor });
        layer
    }

    /// The parameters, in registration order.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// The buffers, in registration order.
    pub fn buffers(&self) -> &[Buffer] {
        &self.buffers
    }

    /// Elements of all parameters.
    pub fn num_elements(&self) -> usize {
        self.parameters.iter().map(|p| p.tensor.numel()).sum()
    }

    fn seed_generator(&self, name: &str) {
        let seed = xxh3_64_with_seed(name.as_bytes(), self.seed);
        tch::manual_seed((seed >> 1) as i64);
    }
}
