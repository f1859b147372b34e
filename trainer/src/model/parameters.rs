//! All named tensors of one training program, in registration order. Names are torchvision's, so that weights move
//! between programs; the engine later lays the parameters out in one flat buffer.

use tch::{Device, Kind, Tensor};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::freeze::Frozen;
use crate::data::rng::{Purpose, Stream, stream};

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
    prefix: String,
    parameters: Vec<Parameter>,
    buffers: Vec<Buffer>,
    /// Scopes of layers that behave differently when they are frozen.
    switches: Vec<(String, Frozen)>,
}

impl Parameters {
    /// An empty set. `kind` is `Float` or `Double`.
    pub fn new(device: Device, kind: Kind, seed: u64) -> Self {
        Self {
            device,
            kind,
            seed,
            prefix: String::new(),
            parameters: Vec::new(),
            buffers: Vec::new(),
            switches: Vec::new(),
        }
    }

    /// Seed that initial weights are drawn by.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Where the tensors live.
    pub fn device(&self) -> Device {
        self.device
    }

    /// Type of the elements.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Runs `build` with `name` and a dot before every name that it registers; an empty `name` adds nothing.
    pub fn scope<T>(&mut self, name: &str, build: impl FnOnce(&mut Self) -> T) -> T {
        let outer = self.prefix.len();
        if !name.is_empty() {
            self.prefix.push_str(name);
            self.prefix.push('.');
        }
        let built = build(self);
        self.prefix.truncate(outer);
        built
    }

    /// Registers a parameter and returns the tensor for the layer. Drawn in fp32 on the CPU and then converted, so
    /// that every device and precision starts from the same values.
    pub fn parameter(&mut self, name: &str, shape: &[i64], init: Init, role: Role) -> Tensor {
        let name = self.full_name(name);
        let num_elements = shape.iter().product::<i64>().max(0) as usize;
        let mut values = vec![0.0; num_elements];
        match init {
            Init::Constant(value) => values.fill(value as f32),
            Init::Normal { std } => self.stream(&name).add_gaussian(std as f32, &mut values),
            Init::Uniform { bound } => {
                let mut stream = self.stream(&name);
                values.fill_with(|| stream.uniform_in([-bound, bound]) as f32);
            }
        }
        // Given its shape in place: a reshaped tensor would keep the one that it is a view of, also after the engine
        // has moved the parameter into its flat buffer.
        let value = Tensor::from_slice(&values).resize_(shape);
        let tensor = value.to_device(self.device).to_kind(self.kind).set_requires_grad(true);
        let layer = tensor.shallow_clone();
        self.parameters.push(Parameter { name, tensor, role });
        layer
    }

    /// Registers a buffer filled with `value` and returns the tensor for the layer.
    pub fn buffer(&mut self, name: &str, shape: &[i64], value: f64) -> Tensor {
        self.register(name, Tensor::full(shape, value, (self.kind, self.device)))
    }

    /// Registers a 64-bit integer that begins at 0 and returns the tensor, of shape (), for the layer.
    pub fn counter(&mut self, name: &str) -> Tensor {
        self.register(name, Tensor::zeros([0i64; 0], (Kind::Int64, self.device)))
    }

    /// What tells a layer of the current scope that it is frozen.
    pub fn frozen(&mut self) -> Frozen {
        let frozen = Frozen::default();
        self.switches.push((self.prefix.trim_end_matches('.').to_owned(), frozen.clone()));
        frozen
    }

    /// What [`Parameters::frozen`] gave, with its scopes.
    pub(super) fn switches(&self) -> &[(String, Frozen)] {
        &self.switches
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

    fn register(&mut self, name: &str, tensor: Tensor) -> Tensor {
        let layer = tensor.shallow_clone();
        self.buffers.push(Buffer { name: self.full_name(name), tensor });
        layer
    }

    fn full_name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Not libtorch's generator: that is one for the whole process, and other threads draw from it.
    fn stream(&self, name: &str) -> Stream {
        stream(xxh3_64_with_seed(name.as_bytes(), self.seed), 0, 0, 0, Purpose::Weights)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(seed: u64, init: Init, others: usize) -> Vec<f64> {
        let mut parameters = Parameters::new(Device::Cpu, Kind::Double, seed);
        for index in 0..others {
            let _ = parameters.parameter(&format!("other{index}"), &[3], init, Role::Weight);
        }
        let tensor = parameters.parameter("weight", &[100, 999], init, Role::Weight);
        Vec::try_from(tensor.detach().flatten(0, -1)).unwrap()
    }

    fn mean(values: impl Iterator<Item = f64>) -> f64 {
        values.sum::<f64>() / 99_900.0
    }

    #[test]
    fn a_draw_depends_on_seed_and_name_alone() {
        let init = Init::Normal { std: 1.0 };
        assert_eq!(draw(1, init, 0), draw(1, init, 3));
        assert_ne!(draw(1, init, 0), draw(2, init, 0));
    }

    #[test]
    fn draws_have_the_moments_of_their_distribution() {
        // The tolerances are five standard errors of 99,900 draws.
        let normal = draw(7, Init::Normal { std: 0.5 }, 0);
        assert!(mean(normal.iter().copied()).abs() < 0.008);
        assert!((mean(normal.iter().map(|x| x.powi(2))) - 0.25).abs() < 0.0056);
        assert!((mean(normal.iter().map(|x| x.powi(4))) - 0.1875).abs() < 0.0097);
        assert!(mean(normal.windows(2).map(|pair| pair[0] * pair[1])).abs() < 0.004);

        let uniform = draw(7, Init::Uniform { bound: 0.3 }, 0);
        assert!(uniform.iter().all(|x| x.abs() <= 0.3));
        assert!(mean(uniform.iter().copied()).abs() < 0.0028);
        assert!((mean(uniform.iter().map(|x| x.powi(2))) - 0.03).abs() < 0.00043);
    }

    #[test]
    fn scopes_nest_and_end() {
        let mut parameters = Parameters::new(Device::Cpu, Kind::Double, 0);
        let _ = parameters.scope("backbone", |parameters| {
            let _ = parameters.scope("", |parameters| {
                parameters.scope("layer1.0", |parameters| {
                    parameters.parameter("weight", &[2, 1], Init::Constant(1.0), Role::Weight)
                })
            });
            parameters.counter("steps")
        });
        let _ = parameters.buffer("mean", &[2], 0.0);
        let names: Vec<_> = parameters.buffers().iter().map(|buffer| buffer.name.as_str()).collect();
        assert_eq!(parameters.parameters()[0].name, "backbone.layer1.0.weight");
        assert_eq!(names, ["backbone.steps", "mean"]);
        assert_eq!(parameters.buffers()[0].tensor.kind(), Kind::Int64);
        assert_eq!(parameters.num_elements(), 2);
    }
}
