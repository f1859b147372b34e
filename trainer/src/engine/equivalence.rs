//! The batch is global: ranks, uneven shares and micro-batches change the order of summation and nothing else. Ranks are
//! threads; everything is in f64, where rounding stays small enough to be told from a mistake.

use std::thread;

use super::*;
use crate::coordinator::StepPlan;
use crate::method::{self, LocalBatch, Targets, Task, ViewGroup};
use crate::torch_extra::cuda_contract::as_on_cuda;
use dtrain_comm::{Background, local_world};
use dtrain_configs::schema::{
    AdamConfig, AdamwConfig, ClipNorm, LarsConfig, MethodConfig, ModelConfig, Norm, PairExclusion,
    PhasesConfig, PositiveRule, ProjectorConfig, Sampling, SgdConfig, SimclrConfig, SupconConfig,
    SupervisedConfig, TransformsConfig,
};
use dtrain_data::{GroupRequest, Values};

mod alike;
mod contract;
mod corrections;
mod crops;
mod frozen;
mod groups;
mod heads;
mod loss_scale;
mod micro_batches;
mod plain;
mod teacher;
mod untouched;
mod validation;
mod ways;

use alike::{assert_alike, assert_moved, assert_same_training, norm};

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

/// `num_views` views of each of `samples`, view-major.
fn views(samples: &[u64], num_views: u32, size: i64) -> Tensor {
    let views: Vec<Tensor> = (0..u64::from(num_views))
        .flat_map(|number| samples.iter().map(move |&sample| view(sample, number, size)))
        .collect();
    match views.as_slice() {
        [] => Tensor::zeros([0, 1, size, size], (Kind::Double, Device::Cpu)),
        views => Tensor::cat(views, 0),
    }
}

/// Class of a sample: every seventh has none, sample 4 is alone in its class.
fn class(sample: u64) -> i64 {
    match sample {
        4 => CLASSES - 1,
        _ if sample % 7 == 3 => -1,
        _ => (sample * sample % (CLASSES as u64 - 1)) as i64,
    }
}

#[derive(Clone)]
struct Case {
    optimizer: OptimizerConfig,
    build: Build,
    /// Rows and columns of the views of the first group.
    size: i64,
    /// Rows of a tile of a pair loss.
    tile: usize,
    sync_bn: bool,
    micro_batch: Option<usize>,
    /// Leaves samples without a class out, as the sampler of such methods does.
    labelled_only: bool,
    grad_clip: Option<Clip>,
    phases: PhasesConfig,
    way: Way,
    arithmetic: Arithmetic,
}

/// How gradients and weights cross ranks.
#[derive(Debug, Clone, Copy)]
struct Way {
    overlap: bool,
    bucket_bytes: usize,
    shard_optimizer: bool,
    deferred: bool,
}

const PLAIN_WAY: Way =
    Way { overlap: false, bucket_bytes: 25 << 20, shard_optimizer: false, deferred: false };

impl Case {
    fn engine(&self, collective: Arc<dyn Collective>, global_batch: usize, total_steps: u64) -> Engine {
        let mut parameters = Parameters::new(Device::Cpu, self.arithmetic.kind(), 3);
        let method = (self.build)(&mut parameters);
        let settings = EngineSettings {
            global_batch,
            micro_batch: self.micro_batch,
            tile: Some(self.tile),
            encoder: Encoder::Online,
            arithmetic: self.arithmetic,
            tf32: false,
            grad_clip: self.grad_clip,
            sync_bn: self.sync_bn,
            bucket_bytes: self.way.bucket_bytes,
            first_bucket_bytes: self.way.bucket_bytes / 4,
            overlap: self.way.overlap,
            shard_optimizer: self.way.shard_optimizer,
            deferred: self.way.deferred,
            schedule: ScheduleConfig::default(),
            optimizer: self.optimizer.clone(),
            scheduled: Vec::new(),
            steps_per_epoch: total_steps,
            course: Course::new(&self.phases, total_steps, &[]).unwrap(),
        };
        let ranks = if self.way.overlap {
            let tensors = collective.another().unwrap();
            Ranks::new(collective, Arc::new(Background::start(tensors).unwrap()))
        } else {
            Ranks::inline(&collective)
        };
        Engine::new(method, parameters, ranks, settings).unwrap()
    }
}

/// What a rank knows after each step, and in the end.
struct Trained {
    outcomes: Vec<StepOutcome>,
    /// Flat gradient of each step.
    gradients: Vec<Tensor>,
    weights: Vec<(String, Tensor)>,
    moments: Vec<(String, Tensor)>,
    /// A teacher's weights too.
    buffers: Vec<(String, Tensor)>,
    /// Whether gradients are sums of a shard only.
    partial: bool,
}

/// A rank's samples `own`, the first of which is at `first` in the global batch.
fn local_batch(case: &Case, engine: &Engine, own: &[u64], first: usize, global_samples: u64) -> LocalBatch {
    let classes = own.iter().map(|&s| if case.labelled_only { class(s).max(0) } else { class(s) });
    let ids = own.iter().map(|&s| s as i64).collect();
    let targets = Targets::new(ids, global_samples).unwrap().with_positions(first as i64).unwrap();
    let targets = targets.with_classes(classes.collect()).unwrap();
    let recordings: Vec<i64> = own.iter().map(|&s| s as i64 / 3).collect();
    let begins = own.iter().map(|&s| s as i64 % 3 * 2_000_000).collect();
    let targets = targets.with_begins(recordings.clone(), begins).unwrap();
    let targets = targets.with_recordings(recordings).unwrap();
    let targets = targets.with_pools(own.iter().map(|&s| corrections::pool(s)).collect()).unwrap();
    let method = engine.method();
    let targets = targets.with_labels(method.heads(), heads::labels(method, own)).unwrap();
    // Each further group is of half the size.
    let groups = (0..).zip(engine.method().view_groups()).map(|(group, GroupRequest { num_views, spec })| {
        if spec == GroupRequest::MASKS {
            return ViewGroup::new(num_views, corrections::masks(own, case.size));
        }
        let mut group = ViewGroup::new(num_views, views(own, num_views, case.size >> group));
        let drawn =
            (0..num_views).flat_map(|view| own.iter().map(move |&s| (s as i64 + i64::from(view)) % 6));
        group.drawn.put(TransformsConfig::COLUMN, 1, Values::I64(drawn.collect())).unwrap();
        group
    });
    LocalBatch::of_groups(groups.collect(), targets).unwrap()
}

fn train_rank(case: &Case, collective: Arc<dyn Collective>, batches: &[GlobalBatch]) -> Trained {
    let rank = collective.world().rank;
    let mut engine = case.engine(collective, 9, STEPS + 1);
    let (mut outcomes, mut gradients) = (Vec::new(), Vec::new());
    for (step, batch) in (0..).zip(batches) {
        let global_samples = batch.samples.len() as u64;
        let phase = engine.settings().course.index_of(step);
        let plan = StepPlan { step, epoch: 0, phase, counts: batch.counts.clone(), global_samples };
        let first = plan.offset(rank) as usize;
        let own = &batch.samples[first..first + batch.counts[rank] as usize];
        let mut local = local_batch(case, &engine, own, first, global_samples);
        // What is drawn by its place is the same sample, in whichever order a batch has them.
        let mut places = batch.samples.clone();
        places.sort_unstable();
        let of_own = own.iter().map(|sample| places.binary_search(sample).unwrap() as i64).collect();
        local.targets = local.targets.at(of_own).unwrap();
        outcomes.extend(engine.step(&local, &plan).unwrap());
        // The same on all ranks, since the weights are.
        if rank == 0 {
            gradients.push(engine.flat().gradients().copy());
        }
    }
    outcomes.extend(engine.flush().unwrap());
    let named = |(name, tensor): (&String, &Tensor)| (name.clone(), tensor.detach().copy());
    Trained {
        outcomes,
        gradients,
        weights: engine.parameters().parameters().iter().map(|p| named((&p.name, &p.tensor))).collect(),
        moments: engine.moments().unwrap().iter().map(|(n, t)| named((n, t))).collect(),
        partial: case.way.shard_optimizer,
        buffers: untrained(engine.parameters()).map(named).collect(),
    }
}

/// Trains over as many ranks as the batches have shares. All ranks must end with the same bits; rank 0 speaks.
fn train(case: &Case, batches: &[GlobalBatch]) -> Trained {
    train_by(case, batches, |rank| rank())
}

/// The same, with the work of each rank done by `by`.
fn train_by(case: &Case, batches: &[GlobalBatch], by: fn(&dyn Fn() -> Trained) -> Trained) -> Trained {
    let world = local_world(batches[0].counts.len());
    let ranks: Vec<Trained> = thread::scope(|scope| {
        let threads: Vec<_> = world
            .into_iter()
            .map(|collective| {
                scope.spawn(move || {
                    tch::set_num_threads(1);
                    by(&|| train_rank(case, Arc::clone(&collective), batches))
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

/// Everything that is saved and not trained.
fn untrained(parameters: &Parameters) -> impl Iterator<Item = (&String, &Tensor)> {
    let teacher = parameters.shadows().iter().map(|shadow| (&shadow.name, &shadow.tensor));
    parameters.buffers().iter().map(|buffer| (&buffer.name, &buffer.tensor)).chain(teacher)
}

fn backbone(name: &str) -> ModelConfig {
    ModelConfig::named(name).unwrap()
}

fn projector() -> ProjectorConfig {
    ProjectorConfig { hidden_dim: 24, out_dim: 12, ..ProjectorConfig::default() }
}

fn simclr(model: &str, parameters: &mut Parameters) -> Box<dyn Method> {
    let config = SimclrConfig { projector: projector(), ..SimclrConfig::default() };
    method::build(
        &MethodConfig::Simclr(config),
        &backbone(model),
        &Task::of_classes([1, SIZE, SIZE], CLASSES),
        parameters,
    )
}

fn supcon(model: &str, parameters: &mut Parameters) -> Box<dyn Method> {
    let config = SupconConfig { projector: projector(), ..SupconConfig::default() };
    method::build(
        &MethodConfig::Supcon(config),
        &backbone(model),
        &Task::of_classes([1, SIZE, SIZE], CLASSES),
        parameters,
    )
}

fn supervised(model: &str, parameters: &mut Parameters) -> Box<dyn Method> {
    let config = SupervisedConfig { label_smoothing: 0.1 };
    method::build(
        &MethodConfig::Supervised(config),
        &backbone(model),
        &Task::of_classes([1, SIZE, SIZE], CLASSES),
        parameters,
    )
}

fn sgd() -> OptimizerConfig {
    OptimizerConfig::Sgd(SgdConfig { lr: 0.01, weight_decay: 0.01.into(), ..SgdConfig::default() })
}

fn adam() -> OptimizerConfig {
    OptimizerConfig::Adam(AdamConfig { eps: 1e-4, weight_decay: 0.01.into(), ..AdamConfig::default() })
}

fn adamw() -> OptimizerConfig {
    // Where a gradient is nothing but rounding, Adam with a tiny eps makes a step of full size of it.
    OptimizerConfig::Adamw(AdamwConfig { eps: 1e-4, ..AdamwConfig::default() })
}

fn lars() -> OptimizerConfig {
    OptimizerConfig::Lars(LarsConfig { trust_coefficient: 0.01, ..LarsConfig::default() })
}

fn whole(optimizer: OptimizerConfig, build: Build) -> Case {
    Case {
        optimizer,
        build,
        size: SIZE,
        tile: 5,
        sync_bn: true,
        micro_batch: None,
        labelled_only: false,
        grad_clip: Some(Clip { max_norm: 5.0, of: ClipNorm::Global }),
        phases: PhasesConfig::default(),
        way: PLAIN_WAY,
        arithmetic: Arithmetic::Fp64,
    }
}

type Build = Arc<dyn Fn(&mut Parameters) -> Box<dyn Method> + Send + Sync>;

fn built_by(build: impl Fn(&mut Parameters) -> Box<dyn Method> + Send + Sync + 'static) -> Build {
    Arc::new(build)
}

/// Every method on a small network, each with whether it leaves samples without a class out.
fn methods() -> impl Iterator<Item = (&'static str, Build, bool)> {
    methods_on(backbone("cnn_small"))
}

fn methods_on(model: ModelConfig) -> impl Iterator<Item = (&'static str, Build, bool)> {
    MethodConfig::all().into_iter().map(move |config| {
        let (name, config, model) = (config.name(), config.for_proofs(&heads::LABELS), model.clone());
        let labelled_only = config.facts().sampling == Sampling::ShuffledLabelled;
        let build = move |p: &mut Parameters| method::build(&config, &model, &heads::task(), p);
        (name, built_by(build), labelled_only)
    })
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
        assert_ranks_do_not_matter(&what, &whole(optimizer, built_by(|p| simclr("cnn_small", p))), 4);
    }
}

#[test]
fn one_to_four_ranks_train_the_same_supcon() {
    for optimizer in [sgd(), adamw(), lars()] {
        let what = format!("supcon with {}", optimizer.name());
        assert_ranks_do_not_matter(&what, &whole(optimizer, built_by(|p| supcon("cnn_small", p))), 4);
    }
}

#[test]
fn one_to_four_ranks_train_the_same_classifier() {
    for optimizer in [sgd(), adam(), adamw(), lars()] {
        let what = format!("supervised with {}", optimizer.name());
        let case = whole(optimizer, built_by(|p| supervised("cnn_small", p)));
        assert_ranks_do_not_matter(&what, &Case { labelled_only: true, ..case }, 4);
    }
}

/// A memory queue holds the same rows in the same order, and pairs are left out alike, however the batch is shared.
#[test]
fn a_queue_and_left_out_pairs_do_not_depend_on_the_ranks() {
    let queued = built_by(|parameters| {
        let config = SupconConfig {
            projector: projector(),
            queue_size: 23,
            exclude_pairs: vec![PairExclusion::Recording],
            ..SupconConfig::default()
        };
        method::build(
            &MethodConfig::Supcon(config),
            &backbone("cnn_small"),
            &Task::of_classes([1, SIZE, SIZE], CLASSES),
            parameters,
        )
    });
    for deferred in [false, true] {
        let case = Case { way: Way { deferred, ..PLAIN_WAY }, ..whole(sgd(), queued.clone()) };
        assert_ranks_do_not_matter("supcon with a queue", &case, 3);
    }
}

/// Keys of every rule of positives travel over ranks and into the queue.
#[test]
fn positives_by_several_rules_do_not_depend_on_the_ranks() {
    use PositiveRule::{Label, Recording};
    let within = PositiveRule::WithinSecs { secs: 2.0 };
    for positives in [vec![Recording], vec![within], vec![Label, Recording], vec![Label, within]] {
        for queue_size in [0, 23] {
            let positives = positives.clone();
            let several = built_by(move |parameters| {
                let positives = positives.clone();
                let config =
                    SimclrConfig { projector: projector(), queue_size, positives, ..SimclrConfig::default() };
                method::build(
                    &MethodConfig::Simclr(config),
                    &backbone("cnn_small"),
                    &Task::of_classes([1, SIZE, SIZE], CLASSES),
                    parameters,
                )
            });
            assert_ranks_do_not_matter("simclr with several rules", &whole(sgd(), several), 3);
        }
    }
}

#[test]
fn one_to_three_ranks_train_the_same_resnet18() {
    let case = |optimizer, build: fn(&str, &mut Parameters) -> Box<dyn Method>| Case {
        size: 2 * SIZE,
        ..whole(optimizer, built_by(move |p| build("resnet18", p)))
    };
    assert_ranks_do_not_matter("simclr, lars", &case(lars(), simclr), 3);
    assert_ranks_do_not_matter("supcon, adamw", &case(adamw(), supcon), 2);
    let supervised = case(sgd(), supervised);
    assert_ranks_do_not_matter("supervised, sgd", &Case { labelled_only: true, ..supervised }, 2);
}
