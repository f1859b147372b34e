//! A teacher follows the trained network by the published formula, whatever is done to the step, and is a copy of it at first.

use std::f64::consts::PI;

use super::*;

/// Weights of the student and of the teacher by the names that both have.
fn both(engine: &Engine) -> Vec<(Tensor, Tensor)> {
    let parameters = engine.parameters();
    let student =
        |name: &str| parameters.parameters().iter().find(|p| p.name == name).unwrap().tensor.detach().copy();
    parameters.shadows().iter().map(|shadow| (student(shadow.of()), shadow.tensor.copy())).collect()
}

#[test]
fn after_each_step_it_is_the_moving_average_of_the_paper() {
    for (deferred, shard_optimizer) in [(false, false), (true, false), (false, true)] {
        let build = built_by(|p| {
            let config = MethodConfig::named("byol").unwrap().for_proofs(&[]);
            method::build(&config, &backbone("cnn_small"), &Task::of_classes([1, SIZE, SIZE], CLASSES), p)
        });
        let way = Way { deferred, shard_optimizer, ..PLAIN_WAY };
        let case = Case { way, ..whole(adamw(), build) };
        let total = 5;
        thread::scope(|scope| {
            for collective in local_world(2) {
                let case = &case;
                scope.spawn(move || {
                    tch::set_num_threads(1);
                    let rank = collective.world().rank;
                    let mut engine = case.engine(collective, 6, total);
                    let mut expected: Vec<Tensor> = both(&engine)
                        .into_iter()
                        .map(|(student, teacher)| {
                            assert_eq!(student, teacher, "a copy at first");
                            teacher
                        })
                        .collect();
                    assert!(expected.len() > 10);
                    for step in 0..total {
                        let counts = vec![2, 4];
                        let plan = StepPlan { step, epoch: 0, phase: 0, counts, global_samples: 6 };
                        let own: Vec<u64> = if rank == 0 { vec![0, 1] } else { vec![2, 3, 4, 5] };
                        let batch = local_batch(case, &engine, &own, 2 * rank, 6);
                        engine.step(&batch, &plan).unwrap();
                        let momentum = 1.0 - 0.2 * ((PI * step as f64 / total as f64).cos() + 1.0) / 2.0;
                        for ((student, teacher), expected) in both(&engine).iter().zip(&mut expected) {
                            *expected = &*expected * momentum + student * (1.0 - momentum);
                            let error = norm(&(teacher - &*expected));
                            assert!(error <= 1e-12 * norm(expected), "step {step}: {error:e}");
                        }
                    }
                    let moved = both(&engine).iter().filter(|(student, teacher)| student != teacher).count();
                    assert!(moved > 10, "only {moved} tensors of the teacher lag behind");
                    engine.copy_to_teacher().unwrap();
                    assert!(both(&engine).iter().all(|(student, teacher)| student == teacher));
                });
            }
        });
    }
}

/// No gradient, moment or bucket for a teacher, and a run that goes on has it bit for bit.
#[test]
fn it_is_kept_and_never_trained() {
    let config = MethodConfig::named("byol").unwrap().for_proofs(&[]);
    let mut parameters = Parameters::new(Device::Cpu, Kind::Double, 3);
    let _ = method::build(
        &config,
        &backbone("cnn_small"),
        &Task::of_classes([1, SIZE, SIZE], CLASSES),
        &mut parameters,
    );
    assert!(parameters.parameters().iter().all(|p| !p.name.starts_with("teacher.")));
    let named: Vec<&str> = parameters.named().map(|(name, _)| name).collect();
    for name in ["teacher.backbone.conv1.weight", "teacher.backbone.bn1.running_mean", "predictor.0.weight"] {
        assert!(named.contains(&name), "{name} is not saved: {named:?}");
    }
    assert!(!named.contains(&"teacher.predictor.0.weight"));
    assert!(parameters.shadows().iter().all(|shadow| !shadow.tensor.requires_grad()));
}
