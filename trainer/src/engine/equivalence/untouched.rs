//! What a step leaves alone: parameters without a gradient, and everything when a value is not finite.

use super::plain::Plain;
use super::*;

/// Decay and momentum would move weights under a gradient of zero; without a gradient nothing moves.
#[test]
fn a_parameter_without_gradient_keeps_weight_and_moments_bit_for_bit() {
    for optimizer in [sgd(), adamw(), lars()] {
        let name = optimizer.name();
        let always = built_by(|p| Plain::build(true, u64::MAX, p));
        let at_first = built_by(|p| Plain::build(true, 3, p));
        let case = |build: &Build| whole(optimizer.clone(), build.clone());
        let short = train(&case(&at_first), &batches(3)[..3]);
        let long = train(&case(&at_first), &batches(3));
        let of = |tensors: &[(String, Tensor)], parameter: &str| -> Vec<Tensor> {
            let found = tensors.iter().filter(|(name, _)| name.split('.').next_back() == Some(parameter));
            found.map(|(_, tensor)| tensor.shallow_clone()).collect()
        };
        assert_eq!(of(&long.weights, "late"), of(&short.weights, "late"), "{name}");
        assert_eq!(of(&long.moments, "late"), of(&short.moments, "late"), "{name}");
        assert_ne!(of(&long.weights, "first"), of(&short.weights, "first"), "{name}");
        assert_ne!(
            of(&train(&case(&always), &batches(3)).weights, "late"),
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
    for (name, build, labelled_only) in methods() {
        for (micro_batch, deferred, shard_optimizer) in
            [(None, false, false), (Some(2), false, true), (None, true, false), (None, true, true)]
        {
            let way = Way { deferred, shard_optimizer, ..PLAIN_WAY };
            let case = Case { micro_batch, labelled_only, way, ..whole(adamw(), build.clone()) };
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

pub(super) fn skips_a_bad_step(name: &str, case: &Case, collective: Arc<dyn Collective>) {
    tch::set_num_threads(1);
    let rank = collective.world().rank;
    let mut engine = case.engine(collective, 8, 9);
    let num_views = i64::from(engine.method().num_views());
    let state = |engine: &Engine| -> Vec<Tensor> {
        let parameters = engine.parameters().parameters().iter().map(|p| p.tensor.detach().copy());
        let buffers = untrained(engine.parameters()).map(|(_, tensor)| tensor.copy());
        let moments = engine.moments().unwrap().into_iter().map(|(_, moment)| moment.copy());
        parameters.chain(buffers).chain(moments).collect()
    };
    for (step, bad) in [None, Some(f64::NAN), None, Some(f64::INFINITY), None].into_iter().enumerate() {
        let plan = StepPlan { step: step as u64, epoch: 0, phase: 0, counts: vec![4, 4], global_samples: 8 };
        let own = 4 * rank as u64..4 * rank as u64 + 4;
        let views: Vec<Tensor> = (0..num_views as u64)
            .flat_map(|v| own.clone().map(move |s| view(8 * step as u64 + s, v, case.size)))
            .collect();
        let inputs = Tensor::cat(&views, 0);
        if let (Some(bad), 1) = (bad, rank) {
            let _ = inputs.narrow(0, 3, 1).narrow(3, 5, 1).fill_(bad);
        }
        let classes = own.clone().map(|s| s as i64 % CLASSES).collect();
        let samples: Vec<u64> = own.clone().collect();
        let ids = own.map(|s| (8 * step as u64 + s) as i64).collect();
        let targets = Targets::new(ids, 8).unwrap().with_positions(samples[0] as i64).unwrap();
        let labels = heads::labels(engine.method(), &samples);
        let targets =
            targets.with_classes(classes).unwrap().with_labels(engine.method().heads(), labels).unwrap();
        let (before, steps_before) = (state(&engine), engine.optimizer_steps().to_vec());
        let known = engine.step(&LocalBatch::new(num_views as u32, inputs, targets), &plan).unwrap();
        let outcome = known.or_else(|| engine.flush().unwrap()).unwrap();
        assert_eq!(outcome.finite, bad.is_none(), "{name}, rank {rank}, step {step}");
        assert_eq!(state(&engine) == before, bad.is_some(), "{name}, rank {rank}, step {step}");
        assert_eq!(
            engine.optimizer_steps() == steps_before,
            bad.is_some(),
            "{name}, rank {rank}, step {step}"
        );
    }
}

/// One changed value in a weight, a moment or a running mean of one rank is noticed by all, and the rank is named.
#[test]
fn a_replica_that_differs_is_named_on_all_ranks() {
    for damaged in ["weight", "moment", "statistics", "nothing"] {
        let case = whole(adamw(), built_by(|p| supervised("cnn_small", p)));
        let errors: Vec<Option<String>> = thread::scope(|scope| {
            let threads: Vec<_> = local_world(3)
                .into_iter()
                .map(|collective| {
                    let case = &case;
                    scope.spawn(move || {
                        tch::set_num_threads(1);
                        let rank = collective.world().rank;
                        let engine = case.engine(collective, 9, 9);
                        let buffer = |name: &str| {
                            let found = engine.parameters().buffers().iter().find(|b| b.name.ends_with(name));
                            found.unwrap().tensor.shallow_clone()
                        };
                        let target = match damaged {
                            "weight" => Some(engine.flat().parameters().shallow_clone()),
                            "moment" => Some(engine.optimizer.moments()[1].1.shallow_clone()),
                            "statistics" => Some(buffer("running_mean")),
                            _ => None,
                        };
                        if let (Some(target), 1) = (target, rank) {
                            let _ = target.narrow(0, 3, 1).f_add_scalar_(1e-10).unwrap();
                        }
                        engine.check_replicas(40).err().map(|error| error.to_string())
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let expected = (damaged != "nothing").then(|| {
            "after step 40 the weights, moments or statistics of rank 1 differ from those of the other ranks"
                .to_owned()
        });
        assert_eq!(errors, vec![expected; 3], "{damaged}");
    }
}
