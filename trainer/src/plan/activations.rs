//! What a sample takes in a forward and backward pass, found by trying two small batches: no formula over layers knows
//! which results libtorch keeps, or in which type.

use std::time::Instant;

use dtrain_data::GroupRequest;
use tch::{Device, Kind, TchError, Tensor};

use super::cost::Compute;
use crate::engine::Arithmetic;
use crate::error::TrainError;
use crate::method::{LocalBatch, Method, Objective, StepContext, Targets, Term, ViewGroup};
use crate::model::ForwardContext;
use crate::model::parameters::Parameters;
use crate::torch_extra::MemoryMeter;

/// Samples of the two batches.
const SMALL: usize = 2;
const LARGE: usize = 6;

/// A forward pass is about a third of forward and backward: backward computes a product for the input and one for the
/// weight where forward computes one.
const FORWARD_SHARE: f64 = 1.0 / 3.0;

/// What forward and backward take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Activations {
    /// Bytes that do not depend on the number of samples.
    pub fixed_bytes: u64,
    /// Bytes per sample, all of its views.
    pub bytes_per_sample: u64,
    /// Time, roughly: a few samples keep no device busy.
    pub compute: Compute,
}

/// Runs forward and backward of two small batches of made-up views, of `shapes` (C, H, W) by group, under the memory meter.
///
/// Weights and running statistics stay as they are, and gradients end as zeros. Call it before hooks are on the parameters,
/// which would take the passes for steps, and while nothing else allocates tensors on the device.
///
/// # Errors
/// When libtorch fails, such as for want of memory.
pub fn measure_activations(
    method: &dyn Method,
    parameters: &Parameters,
    shapes: &[[usize; 3]],
    arithmetic: Arithmetic,
) -> Result<Activations, TrainError> {
    let measured = measure(method, parameters, shapes, arithmetic);
    tch::no_grad(|| {
        for parameter in parameters.parameters() {
            let mut gradient = parameter.tensor.grad();
            if gradient.defined() {
                let _ = gradient.zero_();
            }
        }
    });
    measured
}

fn measure(
    method: &dyn Method,
    parameters: &Parameters,
    shapes: &[[usize; 3]],
    arithmetic: Arithmetic,
) -> Result<Activations, TrainError> {
    // The first pass also makes gradients and whatever libtorch keeps from then on.
    try_batch(method, parameters, shapes, arithmetic, SMALL)?;
    let (small, small_secs) = try_batch(method, parameters, shapes, arithmetic, SMALL)?;
    let (large, large_secs) = try_batch(method, parameters, shapes, arithmetic, LARGE)?;
    let bytes_per_sample = large.saturating_sub(small).div_ceil((LARGE - SMALL) as u64);
    Ok(Activations {
        fixed_bytes: large.saturating_sub(bytes_per_sample * LARGE as u64),
        bytes_per_sample,
        compute: Compute {
            secs_per_sample: large_secs / LARGE as f64,
            // On a GPU so small a batch takes what launching its kernels takes.
            floor_secs: if parameters.device() == Device::Cpu { 0.0 } else { small_secs },
            forward_share: FORWARD_SHARE,
        },
    })
}

/// Peak bytes above those before, and seconds, of a pass over `samples`.
fn try_batch(
    method: &dyn Method,
    parameters: &Parameters,
    shapes: &[[usize; 3]],
    arithmetic: Arithmetic,
    samples: usize,
) -> Result<(u64, f64), TrainError> {
    let device = parameters.device();
    let asked = method.view_groups();
    let groups = asked.iter().zip(shapes).map(|(&GroupRequest { num_views, .. }, shape)| {
        let [channels, height, width] = shape.map(|size| size as i64);
        let rows = i64::from(num_views) * samples as i64;
        let len = rows * channels * height * width;
        // Different rows: equal ones would have no variance.
        let rows = (Tensor::arange(len, (Kind::Float, device)) * 0.731)
            .sin()
            .to_kind(parameters.kind())
            .reshape([rows, channels, height, width]);
        ViewGroup::new(num_views, rows)
    });
    let groups: Vec<ViewGroup> = groups.collect();
    let none_missing = vec![vec![0; samples]; method.heads().len()];
    let targets = Targets::new((0..samples as i64).collect(), samples as u64)?
        .with_classes(vec![0; samples])?
        .with_labels(method.heads(), none_missing)?;
    let meter = MemoryMeter::start(device)?;
    let begin = Instant::now();
    let pass = ForwardContext::train(None).without_update().twice(method.facts().second_order);
    let counts = method.count(&targets);
    let objective = {
        let _reduced = arithmetic.enter(device);
        let part = LocalBatch::of_groups(groups, targets)?;
        method.objective(&part, &StepContext::alone(pass).knowing(&counts, None))?
    };
    scalar(&objective)?.f_backward()?;
    wait_for_device(parameters);
    let secs = begin.elapsed().as_secs_f64();
    Ok((meter.peak_bytes()?, secs))
}

/// Something that every loss is a part of.
fn scalar(objective: &Objective) -> Result<Tensor, TchError> {
    let terms = objective.terms.iter().map(|term| match term {
        Term::Direct(term) => Ok(term.loss.shallow_clone()),
        Term::Pairs(term) => term.projections.f_sum(term.projections.kind()),
    });
    Tensor::f_stack(&terms.collect::<Result<Vec<_>, _>>()?, 0)?.f_sum(None::<Kind>)
}

/// Reading a number from a GPU waits for everything that was started before.
fn wait_for_device(parameters: &Parameters) {
    if let Some(parameter) = parameters.parameters().first() {
        let gradient = parameter.tensor.grad();
        if gradient.defined() && gradient.numel() > 0 {
            let _ = gradient.flatten(0, -1).double_value(&[0]);
        }
    }
}

#[cfg(test)]
mod tests {
    use dtrain_configs::schema::{MethodConfig, ModelConfig};

    use super::*;

    /// Wide enough for a network that sees it in four patches.
    const SHAPE: [usize; 3] = [1, 32, 64];

    fn build(method: &MethodConfig, name: &str) -> (Box<dyn Method>, Parameters) {
        let mut parameters = Parameters::new(Device::Cpu, Kind::Float, 3);
        let model = ModelConfig::named(name).unwrap();
        let method = crate::method::build(
            method,
            &model,
            &crate::method::Task::of_classes(SHAPE.map(|size| size as i64), 4),
            &mut parameters,
        );
        (method, parameters)
    }

    fn peak(method: &dyn Method, parameters: &Parameters, samples: usize) -> u64 {
        try_batch(method, parameters, &[SHAPE], Arithmetic::Fp32, samples).unwrap().0
    }

    /// The meter counts for the whole process, in which other tests allocate too: the check runs in one of its own.
    #[test]
    fn the_line_through_two_small_batches_foretells_a_larger_one() {
        let alone = format!("{}::alone", module_path!().split_once("::").map_or("", |(_, path)| path));
        let test = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &alone, "--ignored", "--test-threads", "1"])
            .env("OMP_NUM_THREADS", "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&test.stdout);
        assert!(test.status.success() && said.contains("1 passed"), "{said}");
    }

    #[test]
    #[ignore = "run by the test above"]
    fn alone() {
        for config in MethodConfig::all() {
            for name in ["cnn_small", "resnet18"] {
                let (method, parameters) = build(&config, name);
                let line = measure_activations(&*method, &parameters, &[SHAPE], Arithmetic::Fp32).unwrap();
                let expected = line.fixed_bytes + 16 * line.bytes_per_sample;
                let actual = peak(&*method, &parameters, 16);
                let ratio = actual as f64 / expected as f64;
                assert!((0.9..1.1).contains(&ratio), "{}, {name:?}: {actual} of {expected}", config.name());
                // Backward needs at least the views.
                assert!(line.bytes_per_sample > (SHAPE[1] * SHAPE[2] * size_of::<f32>()) as u64);
                assert!(line.compute.secs_per_sample > 0.0);
            }
        }
    }

    #[test]
    fn nothing_is_left_behind() {
        let (method, parameters) = build(&MethodConfig::default(), "cnn_small");
        let copy = |tensors: Vec<&Tensor>| tensors.into_iter().map(|t| t.detach().copy()).collect::<Vec<_>>();
        let weights = || copy(parameters.parameters().iter().map(|p| &p.tensor).collect());
        let buffers = || copy(parameters.buffers().iter().map(|b| &b.tensor).collect());
        let before = (weights(), buffers());
        measure_activations(&*method, &parameters, &[SHAPE], Arithmetic::Bf16).unwrap();
        assert_eq!(before, (weights(), buffers()));
        for parameter in parameters.parameters() {
            let gradient = parameter.tensor.grad();
            assert!(
                !gradient.defined() || gradient.abs().max().double_value(&[]) == 0.0,
                "{}",
                parameter.name
            );
        }
    }
}
