//! The networks and their heads, in training mode, with weights in the flat buffers of the engine: convolutions see the
//! channels-last weights that they see in training.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dtrain_configs::schema::{ModelConfig, NetworkVariant, Norm, ProjectorConfig};
use tch::{Kind, TchError, Tensor};

use super::Check;
use super::compare::{Compared, Row, differing};
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
use crate::model::{ForwardContext, build_backbone};
use crate::torch_extra::{Epilogue, GradientHooks, SyncStatistics};

const BATCH: i64 = 6;
const CHANNELS: i64 = 3;
/// Width of the embeddings that the heads are checked with.
const EMBEDDING: i64 = 96;
/// Keeps gradients of 16-bit floats out of the subnormal numbers; a power of two, so that nothing else changes.
const LOSS_SCALE: f64 = 256.0;

/// All checks; `quick` leaves the largest networks out.
pub(super) fn checks(quick: bool) -> Vec<Check<'static>> {
    let mut checks = Vec::new();
    for model in ModelConfig::all() {
        let is_large = model.network.facts().is_large;
        if quick && is_large {
            continue;
        }
        for NetworkVariant { network, words, side } in model.network.variants() {
            let words = if words.is_empty() { String::new() } else { format!("{words}, ") };
            for norm in [Norm::Batch, Norm::Group, Norm::Frozen] {
                let config = ModelConfig { norm, ..ModelConfig::from(network.clone()) };
                let text = format!("model {}, {words}{} norm", model.name(), word(norm));
                let synchronized = config.clone();
                checks.push(Check::new(text.clone(), move |setting| backbone(setting, &config, side, false)));
                // Every synchronized network of a run on several GPUs goes this way.
                if norm == Norm::Batch && !is_large {
                    let text = format!("{text}, synchronized");
                    checks
                        .push(Check::new(text, move |setting| backbone(setting, &synchronized, side, true)));
                }
            }
        }
    }
    for (batch_norm, norm) in [(true, Norm::Batch), (true, Norm::Group), (false, Norm::Batch)] {
        let config = ProjectorConfig {
            hidden_dim: 64,
            out_dim: 32,
            num_layers: 3,
            batch_norm,
            last_batch_norm: batch_norm && norm == Norm::Batch,
        };
        let text = format!("head projector, {} norm", if batch_norm { word(norm) } else { "no".to_owned() });
        // Groups of two values would be normalized to plus and minus one.
        let norm = NormConfig { kind: norm, max_groups: 4 };
        checks.push(Check::new(text, move |setting| projector(setting, &config, norm)));
    }
    checks.push(Check::new("head classifier", classifier));
    for (shape, channels_last, layout) in [
        (&[4 * BATCH, 16][..], false, "rows"),
        (&[BATCH, 16, 63], false, "lines"),
        (&[BATCH, 16, 9, 7], false, "images"),
        (&[BATCH, 16, 9, 7], true, "images, channels last"),
    ] {
        let forms = [Form::Plain, Form::Relu, Form::Shortcut, Form::Pool];
        for form in forms.into_iter().filter(|form| shape.len() == 4 || *form != Form::Pool) {
            let text = format!("synchronized batch norm of {layout}, {}", form.name());
            checks.push(Check::new(text, move |setting| {
                synchronized_batch_norm(setting, shape, channels_last, form)
            }));
        }
    }
    checks
}

/// A word of the settings, as it is written there.
fn word(value: impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

/// The reference is not synchronized: libtorch's own layers.
fn backbone(
    setting: &Setting,
    config: &ModelConfig,
    side: usize,
    synchronized: bool,
) -> Result<Compared, TrainError> {
    let side = side as i64;
    let mut parameters = setting.parameters();
    let network = build_backbone(config, [CHANNELS, side, side].into(), &mut parameters);
    let views = setting.normal(1, &[BATCH, CHANNELS, side, side]);
    let pass = ForwardContext::train(synchronization(setting).filter(|_| synchronized));
    run(setting, &parameters, || network.forward(&views, &pass))
}

/// Of one rank; none in the reference.
fn synchronization(setting: &Setting) -> Option<SyncStatistics> {
    (*setting != Setting::reference()).then(|| SyncStatistics::on_device(|_| Ok(())))
}

fn projector(setting: &Setting, config: &ProjectorConfig, norm: NormConfig) -> Result<Compared, TrainError> {
    let mut parameters = setting.parameters();
    let head = Projector::new(config, EMBEDDING, norm, &mut parameters);
    let embeddings = setting.normal(2, &[4 * BATCH, EMBEDDING]);
    run(setting, &parameters, || head.forward(&embeddings, &ForwardContext::train(None)))
}

fn classifier(setting: &Setting) -> Result<Compared, TrainError> {
    let mut parameters = setting.parameters();
    let head = Classifier::new(EMBEDDING, 10, &mut parameters);
    let embeddings = setting.normal(3, &[4 * BATCH, EMBEDDING]);
    run(setting, &parameters, || head.forward(&embeddings))
}

/// What follows batch norm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Plain,
    Relu,
    Shortcut,
    Pool,
}

impl Form {
    fn name(self) -> &'static str {
        match self {
            Form::Plain => "alone",
            Form::Relu => "with ReLU",
            Form::Shortcut => "with a shortcut and ReLU",
            Form::Pool => "with ReLU and max-pooling",
        }
    }
}

/// The reference is libtorch's own layer. The gradient of the input is among the gradients.
fn synchronized_batch_norm(
    setting: &Setting,
    shape: &[i64],
    channels_last: bool,
    form: Form,
) -> Result<Compared, TrainError> {
    let mut parameters = setting.parameters();
    let layer = BatchNorm::new("norm", 16, &mut parameters);
    let mut input = setting.normal(4, shape) * 2.0 + 0.5;
    if channels_last {
        input = input.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2]);
    }
    let kind = setting.arithmetic.reduced().unwrap_or(setting.kind());
    let shortcut = setting.normal(6, shape).to_kind(kind);
    let pass = ForwardContext::train(synchronization(setting));
    let input = input.to_kind(kind).detach().set_requires_grad(true);
    let mut compared = run(setting, &parameters, || {
        let epilogue = match form {
            Form::Plain => Epilogue::Nothing,
            Form::Relu => Epilogue::Relu { shortcut: None },
            Form::Shortcut => Epilogue::Relu { shortcut: Some(&shortcut) },
            Form::Pool => Epilogue::ReluMaxPool,
        };
        layer.forward(&input, &pass, epilogue)
    })?;
    let scale = if setting.arithmetic == Arithmetic::Fp16 { LOSS_SCALE } else { 1.0 };
    compared.gradient("input", &(input.grad().to_kind(setting.kind()) / scale));
    Ok(compared)
}

/// Elements that an empty share of a batch makes wrong: it has no gradient, and what it leaves is finite.
fn of_no_sample(setting: &Setting) -> Result<usize, TrainError> {
    let mut wrong = 0;
    for shape in [&[0, 16][..], &[0, 16, 9, 7]] {
        let mut parameters = setting.parameters();
        let layer = BatchNorm::new("norm", 16, &mut parameters);
        let input = setting.normal(4, shape).set_requires_grad(true);
        let sync = SyncStatistics::on_device(|_| Ok(()));
        let output =
            layer.forward(&input, &ForwardContext::train(Some(sync)), Epilogue::Relu { shortcut: None })?;
        output.f_sum(setting.kind())?.f_backward()?;
        let gradients = parameters.parameters().iter().map(|parameter| parameter.tensor.grad());
        wrong += gradients.map(|gradient| differing(&gradient, &gradient.zeros_like())).sum::<usize>();
        let buffers = parameters.buffers().iter().map(|buffer| &buffer.tensor);
        wrong += buffers.map(|buffer| differing(buffer, buffer)).sum::<usize>();
    }
    Ok(wrong)
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
    let config = ModelConfig::smallest();
    let network = build_backbone(&config, [CHANNELS, 32, 32].into(), &mut parameters);
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
    let _ = backward(setting, 1.0, || network.forward(&views, &ForwardContext::train(None)))?;
    drop(hooks);
    let not_once = fired.iter().filter(|count| count.load(Ordering::Relaxed) != 1).count();
    let empty = flat
        .segments()
        .iter()
        .filter(|segment| segment.view_of(flat.gradients()).abs().sum(Kind::Double).double_value(&[]) == 0.0);
    Ok(vec![
        Row::bits("synchronized batch norm of no sample", precision, of_no_sample(setting)?),
        Row::bits("hooks that did not fire once", precision, not_once),
        Row::bits("tensors without a gradient in the flat buffer", precision, empty.count()),
    ])
}
