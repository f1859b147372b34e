//! Groups of the optimizer with rates and times of their own: any number of ranks, and any way of gradients and weights, trains
//! the same; what is frozen keeps every bit; a run that goes on in the middle is the undisturbed one.

use dtrain_configs::schema::{GroupConfig, GroupSchedule, PhaseConfig, Scheduled, Span};

use super::*;

/// Steps in which the first layer is frozen.
const UNTIL: u64 = 3;
/// The step from which on biases are frozen.
const FROM: u64 = 6;

fn grouped(mut optimizer: OptimizerConfig) -> OptimizerConfig {
    let group = |name: &str, pattern: &str| GroupConfig {
        name: name.into(),
        parameters: vec![pattern.into()],
        ..GroupConfig::default()
    };
    *optimizer.groups_mut() = vec![
        GroupConfig { freeze_until: Some(Span::Steps(UNTIL)), ..group("first", "backbone.conv1") },
        GroupConfig {
            schedule: GroupSchedule::Constant,
            weight_decay: Some(Scheduled::cosine(0.01, 0.1)),
            momentum: Some(Scheduled::linear(0.5, 0.9)),
            ..group("head", "classifier.weight")
        },
        GroupConfig {
            lr: Some(0.02),
            lr_scale: Scheduled::linear(0.5, 1.0),
            freeze_from: Some(Span::Steps(FROM)),
            ..group("biases", "*.bias")
        },
    ];
    optimizer
}

fn build() -> Build {
    built_by(|p| supervised("cnn_small", p))
}

fn case(optimizer: OptimizerConfig, way: Way) -> Case {
    Case { labelled_only: true, way, ..whole(grouped(optimizer), build()) }
}

const WAYS: [Way; 4] = [
    PLAIN_WAY,
    Way { overlap: true, bucket_bytes: 2000, ..PLAIN_WAY },
    Way { shard_optimizer: true, bucket_bytes: 2000, ..PLAIN_WAY },
    Way { shard_optimizer: true, deferred: true, bucket_bytes: 2000, ..PLAIN_WAY },
];

#[test]
fn ranks_and_ways_do_not_matter() {
    for optimizer in [sgd(), adam(), adamw(), lars()] {
        let alone = train(&case(optimizer.clone(), PLAIN_WAY), &batches(1));
        for way in WAYS {
            for world_size in [1, 2, 3] {
                let what = format!("{} in groups over {world_size} ranks, {way:?}", optimizer.name());
                assert_same_training(
                    &what,
                    &train(&case(optimizer.clone(), way), &batches(world_size)),
                    &alone,
                );
            }
        }
    }
}

#[test]
fn a_group_is_frozen_for_its_time_bit_for_bit() {
    for (optimizer, way) in [sgd(), adamw(), lars(), adam()].into_iter().zip(WAYS) {
        let case = case(optimizer, way);
        let batches = batches(2);
        let after = |steps: u64| train(&case, &batches[..steps as usize]);
        let [early, middle, late] = [UNTIL, FROM, STEPS].map(after);
        let mut fresh = Parameters::new(Device::Cpu, Kind::Double, 3);
        let _ = build()(&mut fresh);
        let what = format!("{}, {way:?}", case.optimizer.name());
        let mut seen = [0; 3];
        for ((parameter, (name, early)), ((_, middle), (_, late))) in
            fresh.parameters().iter().zip(&early.weights).zip(middle.weights.iter().zip(&late.weights))
        {
            let group = group_of(case.optimizer.groups(), name);
            let (at_first, later) = (group == Some(0), group == Some(2));
            assert_eq!(parameter.tensor.detach() == *early, at_first, "{what}: {name} at first");
            assert_eq!(middle == late, later, "{what}: {name} later");
            assert_ne!(early, middle, "{what}: {name} in between");
            seen[group.unwrap_or(0)] += 1;
        }
        assert!(seen.iter().all(|&n| n > 0), "{what}: {seen:?}");
        for ((name, middle), (_, late)) in middle.moments.iter().zip(&late.moments) {
            let later = name.ends_with(".bias");
            assert_eq!(middle == late, later, "{what}: moment {name}");
        }
    }
}

/// Phases freeze besides, and scale the rates of groups too.
#[test]
fn phases_and_groups_go_together() {
    let phase = |name: &str, freeze: &[&str], lr_scale: f64| PhaseConfig {
        name: name.into(),
        freeze: freeze.iter().map(|&name| name.into()).collect(),
        lr_scale,
        ..PhaseConfig::default()
    };
    let list = vec![phase("probe", &["backbone"], 1.0), phase("all", &[], 0.5)];
    let phases = PhasesConfig { enabled: true, fracs: vec![0.5, 0.5], list };
    let staged = |way| Case { phases: phases.clone(), ..case(adamw(), way) };
    let alone = train(&staged(PLAIN_WAY), &batches(1));
    for way in WAYS {
        let what = format!("groups and phases, {way:?}");
        assert_same_training(&what, &train(&staged(way), &batches(3)), &alone);
    }
    let engine = staged(PLAIN_WAY).engine(local_world(1).remove(0), 9, 8);
    let head = |step| engine.settings().group_lrs(step).find(|(name, _)| *name == "head").unwrap().1;
    let peak = engine.peak_lr();
    assert_eq!([0, 3, 4, 7].map(head), [peak, peak, 0.5 * peak, 0.5 * peak]);
}

#[test]
fn rates_are_those_that_the_settings_say() {
    let engine = case(sgd(), PLAIN_WAY).engine(local_world(1).remove(0), 9, 10);
    let settings = engine.settings();
    for step in 0..10 {
        let progress = step as f64 / 10.0;
        let cosine =
            |from: f64, to: f64| to + (from - to) * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos());
        let [rest, first, head, biases] = settings.rates_at(step).try_into().unwrap();
        let falling = cosine(0.01, 0.0);
        let expected = [
            (rest, falling, 0.01, 0.9),
            (first, falling, 0.01, 0.9),
            (head, 0.01, cosine(0.01, 0.1), 0.5 + 0.4 * progress),
            (biases, 2.0 * falling * (0.5 + 0.5 * progress), 0.01, 0.9),
        ];
        for (rates, lr, weight_decay, momentum) in expected {
            let errors = [rates.lr - lr, rates.weight_decay - weight_decay, rates.momentum - momentum];
            assert!(errors.iter().all(|error| error.abs() < 1e-15), "step {step}: {rates:?}");
        }
        assert_eq!(engine.lr_at(step), rest.lr);
        let names: Vec<&str> = settings.group_lrs(step).map(|(name, _)| name).collect();
        assert_eq!(names, ["head", "biases"], "the first layer has the rate of the rest");
    }
}

/// Whether a run is taken up in the middle of everything that moves, with the state that a checkpoint holds.
#[test]
fn a_run_that_goes_on_is_the_undisturbed_one() {
    for optimizer in [sgd(), adam(), adamw(), lars()] {
        let case = case(optimizer, PLAIN_WAY);
        let batches = batches(1);
        let step = |engine: &mut Engine, step: u64| {
            let GlobalBatch { samples, counts } = &batches[step as usize];
            let global_samples = samples.len() as u64;
            let plan = StepPlan { step, epoch: 0, phase: 0, counts: counts.clone(), global_samples };
            engine.step(&local_batch(&case, engine, samples, 0, global_samples), &plan).unwrap();
        };
        let fresh = || case.engine(local_world(1).remove(0), 9, STEPS + 1);
        for at in [2, UNTIL, 5, FROM + 1] {
            let (mut whole, mut resumed) = (fresh(), fresh());
            (0..at).for_each(|number| step(&mut whole, number));
            tch::no_grad(|| {
                for (to, from) in resumed.parameters.named().zip(whole.parameters.named()) {
                    to.1.shallow_clone().copy_(&from.1);
                }
            });
            let moments: Vec<Tensor> = whole.moments().unwrap().into_iter().map(|(_, m)| m.copy()).collect();
            let steps = whole.optimizer_steps().to_vec();
            let Engine { flat, shard, optimizer, .. } = &mut resumed;
            state::restore(flat, shard, &mut **optimizer, &moments, &steps).unwrap();
            for number in at..STEPS {
                step(&mut whole, number);
                step(&mut resumed, number);
            }
            let what = format!("{} taken up at step {at}", case.optimizer.name());
            for (a, b) in whole.parameters.named().zip(resumed.parameters.named()) {
                assert_eq!(a, b, "{what}: {}", a.0);
            }
        }
    }
}
