//! All named tensors of one training program, in registration order. Names are torchvision's, so that weights move
//! between programs; the engine later lays the parameters out in one flat buffer.

use dtrain_data::rng::{Purpose, Stream, stream};
use tch::{Device, Kind, TchError, Tensor};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::frozen::Frozen;

/// Scope of a teacher's tensors.
pub const TEACHER: &str = "teacher";

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
    /// When it gets new values.
    pub moved: Moved,
}

/// What gives a buffer new values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    /// A forward pass in training, before it is known whether the step counts: the engine puts the old values back if not.
    Forward,
    /// The method, after the update ([`Parameters::after_step`]): the same values on every rank.
    AfterStep,
}

/// A weight of a teacher, which no gradient reaches: it follows a parameter.
#[derive(Debug)]
pub struct Shadow {
    /// Dotted name, unique: [`TEACHER`] and the name of the parameter that it follows.
    pub name: String,
    /// The tensor that layers hold too.
    pub tensor: Tensor,
}

impl Shadow {
    /// Name of the parameter that it follows.
    pub fn of(&self) -> &str {
        of_teacher(&self.name).unwrap_or_default()
    }
}

/// The name in the student of a teacher's tensor.
pub fn of_teacher(name: &str) -> Option<&str> {
    name.strip_prefix(TEACHER)?.strip_prefix('.')
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
    shadows: Vec<Shadow>,
    mode: Mode,
    moved: Moved,
    /// Scopes of layers that behave differently when they are frozen.
    switches: Vec<(String, Frozen)>,
    /// The first tensor that could not be made.
    unmade: Option<Unmade>,
}

/// What becomes of a parameter that a layer registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// It is trained.
    Trained,
    /// It follows the parameter of the same name.
    Teacher,
    /// It stays as it begins, and nobody needs to know of it.
    Constant,
}

/// A tensor of the network that found no memory.
#[derive(Debug)]
pub struct Unmade {
    /// Its name.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// What the allocator says.
    pub error: TchError,
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
            shadows: Vec::new(),
            mode: Mode::Trained,
            moved: Moved::Forward,
            switches: Vec::new(),
            unmade: None,
        }
    }

    /// Whether all parameters and buffers could be made; to be asked once the network is built.
    ///
    /// # Errors
    /// The first that could not.
    pub fn made(&mut self) -> Result<(), Unmade> {
        self.unmade.take().map_or(Ok(()), Err)
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

    /// Runs `build`, whose networks become those of a teacher: their parameters follow the ones of the same names that are
    /// trained, as an exponential moving average that the engine moves after each step. Running statistics are the teacher's
    /// own. All of it is saved under [`TEACHER`].
    pub fn teacher<T>(&mut self, build: impl FnOnce(&mut Self) -> T) -> T {
        self.in_mode(Mode::Teacher, |parameters| parameters.scope(TEACHER, build))
    }

    /// Runs `build`, whose parameters are not trained and not saved: they stay as they begin.
    pub fn constant<T>(&mut self, build: impl FnOnce(&mut Self) -> T) -> T {
        self.in_mode(Mode::Constant, build)
    }

    /// Runs `build`, whose buffers are moved after each step by the method itself, alike on all ranks, and by no forward pass.
    pub fn after_step<T>(&mut self, build: impl FnOnce(&mut Self) -> T) -> T {
        let outer = std::mem::replace(&mut self.moved, Moved::AfterStep);
        let built = build(self);
        self.moved = outer;
        built
    }

    fn in_mode<T>(&mut self, mode: Mode, build: impl FnOnce(&mut Self) -> T) -> T {
        let outer = std::mem::replace(&mut self.mode, mode);
        let built = build(self);
        self.mode = outer;
        built
    }

    /// Registers a parameter and returns the tensor for the layer. Drawn in fp32 on the CPU and then converted, so
    /// that every device and precision starts from the same values. One that finds no memory is a stand-in of the same
    /// shape, and [`Self::made`] tells: layers are built without a thought of failure.
    pub fn parameter(&mut self, name: &str, shape: &[i64], init: Init, role: Role) -> Tensor {
        let name = self.full_name(name);
        // A teacher begins as a copy of the student, which is drawn by its own names.
        let drawn = self.drawn(of_teacher(&name).unwrap_or(&name), shape, init);
        let tensor = self.or_stand_in(&name, shape, self.kind, drawn);
        let layer = tensor.shallow_clone();
        match self.mode {
            Mode::Trained => {
                let tensor = tensor.set_requires_grad(true);
                self.parameters.push(Parameter { name, tensor, role });
            }
            Mode::Teacher => self.shadows.push(Shadow { name, tensor }),
            Mode::Constant => {}
        }
        layer
    }

    fn drawn(&self, name: &str, shape: &[i64], init: Init) -> Result<Tensor, TchError> {
        let num_elements = shape.iter().product::<i64>().max(0) as usize;
        let mut values = Vec::new();
        values.try_reserve_exact(num_elements).map_err(|_| {
            TchError::Torch(format!("not enough memory for {num_elements} values on the host"))
        })?;
        values.resize(num_elements, 0.0);
        match init {
            Init::Constant(value) => values.fill(value as f32),
            Init::Normal { std } => self.stream(name).add_gaussian(std as f32, &mut values),
            Init::Uniform { bound } => {
                let mut stream = self.stream(name);
                values.fill_with(|| stream.uniform_in([-bound, bound]) as f32);
            }
        }
        // Given its shape in place: a reshaped tensor would keep the one that it is a view of, also after the engine
        // has moved the parameter into its flat buffer.
        let value = Tensor::f_from_slice(&values)?.f_resize_(shape)?;
        value.f_to_device(self.device)?.f_to_kind(self.kind)
    }

    /// Registers a buffer filled with `value` and returns the tensor for the layer; without memory as
    /// [`Self::parameter`].
    pub fn buffer(&mut self, name: &str, shape: &[i64], value: f64) -> Tensor {
        self.register(name, shape, value, self.kind)
    }

    /// Registers 64-bit integers that begin at `value` and returns the tensor for the layer; without memory as
    /// [`Self::parameter`].
    pub fn integers(&mut self, name: &str, shape: &[i64], value: i64) -> Tensor {
        self.register(name, shape, value as f64, Kind::Int64)
    }

    /// Registers a 64-bit integer that begins at 0 and returns the tensor, of shape (), for the layer.
    pub fn counter(&mut self, name: &str) -> Tensor {
        self.integers(name, &[], 0)
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

    /// The weights of a teacher, in registration order; none where there is no teacher.
    pub fn shadows(&self) -> &[Shadow] {
        &self.shadows
    }

    /// Elements of all parameters.
    pub fn num_elements(&self) -> usize {
        self.parameters.iter().map(|p| p.tensor.numel()).sum()
    }

    fn register(&mut self, name: &str, shape: &[i64], value: f64, kind: Kind) -> Tensor {
        let name = self.full_name(name);
        // A function of tch that takes a number panics where libtorch has an error to tell.
        let filled = Tensor::f_empty(shape, (kind, self.device)).map(|mut tensor| tensor.fill_(value));
        let tensor = self.or_stand_in(&name, shape, kind, filled);
        let layer = tensor.shallow_clone();
        self.buffers.push(Buffer { name, tensor, moved: self.moved });
        layer
    }

    /// What was made, or a tensor of the same shape without memory behind it, of which [`Self::made`] tells.
    fn or_stand_in(
        &mut self,
        name: &str,
        shape: &[i64],
        kind: Kind,
        made: Result<Tensor, TchError>,
    ) -> Tensor {
        made.unwrap_or_else(|error| {
            let elements =
                shape.iter().fold(1_u64, |product, &size| product.saturating_mul(size.max(0) as u64));
            let bytes = elements.saturating_mul(kind.elt_size_in_bytes() as u64);
            self.unmade.get_or_insert_with(|| Unmade { name: name.to_owned(), bytes, error });
            Tensor::zeros([1], (kind, self.device)).expand(shape, false)
        })
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
mod tests;
