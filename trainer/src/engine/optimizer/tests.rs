use std::collections::BTreeMap;
use std::sync::Arc;

use dtrain_comm::{Collective, Single};
use dtrain_configs::schema::{AdamConfig, AdamwConfig, LarsConfig, Scheduled, SgdConfig};
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

/// All parameters in one group, at the constant rates of `config`.
fn take_step(config: &OptimizerConfig, optimizer: &mut dyn Optimizer, flat: &Flat, active: &[bool], lr: f64) {
    let constant = |schedule: Scheduled| schedule.constant().unwrap();
    let (weight_decay, momentum) = (constant(config.weight_decay()), constant(config.momentum()));
    take_step_at(&[Rates { lr, weight_decay, momentum }], &[0; 5], optimizer, flat, active);
}

fn take_step_at(
    rates: &[Rates],
    places: &[usize],
    optimizer: &mut dyn Optimizer,
    flat: &Flat,
    active: &[bool],
) {
    let alone: Arc<dyn Collective> = Arc::new(Single::new());
    let (shard, ranks) = (whole(flat), Ranks::inline(&alone));
    let update = Update { rates, places, shard: &shard, ranks: &ranks, skip: None };
    as_on_cuda(|| optimizer.step(flat, &flat.active_set(active), &update).unwrap());
}

fn moments_of(optimizer: &dyn Optimizer, flat: &Flat) -> Vec<(String, Tensor)> {
    let moments = optimizer.moments();
    moments
        .into_iter()
        .flat_map(|(name, moment)| named_parts(flat, name, moment).collect::<Vec<_>>())
        .collect()
}

fn run(
    config: &OptimizerConfig,
    optimizer: &mut dyn Optimizer,
    flat: &Flat,
    steps: std::ops::Range<usize>,
    skipping: bool,
) {
    for step in steps {
        set_gradients(flat, step);
        let mut active = ALL;
        active[3] = !(skipping && step % 3 == 1);
        take_step(config, optimizer, flat, &active, lr_at(step, config.lr()));
    }
}

fn sgd(
    lr: f64,
    weight_decay: f64,
    momentum: f64,
    nesterov: bool,
    decay_bias_and_norm: bool,
) -> OptimizerConfig {
    let (weight_decay, momentum) = (weight_decay.into(), momentum.into());
    OptimizerConfig::Sgd(SgdConfig {
        lr,
        weight_decay,
        momentum,
        nesterov,
        decay_bias_and_norm,
        ..SgdConfig::default()
    })
}

fn adamw(lr: f64, weight_decay: f64, decay_bias_and_norm: bool) -> AdamwConfig {
    AdamwConfig { lr, weight_decay: weight_decay.into(), decay_bias_and_norm, ..AdamwConfig::default() }
}

fn adam(lr: f64, weight_decay: f64, decay_bias_and_norm: bool) -> AdamConfig {
    AdamConfig { lr, weight_decay: weight_decay.into(), decay_bias_and_norm, ..AdamConfig::default() }
}

fn lars() -> OptimizerConfig {
    OptimizerConfig::Lars(LarsConfig {
        lr: 0.02,
        weight_decay: 0.01.into(),
        trust_coefficient: 0.02,
        ..LarsConfig::default()
    })
}

fn configs() -> Vec<(&'static str, OptimizerConfig)> {
    let strong = AdamwConfig { beta1: 0.8.into(), beta2: 0.95, eps: 1e-3, ..adamw(0.05, 0.3, true) };
    let strong_penalty = AdamConfig { beta1: 0.8.into(), beta2: 0.95, eps: 1e-3, ..adam(0.05, 0.3, false) };
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

fn adamw_default() -> OptimizerConfig {
    OptimizerConfig::Adamw(AdamwConfig::default())
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
            run(&config, &mut *optimizer, &flat, 0..20, name.ends_with("skipping"));
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
        run(&config, &mut *optimizer, &flat, 0..3, false);
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
            take_step(&config, &mut *optimizer, &flat, &[true, true, true, false, true], config.lr());
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
        run(&config, &mut *optimizer, &flat, 0..7, true);
        let weights = flat.parameters().copy();
        let tensors: Vec<Tensor> =
            moments_of(&*optimizer, &flat).into_iter().map(|(_, t)| t.copy()).collect();
        let steps = optimizer.steps().to_vec();
        run(&config, &mut *optimizer, &flat, 7..12, true);

        let (_parameters, resumed) = start(Kind::Float);
        let mut other = build(&config, &resumed, &whole(&resumed)).unwrap();
        resumed.parameters().shallow_clone().copy_(&weights);
        restore(&resumed, &whole(&resumed), &mut *other, &tensors, &steps).unwrap();
        run(&config, &mut *other, &resumed, 7..12, true);
        assert_eq!(bits(resumed.parameters()), bits(flat.parameters()), "{name}");
    }
}

#[test]
fn the_state_is_named_per_parameter_in_its_shape() {
    let (_parameters, flat) = start(Kind::Float);
    let mut optimizer = Adam::decoupled(&AdamwConfig::default(), &flat, &whole(&flat)).unwrap();
    run(&adamw_default(), &mut optimizer, &flat, 0..2, true);
    let state = moments_of(&optimizer, &flat);
    assert_eq!(state.len(), 10);
    assert_eq!((state[0].0.as_str(), state[0].1.size()), ("exp_avg.conv.weight", vec![3, 2, 2]));
    assert_eq!((state[8].0.as_str(), state[8].1.size()), ("exp_avg_sq.fc.weight", vec![2, 5]));
    assert_eq!(optimizer.steps(), [2, 2, 2, 1, 2]);
    assert!(
        Sgd::new(&SgdConfig { momentum: 0.0.into(), ..SgdConfig::default() }, &flat, &whole(&flat))
            .unwrap()
            .moments()
            .is_empty()
    );
}

#[test]
fn a_state_that_does_not_fit_is_refused_and_changes_nothing() {
    let (_parameters, flat) = start(Kind::Float);
    let mut optimizer = Adam::decoupled(&AdamwConfig::default(), &flat, &whole(&flat)).unwrap();
    run(&adamw_default(), &mut optimizer, &flat, 0..2, false);
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
        run(&config, &mut *optimizer, &flat, 0..5, false);
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
    let config = LarsConfig { weight_decay: 0.0.into(), ..config };
    let mut optimizer = Lars::new(&config, &flat, &whole(&flat)).unwrap();
    let config = OptimizerConfig::Lars(config);
    let before = bits(flat.parameters());
    flat.zero_gradients();
    take_step(&config, &mut optimizer, &flat, &ALL, 0.5);
    assert_eq!(bits(flat.parameters()), before);
}

/// One parameter, moved by the published formulas in plain f64.
struct Plain {
    weights: Vec<f64>,
    first: Vec<f64>,
    second: Vec<f64>,
    steps: i32,
    is_weight: bool,
}

impl Plain {
    fn step(&mut self, config: &OptimizerConfig, gradients: &[f64], rates: Rates) {
        let Rates { lr, momentum, .. } = rates;
        let decay = if self.is_weight || config.decay_bias_and_norm() { rates.weight_decay } else { 0.0 };
        let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
        self.steps += 1;
        let ratio = match config {
            OptimizerConfig::Lars(config) if self.is_weight => {
                let of_weights = norm(&mut self.weights.iter().copied());
                let decayed = gradients.iter().zip(&self.weights).map(|(g, w)| g + decay * w);
                let of_gradients = norm(&mut decayed.into_iter());
                let both = of_weights > 0.0 && of_gradients > 0.0;
                if both { config.trust_coefficient * of_weights / of_gradients } else { 1.0 }
            }
            _ => 1.0,
        };
        for (((w, m), v), g) in
            self.weights.iter_mut().zip(&mut self.first).zip(&mut self.second).zip(gradients)
        {
            let g = *g;
            match config {
                OptimizerConfig::Sgd(config) => {
                    let g = g + decay * *w;
                    if momentum != 0.0 {
                        *m = momentum * *m + g;
                    }
                    *w -= lr
                        * match (momentum != 0.0, config.nesterov) {
                            (false, _) => g,
                            (true, false) => *m,
                            (true, true) => g + momentum * *m,
                        };
                }
                OptimizerConfig::Adam(AdamConfig { beta2, eps, .. })
                | OptimizerConfig::Adamw(AdamwConfig { beta2, eps, .. }) => {
                    let is_decoupled = matches!(config, OptimizerConfig::Adamw(_));
                    let g = if is_decoupled { g } else { g + decay * *w };
                    if is_decoupled {
                        *w *= 1.0 - lr * decay;
                    }
                    *m = momentum * *m + (1.0 - momentum) * g;
                    *v = beta2 * *v + (1.0 - beta2) * g * g;
                    let corrected = (*v).sqrt() / (1.0 - beta2.powi(self.steps)).sqrt() + eps;
                    *w -= lr / (1.0 - momentum.powi(self.steps)) * *m / corrected;
                }
                OptimizerConfig::Lars(_) => {
                    let g = g + if self.is_weight { decay * *w } else { 0.0 };
                    *m = momentum * *m + lr * ratio * g;
                    *w -= *m;
                }
            }
        }
    }
}

/// Groups that are scattered over the buffer, at rates that change in every step, against one optimizer for each parameter in
/// plain arithmetic; the second group is left out of some steps.
#[test]
fn groups_move_as_optimizers_of_their_own() {
    const PLACES: [usize; 5] = [1, 0, 2, 1, 0];
    for (name, config) in configs() {
        let (_parameters, flat) = start(Kind::Double);
        let mut optimizer = build(&config, &flat, &whole(&flat)).unwrap();
        let values = |tensor: Tensor| Vec::<f64>::try_from(tensor.contiguous().view(-1)).unwrap();
        let mut plain: Vec<Plain> = flat
            .segments()
            .iter()
            .map(|segment| Plain {
                weights: values(segment.view_of(flat.parameters())),
                first: vec![0.0; segment.len],
                second: vec![0.0; segment.len],
                steps: 0,
                is_weight: segment.role == Role::Weight,
            })
            .collect();
        for step in 0..12 {
            let wave = |scale: f64, group: f64| scale * (1.0 + 0.4 * (step as f64 * 0.7 + group).sin());
            let has_momentum = config.num_moments() > 0;
            let rates = [0.0, 1.0, 2.0].map(|group| Rates {
                lr: wave(0.02, group),
                weight_decay: if group == 2.0 { 0.0 } else { wave(0.1, group) },
                // The last group is without in every other step, as on a schedule that ends at 0.
                momentum: match has_momentum && (group != 2.0 || step % 2 == 0) {
                    true => wave(0.6, group),
                    false => 0.0,
                },
            });
            set_gradients(&flat, step);
            let active: Vec<bool> = PLACES.iter().map(|&place| place != 1 || step % 3 != 1).collect();
            for (index, plain) in plain.iter_mut().enumerate().filter(|(index, _)| active[*index]) {
                let gradients = values(flat.segments()[index].view_of(flat.gradients()));
                plain.step(&config, &gradients, rates[PLACES[index]]);
            }
            take_step_at(&rates, &PLACES, &mut *optimizer, &flat, &active);
            for (segment, plain) in flat.segments().iter().zip(&plain) {
                let actual = values(segment.view_of(flat.parameters()));
                for (actual, expected) in actual.iter().zip(&plain.weights) {
                    let error = (actual - expected).abs();
                    assert!(error < 1e-12, "{name}, step {step}: `{}` is off by {error:e}", segment.name);
                }
            }
        }
    }
}

/// Parting the parameters into groups at equal rates is no other arithmetic.
#[test]
fn groups_at_equal_rates_change_no_bit() {
    for (name, config) in configs() {
        let trained = |places: [usize; 5]| {
            let (_parameters, flat) = start(Kind::Float);
            let mut optimizer = build(&config, &flat, &whole(&flat)).unwrap();
            for step in 0..6 {
                set_gradients(&flat, step);
                let rates = Rates { lr: 0.01, weight_decay: 0.02, momentum: 0.9 };
                let momentum = if config.num_moments() > 0 { 0.9 } else { 0.0 };
                take_step_at(&[Rates { momentum, ..rates }; 3], &places, &mut *optimizer, &flat, &ALL);
            }
            let moments =
                moments_of(&*optimizer, &flat).into_iter().map(|(_, moment)| bits(&moment.view(-1)));
            (bits(flat.parameters()), moments.collect::<Vec<_>>())
        };
        assert_eq!(trained([0; 5]), trained([1, 0, 2, 1, 0]), "{name}");
    }
}
