//! The networks and their heads, in training mode, with weights in the flat buffers of the engine: convolutions see the
//! channels-last weights that they see in training.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dtrain_configs::schema::{ModelConfig, ModelName, Norm, ProjectorConfig, Stem};
use tch::{Kind, TchError, Tensor};

use super::Check;
use super::compare::{Compared, Row};
use super::precision::DevicePrecision;
use super::setting::Setting;
use crate::engine::Arithmetic;
use crate::engine::flat::Flat;
use crate::error::TrainError;
use crate::model::batch_norm::BatchNorm;
use crate::model::classifier::Classifier;
use crate::model::norm::NormConfig;
use crate::model::parameters::Parameters;
use crate::model::projector::Projector;
use crate::model::{Pass, build_backbone};
use crate::torch_extra::{After, GradientHooks, SyncStatistics};

const BATCH: i64 = 6;
const CHANNELS: i64 = 3;
/// Width of the embeddings that the heads are checked with.
const EMBEDDING: i64 = 96;
/// Keeps gradients of 16-bit floats out of the subnormal numbers; a power of two, so that nothing else changes.
const LOSS_SCALE: f64 = 256.0;

/// All checks; `quick` leaves the two largest networks out.
pub(super) fn checks(quick: bool) -> Vec<Check<'static>> {
    let names: &[ModelName] = if quick {
        &[ModelName::CnnSmall, ModelName::Resnet18]
    } else {
        &[ModelName::CnnSmall, ModelName::Resnet18, ModelName::Resnet34, ModelName::Resnet50]
    };
    let mut checks = Vec::new();
    for &name in names {
        // The small network has one stem.
        let stems: &[Stem] =
            if name == ModelName::CnnSmall { &[Stem::Small] } else { &[Stem::Imagenet, Stem::Small] };
        for &stem in stems {
            for norm in [Norm::Batch, Norm::Group, Norm::Frozen] {
                let config = ModelConfig { name, stem, norm, ..ModelConfig::default() };
                let text = format!("model {}, {} stem, {} norm", word(name), word(stem), word(norm));
                checks.push(Check::new(text, move |setting| backbone(setting, &config)));
            }
        }
    }
    for (batch_norm, norm) in [(true, Norm::Batch), (true, Norm::Group), (false, Norm::Batch)] {
        let config = ProjectorConfig { hidden_dim: 64, out_dim: 32, num_layers: 3, batch_norm };
        let text = format!("head projector, {} norm", if batch_norm { word(norm) } else { "no".to_owned() });
        // Groups of two values would be normalized to plus and minus one.
        let norm = NormConfig { kind: norm, max_groups: 4 };
        checks.push(Check::new(text, move |setting| projector(setting, &config, norm)));
    }
    checks.push(Check::new("head classifier", classifier));
    checks.push(Check::new("synchronized batch norm, one rank", synchronized_batch_norm));
    checks
}

/// A word of the settings, as it is written there.
fn word(value: impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

fn backbone(setting: &Setting, config: &ModelConfig) -> Result<Compared, TrainError> {
    let mut parameters = setting.parameters();
    let network = build_backbone(config, CHANNELS, &mut parameters);
    let size = match config.stem {
        Stem::Imagenet => 64,
        Stem::Small => 32,
    };
    let views = setting.normal(1, &[BATCH, CHANNELS, size, size]);
    run(setting, &parameters, || network.forward(&views, &Pass::train(None)))
}

fn projector(setting: &Setting, config: &ProjectorConfig, norm: NormConfig) -> Result<Compared, TrainError> {
    let mut parameters = setting.parameters();
    let head = Projector::new(config, EMBEDDING, norm, &mut parameters);
    let embeddings = setting.normal(2, &[4 * BATCH, EMBEDDING]);
    run(setting, &parameters, || head.forward(&embeddings, &Pass::train(None)))
}

fn classifier(setting: &Setting) -> Result<Compared, TrainError> {
    let mut parameters = setting.parameters();
    let head = Classifier::new(EMBEDDING, 10, &mut parameters);
    let embeddings = setting.normal(3, &[4 * BATCH, EMBEDDING]);
    run(setting, &parameters, || head.forward(&embeddings))
}

/// The reference is libtorch's own layer.
fn synchronized_batch_norm(setting: &Setting) -> Result<Compared, TrainError> {
    let mut parameters = setting.parameters();
    let layer = BatchNorm::new("norm", 16, &mut parameters);
    let input = setting.normal(4, &[BATCH, 16, 9, 7]) * 2.0 + 0.5;
    let alone = SyncStatistics::on_device(|_| Ok(()));
    let sync = (*setting != Setting::reference()).then_some(alone);
    run(setting, &parameters, || {
        let input = match setting.arithmetic.reduced() {
            Some(kind) => input.to_kind(kind),
            None => input.shallow_clone(),
        };
        layer.forward(&input, &Pass::train(sync.clone()), After::Nothing)
    })
}

/// Forward, and backward from a fixed direction; the running statistics are outputs too.
fn run(
    setting: &Setting,
    parameters: &Parameters,
    forward: impl Fn() -> Result<Tensor, TchError>,
) -> Result<Compared, TrainError> {
    setting.shake(parameters)?;
    let flat = Flat::new(parameters)?;
    flat.zero_gradients();
    let scale = if setting.arithmetic == Arithmetic::Fp16 { LOSS_SCALE } else { 1.0 };
    let output = backward(setting, scale, forward)?;
    let mut compared = Compared::default();
    compared.output("output", &output);
    for buffer in parameters.buffers().iter().filter(|buffer| buffer.tensor.is_floating_point()) {
        compared.output(&buffer.name, &buffer.tensor);
    }
    for segment in flat.segments() {
        compared.gradient(&segment.name, &(segment.view_of(flat.gradients()) / scale));
    }
    Ok(compared)
}

fn backward(
    setting: &Setting,
    scale: f64,
    forward: impl Fn() -> Result<Tensor, TchError>,
) -> Result<Tensor, TrainError> {
    let reduced = setting.enter();
    let output = forward()?.f_to_kind(setting.kind())?;
    drop(reduced);
    let direction = setting.normal(5, &output.size()) * scale;
    (&output * direction).f_sum(setting.kind())?.f_backward()?;
    Ok(output)
}

/// Hooks fire once per tensor, and gradients arrive in the flat buffer, on the device too.
pub(super) fn exact(setting: &Setting, precision: DevicePrecision) -> Result<Vec<Row>, TrainError> {
    let mut parameters = setting.parameters();
    let config = ModelConfig { name: ModelName::CnnSmall, ..ModelConfig::default() };
    let network = build_backbone(&config, CHANNELS, &mut parameters);
    let flat = Flat::new(&parameters)?;
    flat.zero_gradients();
    let tensors = parameters.parameters();
    let fired: Arc<[AtomicUsize]> = tensors.iter().map(|_| AtomicUsize::new(0)).collect();
    let heard = Arc::clone(&fired);
    let hooks = GradientHooks::new(tensors.iter().map(|parameter| &parameter.tensor), move |index| {
        if let Some(count) = heard.get(index) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    })?;
    let views = setting.normal(1, &[BATCH, CHANNELS, 32, 32]);
    let _ = backward(setting, 1.0, || network.forward(&views, &Pass::train(None)))?;
    drop(hooks);
    let not_once = fired.iter().filter(|count| count.load(Ordering::Relaxed) != 1).count();
    let empty = flat
        .segments()
        .iter()
        .filter(|segment| segment.view_of(flat.gradients()).abs().sum(Kind::Double).double_value(&[]) == 0.0);
    Ok(vec![
        Row::bits("hooks that did not fire once", precision, not_once),
        Row::bits("tensors without a gradient in the flat buffer", precision, empty.count()),
    ])
}
