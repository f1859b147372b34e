//! Training one way on one rank: recorded as the reference, or compared with it step by step.

use std::ops::Range;

use dtrain_comm::CollectiveExt;
use dtrain_configs::schema::{MethodConfig, ModelConfig};
use tch::{Device, Tensor};

use super::differences::{Differences, Flat, norm};
use super::judge::tolerance;
use super::ways::Way;
use crate::coordinator::StepPlan;
use crate::engine::{Engine, EngineSettings, Ranks, StepOutcome};
use crate::error::TrainError;
use crate::method::{self, LocalBatch, Task};
use crate::model::parameters::Parameters;
use crate::run::Prepared;

/// What every way starts from.
#[derive(Debug, Clone)]
pub(super) struct Setup {
    method: MethodConfig,
    model: ModelConfig,
    task: Task,
    seed: u64,
    /// Where tensors live.
    pub(super) device: Device,
    /// The run's.
    settings: EngineSettings,
}

impl Setup {
    /// As the run would be built.
    pub(super) fn of(prepared: &Prepared) -> Self {
        let config = &prepared.config;
        Self {
            method: config.method.clone(),
            model: config.model.clone(),
            task: prepared.task(),
            seed: config.seed,
            device: prepared.engine.device(),
            settings: prepared.engine.settings().clone(),
        }
    }

    fn engine(&self, way: &Way, ranks: Ranks) -> Result<Engine, TrainError> {
        let mut parameters = Parameters::new(self.device, way.arithmetic.kind(), self.seed);
        let method = method::build(&self.method, &self.model, &self.task, &mut parameters);
        Engine::new(method, parameters, ranks, way.settings(&self.settings))
    }
}

/// This rank's share of each step.
pub(super) type Steps = Vec<(LocalBatch, StepPlan)>;

/// What the reference did.
#[derive(Debug)]
pub(super) struct Reference {
    losses: Vec<f64>,
    /// Flat, of each step.
    gradients: Vec<Tensor>,
    /// Flat, after the last step.
    weights: Tensor,
    /// Running statistics, counters and the weights of a teacher after the last step.
    statistics: Vec<Tensor>,
    /// What differences of each of them are measured by.
    scales: Vec<f64>,
    layout: Layout,
}

/// What the flat tensors hold.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    /// Where each parameter lies.
    parameters: Vec<Range<usize>>,
    /// Names of the parameters, then of the statistics.
    pub(super) names: Vec<String>,
}

/// Scope of the memory queue. Its rows lie in the order of ranks, which is no part of the result.
const QUEUE: &str = "queue.";

impl Reference {
    /// Trains and remembers.
    ///
    /// # Errors
    /// As [`Engine::step`], and when a loss is not finite: nothing could be compared.
    pub(super) fn record(setup: &Setup, way: &Way, ranks: Ranks, steps: Steps) -> Result<Self, TrainError> {
        let mut engine = setup.engine(way, ranks)?;
        let mut gradients = Vec::with_capacity(steps.len());
        let losses = train(&mut engine, steps, |_, gradient| {
            gradients.push(gradient.copy());
            Ok(())
        })?;
        if let Some(step) = losses.iter().position(|loss| !loss.is_finite()) {
            return Err(TrainError::run(
                format!(
                    "loss or gradient of step {step} is not finite on one rank, so that nothing can be compared"
                ),
                "lower `optimizer.lr`, set `trainer.grad_clip`, or compare fewer `--steps`",
            ));
        }
        Ok(Self {
            losses,
            gradients,
            weights: engine.flat().parameters().copy(),
            statistics: statistics(&engine).map(|(_, tensor)| tensor.copy()).collect(),
            scales: scales(&engine)?,
            layout: Layout::of(&engine),
        })
    }

    /// Trains and compares; the same on all ranks.
    ///
    /// # Errors
    /// As [`Engine::step`].
    pub(super) fn compare(
        &self,
        setup: &Setup,
        way: &Way,
        ranks: Ranks,
        steps: Steps,
    ) -> Result<Differences, TrainError> {
        let mut engine = setup.engine(way, ranks)?;
        let Layout { parameters, .. } = Layout::of(&engine);
        let mut differences = Differences::none(parameters.len());
        let losses = train(&mut engine, steps, |step, gradient| {
            let Some(expected) = self.gradients.get(step) else { return Ok(()) };
            let expected = Flat { values: expected, parts: &self.layout.parameters };
            Ok(differences.compare_gradients(Flat { values: gradient, parts: &parameters }, expected)?)
        })?;
        differences.compare_losses(&losses, &self.losses);
        let own: Vec<Tensor> = statistics(&engine).map(|(_, tensor)| tensor.shallow_clone()).collect();
        differences.compare_weights(
            Flat { values: engine.flat().parameters(), parts: &parameters },
            Flat { values: &self.weights, parts: &self.layout.parameters },
        )?;
        differences.compare_statistics(&own, &self.statistics, &self.scales)?;
        let prints = engine.collective().all_gather_usize(engine.fingerprint()? as usize)?;
        differences.parted = prints.iter().any(|print| Some(print) != prints.first());
        Ok(differences.merge(&**engine.collective())?)
    }

    /// The same tensors for another thread.
    pub(super) fn share(&self) -> Self {
        let share = |tensors: &[Tensor]| tensors.iter().map(Tensor::shallow_clone).collect();
        Self {
            losses: self.losses.clone(),
            gradients: share(&self.gradients),
            weights: self.weights.shallow_clone(),
            statistics: share(&self.statistics),
            scales: self.scales.clone(),
            layout: self.layout.clone(),
        }
    }

    /// What the tensors are called.
    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Which parameters never have a gradient beyond rounding.
    pub(super) fn zero_gradients(&self) -> Result<Vec<bool>, TrainError> {
        let mut zero = vec![true; self.layout.parameters.len()];
        for gradient in &self.gradients {
            let rounding = tolerance::ZERO_GRADIENT * norm(gradient)?;
            for (zero, part) in zero.iter_mut().zip(&self.layout.parameters) {
                *zero &= norm(&gradient.f_narrow(0, part.start as i64, part.len() as i64)?)? <= rounding;
            }
        }
        Ok(zero)
    }
}

impl Layout {
    fn of(engine: &Engine) -> Self {
        let segments = engine.flat().segments();
        let mut names: Vec<String> = segments.iter().map(|segment| segment.name.clone()).collect();
        names.extend(statistics(engine).map(|(name, _)| name.to_owned()));
        Self { parameters: segments.iter().map(|s| s.offset..s.offset + s.len).collect(), names }
    }
}

/// Running statistics and counters, and the weights of a teacher.
fn statistics(engine: &Engine) -> impl Iterator<Item = (&str, &Tensor)> {
    let buffers = engine.parameters().buffers().iter().filter(|b| !b.name.starts_with(QUEUE));
    let teacher = engine.parameters().shadows().iter().map(|s| (s.name.as_str(), &s.tensor));
    buffers.map(|b| (b.name.as_str(), &b.tensor)).chain(teacher)
}

/// What a difference of each of the [`statistics`] is measured by: its norm, and for a mean the deviation of what it is the mean
/// of as well. A mean that is zero by construction, such as that of what follows a batch norm, is nothing but rounding.
fn scales(engine: &Engine) -> Result<Vec<f64>, TrainError> {
    let parameters = engine.parameters();
    let deviation = |name: &str| -> Result<f64, TrainError> {
        let Some(layer) = name.strip_suffix("running_mean") else { return Ok(0.0) };
        let var = format!("{layer}running_var");
        let var = parameters.buffers().iter().find(|buffer| buffer.name == var);
        var.map_or(Ok(0.0), |var| Ok(norm(&var.tensor.f_sqrt()?)?))
    };
    statistics(engine).map(|(name, tensor)| Ok(norm(tensor)?.hypot(deviation(name)?))).collect()
}

/// Runs all steps; `on_gradient` sees the flat gradient after each. Returns the losses, NaN where a step was skipped.
fn train(
    engine: &mut Engine,
    steps: Steps,
    mut on_gradient: impl FnMut(usize, &Tensor) -> Result<(), TrainError>,
) -> Result<Vec<f64>, TrainError> {
    let mut losses = vec![f64::NAN; steps.len()];
    let mut note = |outcome: Option<StepOutcome>| {
        if let Some(outcome) = outcome.filter(|outcome| outcome.finite)
            && let Some(loss) = losses.get_mut(outcome.step as usize)
        {
            *loss = outcome.loss;
        }
    };
    for (index, (batch, plan)) in steps.into_iter().enumerate() {
        note(engine.step(&batch, &plan)?);
        on_gradient(index, engine.flat().gradients())?;
    }
    note(engine.flush()?);
    Ok(losses)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bias in front of batch norm has a gradient of rounding in every step; another parameter, only in one.
    #[test]
    fn what_is_rounding_in_every_step_is_zero() {
        let gradient = |values: [f64; 4]| Tensor::from_slice(&values);
        let reference = Reference {
            losses: vec![1.0; 2],
            gradients: vec![gradient([1.0, 2e-14, -2e-14, 1e-15]), gradient([3.0, 1e-14, 0.0, 1e-9])],
            weights: gradient([0.0; 4]),
            statistics: Vec::new(),
            scales: Vec::new(),
            layout: Layout {
                parameters: vec![0..1, 1..3, 3..4],
                names: vec!["w".into(), "b".into(), "v".into()],
            },
        };
        assert_eq!(reference.zero_gradients().unwrap(), [false, true, false]);
    }
}
