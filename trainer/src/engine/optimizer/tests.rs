use std::collections::BTreeMap;
use std::sync::Arc;

use dtrain_comm::{Collective, Single};
use dtrain_configs::schema::{AdamConfig, AdamwConfig, LarsConfig, SgdConfig};
use tch::{Device, Kind};

use super::*;
use crate::engine::state::{named_parts, restore};
use crate::model::parameters::{Init, Parameters};
use crate::torch_extra::cuda_contract::as_on_cuda;

/// The parameters of `fixtures/make_optimizers.py`: name, shape, role, whether it starts at zero.
const PARAMETERS: [(&str, &[i64], Role, bool); 5] = [
    ("conv.weight", &[3, 2, 2], Role::Weight, false),
    ("norm.weight", &[4], Role::Norm, false),
    ("norm.bias", &[4], Role::Bias, true),
    ("fc.weight", &[2, 5], Role::Weight, false),
    ("zero.weight", &[3], Role::Weight, true),
];
const ALL: [bool; 5] = [true; 5];

fn sequence(shape: &[i64], f: impl Fn(f64) -> f64) -> Tensor {
    let values: Vec<f64> = (0..shape.iter().product::<i64>()).map(|k| f(k as f64)).collect();
    Tensor::from_slice(&values).view(shape)
}

fn start(kind: Kind) -> (Parameters, Flat) {
    let mut parameters = Parameters::new(Device::Cpu, kind, 1);
    for (index, (name, shape, role, zero)) in PARAMETERS.iter().enumerate() {
        let tensor = parameters.parameter(name, shape, Init::Constant(0.0), *role);
        if !zero {
            let values = sequence(shape, |k| (0.7 * k + index as f64).sin());
            tch::no_grad(|| tensor.shallow_clone().copy_(&values));
        }
    }
    let flat = Flat::new(&parameters).unwrap();
    (parameters, flat)
}

fn set_gradients(flat: &Flat, step: usize) {
    for (index, segment) in flat.segments().iter().enumerate() {
        let phase = 0.9 * step as f64 + 2.0 * index as f64;
        let values = sequence(&segment.shape, |k| (0.3 * k + phase).cos() * (1.0 + 0.1 * index as f64));
        segment.view_of(flat.gradients()).copy_(&values);
    }
}

fn lr_at(step: usize, lr: f64) -> f64 {
    lr * (1.0 + 0.5 * (step as f64).sin())
}

fn whole(flat: &Flat) -> Shard {
    Shard::whole(flat.num_elements())
}

fn take_step(optimizer: &mut dyn Optimizer, flat: &Flat, active: &[bool], lr: f64) {
    let alone: Arc<dyn Collective> = Arc::new(Single::new());
    let (shard, ranks) = (whole(flat), Ranks::inline(&alone));
    let update = Update { lr, shard: &shard, ranks: &ranks, skip: None };
    as_on_cuda(|| optimizer.step(flat, &flat.active_set(active), &update).unwrap());
}

fn moments_of(optimizer: &dyn Optimizer, flat: &Flat) -> Vec<(String, Tensor)> {
    let moments = optimizer.moments();
    moments
        .into_iter()
        .flat_map(|(name, moment)| named_parts(flat, name, moment).collect::<Vec<_>>())
        .collect()
}

fn run(optimizer: &mut dyn Optimizer, flat: &Flat, steps: std::ops::Range<usize>, lr: f64, skipping: bool) {
    for step in steps {
        set_gradients(flat, step);
        let mut active = ALL;
        active[3] = !(skipping && step % 3 == 1);
        take_step(optimizer, flat, &active, lr_at(step, lr));
    }
}

fn sgd(
    lr: f64,
    weight_decay: f64,
    momentum: f64,
    nesterov: bool,
    decay_bias_and_norm: bool,
) -> OptimizerConfig {
    OptimizerConfig::Sgd(SgdConfig { lr, weight_decay, momentum, nesterov, decay_bias_and_norm })
}

fn adamw(lr: f64, weight_decay: f64, decay_bias_and_norm: bool) -> AdamwConfig {
    AdamwConfig { lr, weight_decay, decay_bias_and_norm, ..AdamwConfig::default() }
}

fn adam(lr: f64, weight_decay: f64, decay_bias_and_norm: bool) -> AdamConfig {
    AdamConfig { lr, weight_decay, decay_bias_and_norm, ..AdamConfig::default() }
}

fn lars() -> OptimizerConfig {
    OptimizerConfig::Lars(LarsConfig { lr: 0.02, weight_decay: 0.01, momentum: 0.9, trust_coefficient: 0.02 })
}

fn configs() -> Vec<(&'static str, OptimizerConfig)> {
    let strong = AdamwConfig { beta1: 0.8, beta2: 0.95, eps: 1e-3, ..adamw(0.05, 0.3, true) };
    let strong_penalty = AdamConfig { beta1: 0.8, beta2: 0.95, eps: 1e-3, ..adam(0.05, 0.3, false) };
    vec![
        ("sgd", sgd(0.1, 0.0, 0.0, false, true)),
        ("sgd_decay", sgd(0.1, 0.05, 0.0, false, true)),
        ("sgd_momentum", sgd(0.02, 0.0, 0.9, false, true)),
        ("sgd_momentum_decay", sgd(0.02, 0.05, 0.9, false, false)),
        ("sgd_nesterov_decay", sgd(0.02, 0.05, 0.9, true, true)),
        ("sgd_nesterov_skipping", sgd(0.02, 0.05, 0.9, true, true)),
        ("adam", OptimizerConfig::Adam(adam(0.01, 0.0, true))),
        ("adam_decay", OptimizerConfig::Adam(strong_penalty)),
        ("adam_skipping", OptimizerConfig::Adam(adam(0.01, 0.1, true))),
        ("adamw", OptimizerConfig::Adamw(adamw(0.01, 0.01, false))),
        ("adamw_decay_all", OptimizerConfig::Adamw(strong)),
        ("adamw_skipping", OptimizerConfig::Adamw(adamw(0.01, 0.1, true))),
        ("lars", lars()),
    ]
}

fn bits(values: &Tensor) -> Vec<u64> {
    Vec::<f64>::try_from(values.to_kind(Kind::Double)).unwrap().into_iter().map(f64::to_bits).collect()
}

#[test]
fn twenty_steps_equal_pytorch() {
    let fixture: BTreeMap<String, Vec<Vec<f64>>> =
        serde_json::from_str(include_str!("../../../fixtures/optimizers.json")).unwrap();
    assert_eq!(fixture.len(), configs().len());
    for optimizer in OptimizerConfig::all() {
        assert!(
            configs().iter().any(|(_, config)| config.name() == optimizer.name()),
            "{}",
            optimizer.name()
        );
    }
    for (kind, tolerance) in [(Kind::Double, 1e-12), (Kind::Float, 1e-6)] {
        for (name, config) in configs() {
            let (_parameters, flat) = start(kind);
            let mut optimizer = build(&config, &flat, &whole(&flat)).unwrap();
            run(&mut *optimizer, &flat, 0..20, config.lr(), name.ends_with("skipping"));
            for (segment, expected) in flat.segments().iter().zip(&fixture[name]) {
                let actual = segment.view_of(flat.parameters()).view(-1).to_kind(Kind::Double);
                let difference = (actual - Tensor::from_slice(expected)).abs().max().double_value(&[]);
                assert!(
                    difference < tolerance,
                    "{name}, {kind:?}: `{}` is off by {difference}",
                    segment.name
                );
            }
        }
    }
}

#[test]
fn an_inactive_parameter_keeps_weights_and_moments_bit_for_bit() {
    for (name, config) in configs() {
        let (_parameters, flat) = start(Kind::Float);
        let mut optimizer = build(&config, &flat, &whole(&flat)).unwrap();
        run(&mut *optimizer, &flat, 0..3, config.lr(), false);
        let frozen = &flat.segments()[3];
        let state = |optimizer: &dyn Optimizer| {
            let moments =
                moments_of(optimizer, &flat).into_iter().filter(|(name, _)| name.ends_with("fc.weight"));
            let mut all: Vec<Vec<u64>> = moments.map(|(_, moment)| bits(&moment.view(-1))).collect();
            all.push(bits(&frozen.view_of(flat.parameters()).view(-1)));
            (all, optimizer.steps().get(3).copied())
        };
        let before = state(&*optimizer);
        let others = bits(&flat.segments()[4].view_of(flat.parameters()));
        for step in 3..6 {
            set_gradients(&flat, step);
            // A gradient of zero would let decay and momentum move the weights.
            let _ = frozen.view_of(flat.gradients()).zero_();
            take_step(&mut *optimizer, &flat, &[true, true, true, false, true], config.lr());
        }
        assert_eq!(state(&*optimizer), before, "{name}");
        assert_ne!(bits(&flat.segments()[4].view_of(flat.parameters())), others, "{name}");
    }
}

#[test]
fn a_restored_state_continues_bit_for_bit() {
    for (name, config) in configs() {
        let (_parameters, flat) = start(Kind::Float);
        let mut optimizer = build(&config, &flat, &whole(&flat)).unwrap();
        run(&mut *optimizer, &flat, 0..7, config.lr(), true);
        let weights = flat.parameters().copy();
        let tensors: Vec<Tensor> =
            moments_of(&*optimizer, &flat).into_iter().map(|(_, t)| t.copy()).collect();
        let steps = optimizer.steps().to_vec();
        run(&mut *optimizer, &flat, 7..12, config.lr(), true);

        let (_parameters, resumed) = start(Kind::Float);
        let mut other = build(&config, &resumed, &whole(&resumed)).unwrap();
        resumed.parameters().shallow_clone().copy_(&weights);
        restore(&resumed, &whole(&resumed), &mut *other, &tensors, &steps).unwrap();
        run(&mut *other, &resumed, 7..12, config.lr(), true);
        assert_eq!(bits(resumed.parameters()), bits(flat.parameters()), "{name}");
    }
}

#[test]
fn the_state_is_named_per_parameter_in_its_shape() {
    let (_parameters, flat) = start(Kind::Float);
    let mut optimizer = Adam::decoupled(&AdamwConfig::default(), &flat, &whole(&flat)).unwrap();
    run(&mut optimizer, &flat, 0..2, 1e-3, true);
    let state = moments_of(&optimizer, &flat);
    assert_eq!(state.len(), 10);
    assert_eq!((state[0].0.as_str(), state[0].1.size()), ("exp_avg.conv.weight", vec![3, 2, 2]));
    assert_eq!((state[8].0.as_str(), state[8].1.size()), ("exp_avg_sq.fc.weight", vec![2, 5]));
    assert_eq!(optimizer.steps(), [2, 2, 2, 1, 2]);
    assert!(
        Sgd::new(SgdConfig { momentum: 0.0, ..SgdConfig::default() }, &flat, &whole(&flat))
            .unwrap()
            .moments()
            .is_empty()
    );
}

#[test]
fn a_state_that_does_not_fit_is_refused_and_changes_nothing() {
    let (_parameters, flat) = start(Kind::Float);
    let mut optimizer = Adam::decoupled(&AdamwConfig::default(), &flat, &whole(&flat)).unwrap();
    run(&mut optimizer, &flat, 0..2, 1e-3, false);
    let before: Vec<Vec<u64>> =
        moments_of(&optimizer, &flat).iter().map(|(_, t)| bits(&t.view(-1))).collect();
    let saved = |optimizer: &Adam| -> Vec<Tensor> {
        moments_of(optimizer, &flat).iter().map(|(_, t)| t.ones_like()).collect()
    };

    let mut tensors = saved(&optimizer);
    tensors[6] = Tensor::zeros([5], (Kind::Float, Device::Cpu));
    let error = restore(&flat, &whole(&flat), &mut optimizer, &tensors, &[1; 5]).unwrap_err().to_string();
    assert_eq!(error, "the saved `exp_avg_sq.norm.weight` is Float [5], this run's is Float [4]");

    let tensors = saved(&optimizer);
    let error = restore(&flat, &whole(&flat), &mut optimizer, &tensors, &[1; 4]).unwrap_err().to_string();
    assert!(error.contains("10 tensors and 4 step counts, this run's has 10 and 5"), "{error}");

    let after: Vec<Vec<u64>> = moments_of(&optimizer, &flat).iter().map(|(_, t)| bits(&t.view(-1))).collect();
    assert_eq!((before, optimizer.steps()), (after, [2_u64; 5].as_slice()));
}

#[test]
fn padding_stays_zero() {
    for (name, config) in configs() {
        let (_parameters, flat) = start(Kind::Double);
        let mut optimizer = build(&config, &flat, &whole(&flat)).unwrap();
        run(&mut *optimizer, &flat, 0..5, config.lr(), false);
        let total: f64 = flat.parameters().abs().sum(Kind::Double).double_value(&[]);
        let of_segments: f64 = flat
            .segments()
            .iter()
            .map(|s| s.view_of(flat.parameters()).abs().sum(Kind::Double).double_value(&[]))
            .sum();
        assert!((total - of_segments).abs() < 1e-12, "{name}");
    }
}

#[test]
fn lars_without_gradient_or_decay_has_a_ratio_of_one() {
    let (_parameters, flat) = start(Kind::Float);
    let OptimizerConfig::Lars(config) = lars() else { panic!("lars") };
    let mut optimizer = Lars::new(LarsConfig { weight_decay: 0.0, ..config }, &flat, &whole(&flat)).unwrap();
    let before = bits(flat.parameters());
    flat.zero_gradients();
    take_step(&mut optimizer, &flat, &ALL, 0.5);
    assert_eq!(bits(flat.parameters()), before);
}
