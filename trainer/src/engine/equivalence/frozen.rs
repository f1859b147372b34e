//! Phases: what is frozen keeps every bit, whatever carries gradients over ranks, and the rest does not notice how many
//! ranks there are.

use dtrain_configs::schema::{Encoder, MethodFacts, Norm, PhaseConfig, PhaseSchedule, Position};

use tch::TchError;

use super::*;
use crate::loss::cross_entropy::cross_entropy;
use crate::method::{Objective, StepContext, Task, Term};
use crate::model::freeze::is_below;
use crate::model::parameters::{Init, Role};
use crate::state::Stateful;

/// The backbone is frozen for the first three of nine steps, and again for the last three.
fn phases(frozen: &str) -> PhasesConfig {
    let phase = |name: &str, freeze: &[&str]| PhaseConfig {
        name: name.into(),
        steps: Some(3),
        freeze: freeze.iter().map(|&name| name.into()).collect(),
        ..PhaseConfig::default()
    };
    let list = vec![phase("head", &[frozen]), phase("all", &[]), phase("head again", &[frozen])];
    PhasesConfig { enabled: true, fracs: Vec::new(), list }
}

const WAYS: [Way; 4] = [
    PLAIN_WAY,
    Way { overlap: true, bucket_bytes: 2000, ..PLAIN_WAY },
    Way { shard_optimizer: true, bucket_bytes: 2000, ..PLAIN_WAY },
    Way { overlap: true, deferred: true, bucket_bytes: 2000, ..PLAIN_WAY },
];

fn assert_equal_below(what: &str, prefix: &str, a: &Trained, b: &Trained, equal: bool) {
    let named = |trained: &Trained| -> Vec<(String, Tensor)> {
        let moments = trained.moments.iter().map(|(name, moment)| {
            let name = name.split_once('.').map_or(name.as_str(), |(_, parameter)| parameter);
            (name.to_owned(), moment.shallow_clone())
        });
        let values = trained.weights.iter().chain(&trained.buffers);
        values.map(|(name, value)| (name.clone(), value.shallow_clone())).chain(moments).collect()
    };
    let prefix = [prefix.to_owned()];
    let mut compared = 0;
    for ((name, a), (_, b)) in named(a).iter().zip(&named(b)).filter(|((name, _), _)| is_below(name, &prefix))
    {
        assert_eq!(a == b, equal, "{what}: {name}");
        compared += 1;
    }
    assert!(compared > 10, "{what}: only {compared} tensors");
}

#[test]
fn what_is_frozen_keeps_weights_moments_and_statistics_bit_for_bit() {
    for (name, build, labelled_only) in methods() {
        for (optimizer, way) in [sgd(), adamw(), lars(), adamw()].into_iter().zip(WAYS) {
            let case =
                Case { phases: phases("backbone"), labelled_only, way, ..whole(optimizer, build.clone()) };
            let batches = batches(2);
            let after = |steps: usize| train(&case, &batches[..steps]);
            let mut fresh = Parameters::new(Device::Cpu, Kind::Double, 3);
            let _ = build(&mut fresh);
            let [three, six, eight] = [3, 6, 8].map(after);
            let what = format!("{name}, {}, {way:?}", case.optimizer.name());
            for (parameter, (name, after)) in fresh.parameters().iter().zip(&three.weights) {
                let kept = parameter.tensor.detach() == *after;
                assert_eq!(kept, name.starts_with("backbone."), "{what}: {name} in the first phase");
            }
            for (buffer, (name, after)) in fresh.buffers().iter().zip(&three.buffers) {
                if name.starts_with("backbone.") {
                    assert_eq!(buffer.tensor, *after, "{what}: {name} in the first phase");
                }
            }
            assert_equal_below(&what, "backbone", &three, &six, false);
            assert_equal_below(&what, "backbone", &six, &eight, true);
            for (gradient, step) in eight.gradients.iter().zip(0..) {
                let free = (3..6).contains(&step);
                let first = gradient.narrow(0, 0, 8);
                assert_eq!(norm(&first) != 0.0, free, "{what}: step {step}");
            }
        }
    }
}

#[test]
fn ranks_and_ways_do_not_matter_in_any_phase() {
    for (name, build, labelled_only) in methods() {
        for way in WAYS {
            let phases = phases("backbone");
            let case =
                |way| Case { phases: phases.clone(), labelled_only, way, ..whole(adamw(), build.clone()) };
            let alone = train(&case(PLAIN_WAY), &batches(1));
            for world_size in [2, 3] {
                let what = format!("{name} with phases over {world_size} ranks, {way:?}");
                assert_same_training(&what, &train(&case(way), &batches(world_size)), &alone);
            }
        }
    }
}

#[test]
fn a_part_within_the_network_can_be_frozen() {
    let build = built_by(|p| {
        let model = ModelConfig { norm: Norm::Group, ..backbone("cnn_small") };
        method::build(
            &MethodConfig::Supervised(SupervisedConfig::default()),
            &model,
            &Task::of_classes([1, SIZE, SIZE], CLASSES),
            p,
        )
    });
    let mut fresh = Parameters::new(Device::Cpu, Kind::Double, 3);
    let _ = build(&mut fresh);
    let middle = fresh.parameters()[fresh.parameters().len() / 2].name.clone();
    let (part, _) = middle.rsplit_once('.').unwrap();
    let case = Case { phases: phases(part), labelled_only: true, ..whole(sgd(), build.clone()) };
    let trained = train(&case, &batches(2)[..2]);
    for (parameter, (name, after)) in fresh.parameters().iter().zip(&trained.weights) {
        let kept = parameter.tensor.detach() == *after;
        assert_eq!(kept, is_below(name, &[part.to_owned()]), "{name}");
    }
}

#[test]
fn the_learning_rate_is_scaled_and_starts_anew_by_phase() {
    let build = built_by(|p| supervised("cnn_small", p));
    let mut phases = phases("backbone");
    phases.list[1].lr_scale = 0.5;
    phases.list[2].schedule = PhaseSchedule::Restart;
    let case = Case { phases, labelled_only: true, ..whole(sgd(), build.clone()) };
    let engine = case.engine(local_world(1).remove(0), 9, 9);
    let plain = |step, total_steps| {
        ScheduleConfig::default().lr_at(0.01, Position { step, steps_per_epoch: 9, total_steps })
    };
    for step in 0..9 {
        let expected = match step {
            0..3 => plain(step, 9),
            3..6 => 0.5 * plain(step, 9),
            _ => plain(step - 6, 3),
        };
        assert_eq!(engine.lr_at(step), expected, "step {step}");
    }
}

/// Two losses over one layer, each with a layer of its own.
struct TwoLosses {
    shared: Tensor,
    heads: [Tensor; 2],
}

impl TwoLosses {
    fn build(parameters: &mut Parameters) -> Box<dyn Method> {
        let init = Init::Normal { std: 0.1 };
        let mut weight = |name: &str, shape: &[i64]| parameters.parameter(name, shape, init, Role::Weight);
        let shared = weight("shared", &[SIZE * SIZE, 10]);
        Box::new(Self { shared, heads: [weight("left", &[10, CLASSES]), weight("right", &[10, CLASSES])] })
    }
}

impl Method for TwoLosses {
    fn own_state(&mut self) -> Option<&mut dyn Stateful> {
        None
    }

    fn facts(&self) -> MethodFacts {
        MethodFacts::default()
    }

    fn loss_names(&self) -> Vec<String> {
        vec!["left".into(), "right".into()]
    }

    fn monitors(&self) -> &'static [&'static str] {
        &[]
    }

    fn objective(&self, part: &LocalBatch, _: &StepContext<'_>) -> Result<Objective, TchError> {
        let targets = &part.targets;
        let rows = part.inputs().f_flatten(1, -1)?.f_mm(&self.shared)?.f_tanh()?;
        let term = |head: &Tensor, shift: i64| -> Result<Term, TchError> {
            let classes: Vec<i64> = targets.classes().iter().map(|class| (class + shift) % CLASSES).collect();
            let classes = Tensor::from_slice(&classes);
            Ok(Term::direct(cross_entropy(&rows.f_mm(head)?, &classes, targets.global_samples, 0.0)))
        };
        let terms = vec![term(&self.heads[0], 0)?, term(&self.heads[1], 1)?];
        Ok(Objective::of(terms))
    }

    fn num_features(&self) -> i64 {
        SIZE * SIZE
    }

    fn embed(&self, inputs: &Tensor, _: Encoder, _: &ForwardContext) -> Result<Tensor, TchError> {
        inputs.f_flatten(1, -1)
    }
}

fn weighing(weights: &[(&str, f64)]) -> PhasesConfig {
    let losses = weights.iter().map(|(name, weight)| ((*name).to_owned(), (*weight).into())).collect();
    let list = vec![PhaseConfig { name: "a".into(), losses, ..PhaseConfig::default() }];
    PhasesConfig { enabled: true, fracs: vec![1.0], list }
}

#[test]
fn losses_are_weighted_and_one_that_is_off_moves_nothing() {
    let case = |weights: &[(&str, f64)]| Case {
        phases: weighing(weights),
        labelled_only: true,
        grad_clip: None,
        ..whole(adamw(), built_by(TwoLosses::build))
    };
    let train = |weights: &[(&str, f64)]| train(&case(weights), &batches(2)[..2]);
    let (both, half, alone) = (train(&[]), train(&[("right", 0.5)]), train(&[("right", 0.0)]));
    for (trained, weight) in [(&both, 1.0), (&half, 0.5), (&alone, 0.0)] {
        let first = &trained.outcomes[0];
        let [left, right] = first.losses[..] else { panic!("two losses") };
        assert!((first.loss - (left + weight * right)).abs() < 1e-12, "{first:?}");
        // What is off is still measured.
        assert_eq!(first.losses, both.outcomes[0].losses);
    }
    let gradient = |trained: &Trained, name: &str| {
        let mut fresh = Parameters::new(Device::Cpu, Kind::Double, 3);
        let _ = TwoLosses::build(&mut fresh);
        let flat = Flat::new(&fresh).unwrap();
        let segment = flat.segments().iter().find(|segment| segment.name == name).unwrap().clone();
        segment.view_of(&trained.gradients[0]).copy()
    };
    let expected = gradient(&both, "right") * 0.5;
    assert!(norm(&(gradient(&half, "right") - expected)) < 1e-12);
    assert_eq!(gradient(&half, "left"), gradient(&both, "left"));
    let mut fresh = Parameters::new(Device::Cpu, Kind::Double, 3);
    let _ = TwoLosses::build(&mut fresh);
    for (before, (name, after)) in fresh.parameters().iter().zip(&alone.weights) {
        assert_eq!(before.tensor.detach() == *after, name == "right", "{name}");
    }
    let right = alone.moments.iter().filter(|(name, _)| name.ends_with(".right"));
    assert!(right.into_iter().all(|(_, moment)| norm(moment) == 0.0));
}
