//! Training one way on one rank: recorded as the reference, or compared with it step by step.

use std::ops::Range;

use dtrain_comm::CollectiveExt;
use dtrain_configs::schema::{Auto, MethodConfig, ModelConfig};
use tch::{Device, Kind, TchError, Tensor};

use super::differences::{Differences, norm};
use super::judge::tolerance;
use super::ways::Way;
use crate::coordinator::StepPlan;
use crate::engine::{Engine, EngineSettings, LocalBatch, Ranks, StepOutcome};
use crate::error::TrainError;
use crate::method;
use crate::model::parameters::Parameters;
use crate::run::Prepared;

/// What every way starts from.
#[derive(Debug, Clone)]
pub(super) struct Setup {
    method: MethodConfig,
    model: ModelConfig,
    in_channels: i64,
    num_classes: i64,
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
        let mut method = config.method.clone();
        // The run's tile is among the settings, where a way can change it.
        match &mut method {
            MethodConfig::Simclr(simclr) => simclr.tile = Auto::Auto,
            MethodConfig::Supcon(supcon) => supcon.tile = Auto::Auto,
            MethodConfig::Supervised(_) => {}
        }
        let [in_channels, ..] = prepared.maker.shape();
        Self {
            method,
            model: config.model.clone(),
            in_channels: in_channels as i64,
            num_classes: prepared.dataset.label(&config.data.target).map_or(0, |label| label.classes.len())
                as i64,
            seed: config.seed,
            device: prepared.engine.device(),
            settings: prepared.engine.settings().clone(),
        }
    }

    fn engine(&self, way: &Way, ranks: Ranks) -> Result<Engine, TrainError> {
        let mut parameters = Parameters::new(self.device, way.arithmetic.kind(), self.seed);
        let method =
            method::build(&self.method, &self.model, self.in_channels, self.num_classes, &mut parameters);
        let engine = Engine::new(method, parameters, ranks, way.settings(&self.settings))?;
        if way.last_place > 0 {
            move_last_places(engine.flat().parameters(), way.last_place)?;
        }
        Ok(engine)
    }
}

/// Units in the last place of fp32 by which weights move: about what a sum over a layer's inputs rounds by.
const LAST_PLACES: f64 = 4.0;

/// Moves each value up or down by [`LAST_PLACES`]; `choice` decides which way.
fn move_last_places(values: &Tensor, choice: u8) -> Result<(), TchError> {
    let place = Tensor::f_arange(values.numel() as i64, (Kind::Double, values.device()))?;
    let sign = (place * 12.9898 + f64::from(choice) * 78.233)
        .f_sin()?
        .f_mul_scalar(43_758.545_3)?
        .f_sin()?
        .f_sign()?;
    let factor = sign * (LAST_PLACES * f64::from(f32::EPSILON)) + 1.0;
    let _ = tch::no_grad(|| values.shallow_clone().f_mul_(&factor.f_to_kind(values.kind())?))?;
    Ok(())
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
    /// Running statistics and counters after the last step.
    statistics: Vec<Tensor>,
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
        let parameters = &self.layout.parameters;
        let mut differences = Differences::none(parameters.len());
        let losses = train(&mut engine, steps, |step, gradient| {
            let Some(expected) = self.gradients.get(step) else { return Ok(()) };
            Ok(differences.compare_gradients(gradient, expected, parameters)?)
        })?;
        differences.compare_losses(&losses, &self.losses);
        let own: Vec<Tensor> = statistics(&engine).map(|(_, tensor)| tensor.shallow_clone()).collect();
        differences.compare_weights(
            (engine.flat().parameters(), &own),
            (&self.weights, &self.statistics),
            parameters,
        )?;
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

fn statistics(engine: &Engine) -> impl Iterator<Item = (&str, &Tensor)> {
    let buffers = engine.parameters().buffers().iter();
    buffers.filter(|b| !b.name.starts_with(QUEUE)).map(|b| (b.name.as_str(), &b.tensor))
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

    #[test]
    fn weights_move_by_their_last_places_either_way() {
        let values = Tensor::full([1000], 0.75, (Kind::Float, Device::Cpu));
        move_last_places(&values, 1).unwrap();
        let moved = (values / 0.75 - 1.0) / f64::from(f32::EPSILON);
        let (least, most) = (moved.min().double_value(&[]), moved.max().double_value(&[]));
        assert!((-4.5..-3.5).contains(&least) && (3.5..4.5).contains(&most), "{least} {most}");
        let mean = moved.mean(Kind::Float).double_value(&[]);
        assert!(mean.abs() < 0.6, "{mean}");
    }

    /// A bias in front of batch norm has a gradient of rounding in every step; another parameter, only in one.
    #[test]
    fn what_is_rounding_in_every_step_is_zero() {
        let gradient = |values: [f64; 4]| Tensor::from_slice(&values);
        let reference = Reference {
            losses: vec![1.0; 2],
            gradients: vec![gradient([1.0, 2e-14, -2e-14, 1e-15]), gradient([3.0, 1e-14, 0.0, 1e-9])],
            weights: gradient([0.0; 4]),
            statistics: Vec::new(),
            layout: Layout {
                parameters: vec![0..1, 1..3, 3..4],
                names: vec!["w".into(), "b".into(), "v".into()],
            },
        };
        assert_eq!(reference.zero_gradients().unwrap(), [false, true, false]);
    }

    #[test]
    fn scratch_sync() {
        use crate::model::Pass;
        use crate::model::batch_norm::BatchNorm;
        use crate::torch_extra::SyncStatistics;
        tch::manual_seed(1);
        for (shape, mean, std) in [([12, 32, 32, 50], 0.0, 1.0), ([12, 32, 32, 50], 3.0, 1.0), ([12, 256, 4, 6], 0.3, 0.05)] {
            let x64 = (Tensor::randn(shape, (Kind::Double, Device::Cpu)) * std + mean).to_kind(Kind::Float).to_kind(Kind::Double);
            let c64 = Tensor::randn(shape, (Kind::Float, Device::Cpu)).to_kind(Kind::Double) * 0.01 + 0.02;
            let run = |kind: Kind, sync: Option<SyncStatistics>| {
                let mut p = Parameters::new(Device::Cpu, kind, 0);
                let layer = BatchNorm::new("bn", shape[1], &mut p);
                let x = x64.to_kind(kind).permute([0,2,3,1]).contiguous().permute([0,3,1,2]).detach().set_requires_grad(true);
                let y = layer.forward(&x, &Pass::train(sync)).unwrap();
                (&y.relu() * c64.to_kind(kind)).sum(kind).backward();
                let gs: Vec<Tensor> = p.parameters().iter().map(|p| p.tensor.grad()).collect();
                [y.detach(), x.grad(), gs[0].shallow_clone(), gs[1].shallow_clone()].map(|t| t.to_kind(Kind::Double))
            };
            let truth = run(Kind::Double, None);
            let native = run(Kind::Float, None);
            let sync = run(Kind::Float, Some(SyncStatistics::new(|_| Ok(()))));
            for (name, got) in [("native", &native), ("sync", &sync)] {
                let errs: Vec<String> = got.iter().zip(&truth).map(|(a, b)| {
                    let e = ((a - b).norm() / b.norm()).double_value(&[]);
                    format!("{e:.1e}")
                }).collect();
                let flips = got[0].gt(0.0).ne_tensor(&truth[0].gt(0.0)).sum(Kind::Int64).int64_value(&[]);
                #[allow(clippy::print_stderr)]
                { eprintln!("SCRATCH {shape:?} mean {mean} {name}: y, dx, dw, db {errs:?} flips {flips}"); }
            }
        }
    }
}
