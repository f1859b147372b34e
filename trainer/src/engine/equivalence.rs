//! The batch is global: ranks, uneven shares and micro-batches change the order of summation and nothing else. Ranks are
//! threads; everything is in f64, where rounding stays small enough to be told from a mistake.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use dtrain_comm::local_world;
use dtrain_configs::schema::{
    AdamwConfig, Auto, LarsConfig, MethodConfig, ModelConfig, ModelName, ProjectorConfig, SgdConfig,
    SimclrConfig, Stem, SupconConfig, SupervisedConfig,
};
use tch::TchError;

use super::*;
use crate::loss::cross_entropy::cross_entropy;
use crate::method::{self, DirectLoss, Objective, PairBatch, PairLoss, Sampling, Targets};
use crate::model::parameters::{Init, Role};

const STEPS: u64 = 8;
const CLASSES: i64 = 3;
/// Height and width of the inputs.
const SIZE: i64 = 16;

/// What a step trains on: samples in global order, and how the ranks share them.
struct GlobalBatch {
    samples: Vec<u64>,
    counts: Vec<u32>,
}

/// Eight batches of 9 samples, the last of 5, shared unevenly, now and then with a rank that has none.
fn batches(world_size: usize) -> Vec<GlobalBatch> {
    let shares: [&[&[u32]]; 4] = [
        &[&[9]],
        &[&[4, 5], &[9, 0], &[1, 8], &[0, 9]],
        &[&[3, 3, 3], &[2, 0, 7], &[0, 4, 5], &[1, 8, 0]],
        &[&[2, 2, 2, 3], &[0, 5, 0, 4], &[1, 1, 6, 1]],
    ];
    let last: [&[u32]; 4] = [&[5], &[3, 2], &[0, 2, 3], &[2, 1, 0, 2]];
    (0..STEPS)
        .map(|step| {
            let of_world = shares[world_size - 1];
            let counts = if step + 1 == STEPS {
                last[world_size - 1]
            } else {
                of_world[step as usize % of_world.len()]
            };
            let num_samples = u64::from(counts.iter().sum::<u32>());
            GlobalBatch {
                samples: (0..num_samples).map(|i| 11 * step + i).collect(),
                counts: counts.to_vec(),
            }
        })
        .collect()
}

/// A view of a sample: noise that is a function of both, on top of a pattern of the sample's own.
fn view(sample: u64, view: u64, size: i64) -> Tensor {
    let noise = |seed: u64| {
        let phase =
            (Tensor::arange(size * size, (Kind::Double, Device::Cpu)) + 1.0) * 12.9898 + seed as f64 * 78.233;
        (phase.sin() * 43_758.545_3).frac() * 2.0
    };
    (noise(3 * sample) + noise(3 * sample + 1 + view) * 0.5).view([1, 1, size, size])
}

/// Class of a sample: every seventh has none, sample 4 is alone in its class.
fn class(sample: u64) -> i64 {
    match sample {
        4 => CLASSES - 1,
        _ if sample % 7 == 3 => -1,
        _ => (sample * sample % (CLASSES as u64 - 1)) as i64,
    }
}

struct Case {
    optimizer: OptimizerConfig,
    build: fn(&mut Parameters) -> Box<dyn Method>,
    size: i64,
    sync_bn: bool,
    micro_batch: Option<usize>,
    /// Leaves samples without a class out, as the sampler of such methods does.
    labelled_only: bool,
}

/// What a rank knows after each step, and in the end.
struct Trained {
    outcomes: Vec<StepOutcome>,
    /// Flat gradient of each step.
    gradients: Vec<Tensor>,
    weights: Vec<(String, Tensor)>,
    moments: Vec<(String, Tensor)>,
    buffers: Vec<(String, Tensor)>,
}

fn train_rank(case: &Case, collective: Arc<dyn Collective>, batches: &[GlobalBatch]) -> Trained {
    let rank = collective.world().rank;
    let mut parameters = Parameters::new(Device::Cpu, Kind::Double, 3);
    let method = (case.build)(&mut parameters);
    let num_views = u64::from(method.num_views());
    let settings = EngineSettings {
        global_batch: 9,
        micro_batch: case.micro_batch,
        grad_clip: Some(5.0),
        sync_bn: case.sync_bn,
        schedule: ScheduleConfig::default(),
        optimizer: case.optimizer.clone(),
        total_steps: STEPS + 1,
        steps_per_epoch: STEPS + 1,
    };
    let mut engine = Engine::new(method, parameters, collective, settings).unwrap();
    let (mut outcomes, mut gradients) = (Vec::new(), Vec::new());
    for (step, batch) in (0..).zip(batches) {
        let global_samples = batch.samples.len() as u64;
        let plan = StepPlan { step, epoch: 0, counts: batch.counts.clone(), global_samples };
        let first = plan.offset(rank) as usize;
        let own = &batch.samples[first..first + batch.counts[rank] as usize];
        let views: Vec<Tensor> =
            (0..num_views).flat_map(|v| own.iter().map(move |&s| view(s, v, case.size))).collect();
        let inputs = match views.as_slice() {
            [] => Tensor::zeros([0, 1, case.size, case.size], (Kind::Double, Device::Cpu)),
            views => Tensor::cat(views, 0),
        };
        let classes = own.iter().map(|&s| if case.labelled_only { class(s).max(0) } else { class(s) });
        let targets = Targets {
            classes: classes.collect(),
            positions: (first as i64..).take(own.len()).collect(),
            global_samples,
        };
        outcomes.push(engine.step(&LocalBatch { inputs, targets }, &plan).unwrap());
        // The same on all ranks, since the weights are.
        if rank == 0 {
            gradients.push(engine.flat().gradients().copy());
        }
    }
    let named = |(name, tensor): (&String, &Tensor)| (name.clone(), tensor.detach().copy());
    Trained {
        outcomes,
        gradients,
        weights: engine.parameters().parameters().iter().map(|p| named((&p.name, &p.tensor))).collect(),
        moments: engine.optimizer().tensors(engine.flat()).iter().map(|(n, t)| named((n, t))).collect(),
        buffers: engine.parameters().buffers().iter().map(|b| named((&b.name, &b.tensor))).collect(),
    }
}

/// Trains over as many ranks as the batches have shares. All ranks must end with the same bits; rank 0 speaks.
fn train(case: &Case, batches: &[GlobalBatch]) -> Trained {
    let world = local_world(batches[0].counts.len());
    let ranks: Vec<Trained> = thread::scope(|scope| {
        let threads: Vec<_> = world
            .into_iter()
            .map(|collective| {
                scope.spawn(move || {
                    tch::set_num_threads(1);
                    train_rank(case, collective, batches)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut ranks = ranks.into_iter();
    let first = ranks.next().unwrap();
    for other in ranks {
        let same = |a: &[(String, Tensor)], b: &[(String, Tensor)]| a.iter().zip(b).all(|(a, b)| a == b);
        assert!(
            same(&first.weights, &other.weights) && same(&first.moments, &other.moments),
            "ranks have parted"
        );
        assert!(!case.sync_bn || same(&first.buffers, &other.buffers), "running statistics have parted");
        for (a, b) in first.outcomes.iter().zip(&other.outcomes) {
            assert_eq!((a.loss.to_bits(), a.grad_norm.to_bits()), (b.loss.to_bits(), b.grad_norm.to_bits()));
        }
    }
    first
}

fn norm(tensor: &Tensor) -> f64 {
    tensor.to_kind(Kind::Double).norm().double_value(&[])
}

/// Relative difference of two lists of tensors, as one vector.
fn difference<'a>(pairs: impl Iterator<Item = (&'a Tensor, &'a Tensor)>) -> f64 {
    let (mut squares, mut scale) = (0.0, 0.0);
    for (actual, expected) in pairs {
        squares += norm(&(actual - expected)).powi(2);
        scale += norm(expected).powi(2);
    }
    (squares / f64::max(scale, 1e-300)).sqrt()
}

fn assert_same_training(what: &str, actual: &Trained, expected: &Trained) {
    for (step, (a, e)) in actual.outcomes.iter().zip(&expected.outcomes).enumerate() {
        assert!(a.finite && e.finite, "{what}: step {step} is not finite");
        assert!(
            (a.loss / e.loss - 1.0).abs() < 1e-10,
            "{what}: loss {} is not {} in step {step}",
            a.loss,
            e.loss
        );
        assert!((a.grad_norm / e.grad_norm - 1.0).abs() < 1e-10, "{what}: gradient norm in step {step}");
        assert_eq!((&a.means, a.anchors, a.lr), (&e.means, e.anchors, e.lr), "{what}: step {step}");
        let error = difference([(&actual.gradients[step], &expected.gradients[step])].into_iter());
        assert!(error < 1e-10, "{what}: gradient of step {step} differs by {error:e}");
    }
    for (part, tolerance, a, e) in [
        ("weights", 1e-10, &actual.weights, &expected.weights),
        ("moments", 1e-9, &actual.moments, &expected.moments),
    ] {
        let error = difference(a.iter().zip(e).map(|(a, e)| (&a.1, &e.1)));
        assert!(error < tolerance, "{what}: {part} differ by {error:e}");
    }
    for (a, e) in
        actual.weights.iter().chain(&actual.buffers).zip(expected.weights.iter().chain(&expected.buffers))
    {
        let allowed = 1e-8 * norm(&e.1).max(1e-3);
        let error = norm(&(&a.1 - &e.1));
        assert!(error < allowed, "{what}: `{}` differs by {error:e} of {:e}", a.0, norm(&e.1));
    }
}

fn assert_moved(what: &str, trained: &Trained, case: &Case) {
    let mut fresh = Parameters::new(Device::Cpu, Kind::Double, 3);
    let _ = (case.build)(&mut fresh);
    for ((name, after), before) in trained.weights.iter().zip(fresh.parameters()) {
        assert_ne!(*after, before.tensor.detach(), "{what}: `{name}` never moved");
    }
}

fn backbone(name: ModelName) -> ModelConfig {
    ModelConfig { name, stem: Stem::Imagenet }
}

fn projector() -> ProjectorConfig {
    ProjectorConfig { hidden_dim: 24, out_dim: 12, ..ProjectorConfig::default() }
}

fn simclr(model: ModelName, parameters: &mut Parameters) -> Box<dyn Method> {
    let config = SimclrConfig { projector: projector(), tile: Auto::Value(5), ..SimclrConfig::default() };
    method::build(&MethodConfig::Simclr(config), &backbone(model), 1, CLASSES, parameters)
}

fn supcon(model: ModelName, parameters: &mut Parameters) -> Box<dyn Method> {
    let config = SupconConfig { projector: projector(), ..SupconConfig::default() };
    method::build(&MethodConfig::Supcon(config), &backbone(model), 1, CLASSES, parameters)
}

fn supervised(model: ModelName, parameters: &mut Parameters) -> Box<dyn Method> {
    let config = SupervisedConfig { label_smoothing: 0.1 };
    method::build(&MethodConfig::Supervised(config), &backbone(model), 1, CLASSES, parameters)
}

fn sgd() -> OptimizerConfig {
    OptimizerConfig::Sgd(SgdConfig { lr: 0.01, weight_decay: 0.01, ..SgdConfig::default() })
}

fn adamw() -> OptimizerConfig {
    // Where a gradient is nothing but rounding, Adam with a tiny eps makes a step of full size of it.
    OptimizerConfig::Adamw(AdamwConfig { eps: 1e-4, ..AdamwConfig::default() })
}

fn lars() -> OptimizerConfig {
    OptimizerConfig::Lars(LarsConfig { trust_coefficient: 0.01, ..LarsConfig::default() })
}

fn whole(optimizer: OptimizerConfig, build: fn(&mut Parameters) -> Box<dyn Method>) -> Case {
    Case { optimizer, build, size: SIZE, sync_bn: true, micro_batch: None, labelled_only: false }
}

fn assert_ranks_do_not_matter(what: &str, case: &Case, largest_world: usize) {
    let alone = train(case, &batches(1));
    assert_moved(what, &alone, case);
    for world_size in 2..=largest_world {
        assert_same_training(
            &format!("{what} over {world_size} ranks"),
            &train(case, &batches(world_size)),
            &alone,
        );
    }
}

#[test]
fn one_to_four_ranks_train_the_same_simclr() {
    for optimizer in [sgd(), adamw(), lars()] {
        let what = format!("simclr with {}", optimizer.name());
        assert_ranks_do_not_matter(&what, &whole(optimizer, |p| simclr(ModelName::CnnSmall, p)), 4);
    }
}

#[test]
fn one_to_four_ranks_train_the_same_supcon() {
    for optimizer in [sgd(), adamw(), lars()] {
        let what = format!("supcon with {}", optimizer.name());
        assert_ranks_do_not_matter(&what, &whole(optimizer, |p| supcon(ModelName::CnnSmall, p)), 4);
    }
}

#[test]
fn one_to_four_ranks_train_the_same_classifier() {
    for optimizer in [sgd(), adamw(), lars()] {
        let what = format!("supervised with {}", optimizer.name());
        let case = whole(optimizer, |p| supervised(ModelName::CnnSmall, p));
        assert_ranks_do_not_matter(&what, &Case { labelled_only: true, ..case }, 4);
    }
}

#[test]
fn one_to_three_ranks_train_the_same_resnet18() {
    let case = |optimizer, build| Case { size: 2 * SIZE, ..whole(optimizer, build) };
    assert_ranks_do_not_matter("simclr, lars", &case(lars(), |p| simclr(ModelName::Resnet18, p)), 3);
    assert_ranks_do_not_matter("supcon, adamw", &case(adamw(), |p| supcon(ModelName::Resnet18, p)), 2);
    let supervised = case(sgd(), |p| supervised(ModelName::Resnet18, p));
    assert_ranks_do_not_matter("supervised, sgd", &Case { labelled_only: true, ..supervised }, 2);
}

/// Batches of 12 samples for micro-batches of `micro` samples: `orders` gives each rank's samples.
fn pieces(orders: &[&[u64]]) -> Vec<GlobalBatch> {
    (0..STEPS)
        .map(|step| GlobalBatch {
            samples: orders.concat().into_iter().map(|i| 13 * step + i).collect(),
            counts: orders.iter().map(|order| order.len() as u32).collect(),
        })
        .collect()
}

type Build = fn(&mut Parameters) -> Box<dyn Method>;
const METHODS: [(&str, Build, bool); 3] = [
    ("simclr", |p| simclr(ModelName::CnnSmall, p), false),
    ("supcon", |p| supcon(ModelName::CnnSmall, p), false),
    ("supervised", |p| supervised(ModelName::CnnSmall, p), true),
];
const ORDER: &[u64] = &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];

/// With batch norm over each piece alone, the pieces are all that counts, not where and when they are computed.
#[test]
fn micro_batches_equal_ranks_where_batch_norm_is_local() {
    for (name, build, labelled_only) in METHODS {
        let case = Case { sync_bn: false, micro_batch: Some(3), labelled_only, ..whole(sgd(), build) };
        let mut alone = train(&case, &pieces(&[ORDER]));
        let mut halves = train(&case, &pieces(&[&ORDER[..6], &ORDER[6..]]));
        let mut quarters = train(&case, &pieces(&[&ORDER[..3], &ORDER[3..6], &ORDER[6..9], &ORDER[9..]]));
        // One rank has seen all pieces, the others a half or a quarter of them.
        let seen = |trained: &Trained| trained.buffers[2].1.int64_value(&[]);
        assert_eq!([&alone, &halves, &quarters].map(seen), [4, 2, 1].map(|pieces| pieces * STEPS as i64));
        for trained in [&mut alone, &mut halves, &mut quarters] {
            trained.buffers.clear();
        }
        assert_same_training(name, &halves, &alone);
        assert_same_training(name, &quarters, &alone);
    }
}

/// With batch norm over all ranks, the pieces of one round are normalized together, and running statistics learn once
/// from each round, also where everything is encoded twice.
#[test]
fn a_round_of_micro_batches_is_normalized_over_all_ranks() {
    for (name, build, labelled_only) in METHODS {
        let case = |micro| Case { micro_batch: Some(micro), labelled_only, ..whole(adamw(), build) };
        let two = train(&case(3), &pieces(&[&ORDER[..6], &ORDER[6..]]));
        let alone = train(&case(6), &pieces(&[&[0, 1, 2, 6, 7, 8, 3, 4, 5, 9, 10, 11]]));
        assert_same_training(name, &two, &alone);
        assert_eq!(two.buffers[2].0, "backbone.bn1.num_batches_tracked");
        assert_eq!(two.buffers[2].1.int64_value(&[]), 2 * STEPS as i64);
    }
}

/// A network in which samples do not meet, with a parameter that no loss ever reaches and one that is used in the
/// first `late_until` steps only, and then on the rank that holds sample `late_sample` of the batch.
struct Plain {
    first: Tensor,
    second: Tensor,
    late: Tensor,
    late_until: u64,
    calls: AtomicU64,
    pairs: bool,
}

impl Plain {
    fn build(pairs: bool, late_until: u64, parameters: &mut Parameters) -> Box<dyn Method> {
        let init = Init::Normal { std: 0.1 };
        let mut weight = |name: &str, shape: &[i64]| parameters.parameter(name, shape, init, Role::Weight);
        let first = weight("first", &[SIZE * SIZE, 10]);
        let _ = weight("unused", &[7]);
        let late = weight("late", &[6]);
        let second = weight("second", &[10, 6]);
        Box::new(Self { first, second, late, late_until, calls: AtomicU64::new(0), pairs })
    }
}

impl Method for Plain {
    fn num_views(&self) -> u32 {
        1 + u32::from(self.pairs)
    }

    fn sampling(&self) -> Sampling {
        Sampling::Shuffled
    }

    fn pair_loss(&self) -> Option<PairLoss> {
        self.pairs.then_some(PairLoss { temperature: 0.2, tile: None })
    }

    fn objective(&self, inputs: &Tensor, targets: &Targets, _: &Pass) -> Result<Objective, TchError> {
        let mut rows = inputs.f_flatten(1, -1)?.f_mm(&self.first)?.f_tanh()?.f_mm(&self.second)?;
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        if call < self.late_until && targets.positions.contains(&0) {
            rows += &self.late;
        }
        if self.pairs {
            let projections = &rows / rows.norm_scalaropt_dim(2.0, [1], true);
            let groups = targets.positions.repeat(2);
            return Ok(Objective::Pairs(PairBatch { projections, groups }));
        }
        let classes = Tensor::from_slice(&targets.classes);
        let loss = cross_entropy(&rows, &classes, targets.global_samples, 0.0);
        Ok(Objective::Direct(DirectLoss { loss, sums: Vec::new() }))
    }

    fn embed(&self, inputs: &Tensor, _: &Pass) -> Result<Tensor, TchError> {
        inputs.f_flatten(1, -1)
    }
}

/// Where samples do not meet in the network, micro-batches change nothing at all.
#[test]
fn without_batch_norm_micro_batches_equal_the_whole() {
    let builds: [(&str, Build); 2] =
        [("pairs", |p| Plain::build(true, 0, p)), ("direct", |p| Plain::build(false, 0, p))];
    for (name, build) in builds {
        let case = |micro_batch| Case { micro_batch, labelled_only: true, ..whole(sgd(), build) };
        let expected = train(&case(None), &batches(1));
        for (world_size, micro) in [(1, 1), (1, 2), (1, 4), (2, 3), (3, 2), (4, 1)] {
            let what = format!("{name}: {world_size} ranks in micro-batches of {micro}");
            assert_same_training(&what, &train(&case(Some(micro)), &batches(world_size)), &expected);
        }
    }
}

/// Decay and momentum would move weights under a gradient of zero; without a gradient nothing moves.
#[test]
fn a_parameter_without_gradient_keeps_weight_and_moments_bit_for_bit() {
    for optimizer in [sgd(), adamw(), lars()] {
        let name = optimizer.name();
        let always: Build = |p| Plain::build(true, u64::MAX, p);
        let at_first: Build = |p| Plain::build(true, 3, p);
        let case = |build| whole(optimizer.clone(), build);
        let short = train(&case(at_first), &batches(3)[..3]);
        let long = train(&case(at_first), &batches(3));
        let of = |tensors: &[(String, Tensor)], parameter: &str| -> Vec<Tensor> {
            let found = tensors.iter().filter(|(name, _)| name.split('.').next_back() == Some(parameter));
            found.map(|(_, tensor)| tensor.shallow_clone()).collect()
        };
        assert_eq!(of(&long.weights, "late"), of(&short.weights, "late"), "{name}");
        assert_eq!(of(&long.moments, "late"), of(&short.moments, "late"), "{name}");
        assert_ne!(of(&long.weights, "first"), of(&short.weights, "first"), "{name}");
        assert_ne!(
            of(&train(&case(always), &batches(3)).weights, "late"),
            of(&short.weights, "late"),
            "{name}"
        );

        let mut fresh = Parameters::new(Device::Cpu, Kind::Double, 3);
        let _ = at_first(&mut fresh);
        let start = fresh.parameters().iter().find(|p| p.name == "unused").unwrap();
        assert_eq!(of(&long.weights, "unused"), [start.tensor.detach()], "{name}");
        assert!(of(&long.moments, "unused").iter().all(|moment| norm(moment) == 0.0), "{name}");
    }
}

/// One bad value on one rank: all ranks skip the step, and nothing has learned from it.
#[test]
fn a_value_that_is_not_finite_leaves_everything_as_it_was() {
    for (name, build, labelled_only) in METHODS {
        for micro_batch in [None, Some(2)] {
            let case = Case { micro_batch, labelled_only, ..whole(adamw(), build) };
            let world = local_world(2);
            thread::scope(|scope| {
                for collective in world {
                    let case = &case;
                    scope.spawn(move || skips_a_bad_step(name, case, collective));
                }
            });
        }
    }
}

fn skips_a_bad_step(name: &str, case: &Case, collective: Arc<dyn Collective>) {
    tch::set_num_threads(1);
    let rank = collective.world().rank;
    let mut parameters = Parameters::new(Device::Cpu, Kind::Double, 3);
    let method = (case.build)(&mut parameters);
    let num_views = i64::from(method.num_views());
    let settings = EngineSettings {
        global_batch: 8,
        micro_batch: case.micro_batch,
        grad_clip: Some(1.0),
        sync_bn: case.sync_bn,
        schedule: ScheduleConfig::default(),
        optimizer: case.optimizer.clone(),
        total_steps: 9,
        steps_per_epoch: 9,
    };
    let mut engine = Engine::new(method, parameters, collective, settings).unwrap();
    let state = |engine: &Engine| -> Vec<Tensor> {
        let parameters = engine.parameters().parameters().iter().map(|p| p.tensor.detach().copy());
        let buffers = engine.parameters().buffers().iter().map(|b| b.tensor.copy());
        let moments = engine.optimizer().tensors(engine.flat()).into_iter().map(|(_, moment)| moment.copy());
        parameters.chain(buffers).chain(moments).collect()
    };
    for (step, bad) in [None, Some(f64::NAN), None, Some(f64::INFINITY), None].into_iter().enumerate() {
        let plan = StepPlan { step: step as u64, epoch: 0, counts: vec![4, 4], global_samples: 8 };
        let own = 4 * rank as u64..4 * rank as u64 + 4;
        let views: Vec<Tensor> = (0..num_views as u64)
            .flat_map(|v| own.clone().map(move |s| view(8 * step as u64 + s, v, case.size)))
            .collect();
        let inputs = Tensor::cat(&views, 0);
        if let (Some(bad), 1) = (bad, rank) {
            let _ = inputs.narrow(0, 3, 1).narrow(3, 5, 1).fill_(bad);
        }
        let classes = own.clone().map(|s| s as i64 % CLASSES).collect();
        let targets = Targets { classes, positions: own.map(|s| s as i64).collect(), global_samples: 8 };
        let (before, steps_before) = (state(&engine), engine.optimizer().steps().to_vec());
        let outcome = engine.step(&LocalBatch { inputs, targets }, &plan).unwrap();
        assert_eq!(outcome.finite, bad.is_none(), "{name}, rank {rank}, step {step}");
        assert_eq!(state(&engine) == before, bad.is_some(), "{name}, rank {rank}, step {step}");
        assert_eq!(
            engine.optimizer().steps() == steps_before,
            bad.is_some(),
            "{name}, rank {rank}, step {step}"
        );
    }
}
