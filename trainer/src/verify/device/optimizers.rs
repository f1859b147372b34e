//! The optimizers through the engine's step, on gradients that are given: a loss that is linear in the weights has the
//! gradient of its coefficients, whatever the device makes of the rest.

use dtrain_configs::schema::{Encoder, MethodFacts, OptimizerConfig};
use tch::{Kind, TchError, Tensor};

use super::Check;
use super::compare::{Compared, Row, differing};
use super::precision::DevicePrecision;
use super::setting::Setting;
use super::steps::{engine, plan, settled};
use crate::engine::Engine;
use crate::error::TrainError;
use crate::method::{LocalBatch, Method, Objective, StepContext, Targets};
use crate::model::ForwardContext;
use crate::model::parameters::{Init, Parameters, Role};
use crate::state::Stateful;

const STEPS: u64 = 6;

/// Name, shape and role of each parameter, one of each kind that optimizers treat differently.
const PARAMETERS: [(&str, &[i64], Role); 5] = [
    ("conv.weight", &[8, 4, 3, 3], Role::Weight),
    ("norm.weight", &[8], Role::Norm),
    ("norm.bias", &[8], Role::Norm),
    ("fc.weight", &[5, 33], Role::Weight),
    ("fc.bias", &[5], Role::Bias),
];

/// All checks.
pub(super) fn checks() -> Vec<Check<'static>> {
    let configs = OptimizerConfig::all().into_iter();
    configs
        .map(|config| {
            Check::new(format!("optimizer {}", config.name()), move |setting| weights(setting, &config))
        })
        .collect()
}

/// Weights after a few steps, one of which has an infinite gradient.
fn weights(setting: &Setting, config: &OptimizerConfig) -> Result<Compared, TrainError> {
    let mut engine = given(setting, config, false)?;
    for step in 0..STEPS {
        settled(&mut engine, &gradient(setting, step, step == 3)?, &plan(step, 1))?;
    }
    let mut compared = Compared::default();
    // Tensor by tensor: the padding between them depends on the type.
    for segment in engine.flat().segments() {
        compared.output(&segment.name, &segment.view_of(engine.flat().parameters()));
    }
    Ok(compared)
}

/// Elements that move in a step that is to be skipped, and the finite step after it must move some.
pub(super) fn exact(setting: &Setting, precision: DevicePrecision) -> Result<Vec<Row>, TrainError> {
    let mut rows = Vec::new();
    for config in OptimizerConfig::all() {
        for deferred in [false, true] {
            let mut engine = given(setting, &config, deferred)?;
            for step in 0..2 {
                settled(&mut engine, &gradient(setting, step, false)?, &plan(step, 1))?;
            }
            let before = engine.flat().parameters().copy();
            let outcome = settled(&mut engine, &gradient(setting, 2, true)?, &plan(2, 1))?;
            let moved = differing(&before, engine.flat().parameters()) + usize::from(outcome.finite);
            settled(&mut engine, &gradient(setting, 3, false)?, &plan(3, 1))?;
            let stuck = usize::from(differing(&before, engine.flat().parameters()) == 0);
            let when = if deferred { ", known a step later" } else { "" };
            rows.push(Row::bits(
                format!("skipped step of {}{when}", config.name()),
                precision,
                moved + stuck,
            ));
        }
    }
    Ok(rows)
}

fn given(setting: &Setting, config: &OptimizerConfig, deferred: bool) -> Result<Engine, TrainError> {
    let mut parameters = setting.parameters();
    let method = GivenGradient::new(&mut parameters);
    engine(setting, Box::new(method), parameters, config.clone(), deferred)
}

/// The coefficients of a step as its only sample.
fn gradient(setting: &Setting, step: u64, infinite: bool) -> Result<LocalBatch, TchError> {
    let total: i64 = PARAMETERS.iter().map(|(_, shape, _)| shape.iter().product::<i64>()).sum();
    let inputs = setting.normal(4000 + step as u32, &[1, total]);
    if infinite {
        let _ = inputs.get(0).get(total - 1).fill_(f64::INFINITY);
    }
    let targets = Targets::new(vec![0], 1)?.with_classes(vec![0])?.with_recordings(vec![0])?;
    Ok(LocalBatch::new(1, inputs, targets))
}

/// The loss sum(w * c), c being the input.
struct GivenGradient {
    parameters: Vec<Tensor>,
}

impl GivenGradient {
    fn new(parameters: &mut Parameters) -> Self {
        let register = |(name, shape, role): &(&str, &[i64], Role)| {
            parameters.parameter(name, shape, Init::Normal { std: 0.5 }, *role)
        };
        Self { parameters: PARAMETERS.iter().map(register).collect() }
    }
}

impl Method for GivenGradient {
    fn own_state(&mut self) -> Option<&mut dyn Stateful> {
        None
    }

    fn facts(&self) -> MethodFacts {
        MethodFacts::default()
    }

    fn loss_names(&self) -> Vec<String> {
        vec!["loss".into()]
    }

    fn monitors(&self) -> &'static [&'static str] {
        &[]
    }

    fn objective(&self, part: &LocalBatch, _: &StepContext<'_>) -> Result<Objective, TchError> {
        let inputs = part.inputs();
        let mut offset = 0;
        let mut loss = Tensor::zeros([0_i64; 0], (inputs.kind(), inputs.device()));
        for parameter in &self.parameters {
            let len = parameter.numel() as i64;
            let coefficients = inputs.f_get(0)?.f_narrow(0, offset, len)?.f_reshape(parameter.size())?;
            loss += (parameter * coefficients).f_sum(None::<Kind>)?;
            offset += len;
        }
        Ok(Objective::direct(loss))
    }

    fn num_features(&self) -> i64 {
        1
    }

    fn embed(&self, inputs: &Tensor, _: Encoder, _: &ForwardContext) -> Result<Tensor, TchError> {
        Ok(inputs.shallow_clone())
    }
}
