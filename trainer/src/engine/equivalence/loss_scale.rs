//! 16-bit floats: the loss scale is one number of all ranks, whichever of them has met an overflow.

use super::*;

const SAMPLES: u64 = 4;
const NUM_STEPS: u64 = 10;
/// The step in which the last rank has a value that 32 bits hold and 16 do not. By then the scale has found its place.
const OVERFLOW: u64 = 6;

/// Of each step whether it counted and its scale; the scale that follows, and the weights.
type Scaled = (Vec<(bool, f64)>, f64, Tensor);

fn train_scaled(case: &Case, collective: Arc<dyn Collective>) -> Scaled {
    tch::set_num_threads(1);
    let (rank, ranks) = (collective.world().rank as u64, collective.world().world_size as u64);
    let mut engine = case.engine(collective, (SAMPLES * ranks) as usize, NUM_STEPS);
    let mut outcomes = Vec::new();
    for step in 0..NUM_STEPS {
        let counts = vec![SAMPLES as u32; ranks as usize];
        let global_samples = SAMPLES * ranks;
        let plan = StepPlan { step, epoch: 0, phase: 0, counts, global_samples };
        let own: Vec<u64> = (0..SAMPLES).map(|i| step * global_samples + rank * SAMPLES + i).collect();
        let views: Vec<Tensor> = own.iter().map(|&sample| view(sample, 0, case.size)).collect();
        let inputs = Tensor::cat(&views, 0).to_kind(Kind::Float);
        if step == OVERFLOW && rank + 1 == ranks {
            let _ = inputs.narrow(0, 1, 1).fill_(1e6);
        }
        let ids = own.iter().map(|&sample| sample as i64).collect();
        let classes = own.iter().map(|&sample| class(sample).max(0)).collect();
        let targets = Targets::new(ids, global_samples).unwrap().with_classes(classes).unwrap();
        outcomes.extend(engine.step(&LocalBatch::new(1, inputs, targets), &plan).unwrap());
    }
    outcomes.extend(engine.flush().unwrap());
    let steps = outcomes.iter().map(|outcome| (outcome.finite, outcome.loss_scale)).collect();
    (steps, engine.loss_scale.unwrap().scale(), engine.flat().parameters().copy())
}

/// Batch norm is over each rank's samples, so that nothing but the sums of the gradients tells the others.
#[test]
fn an_overflow_on_one_rank_halves_the_scale_of_all() {
    for (deferred, shard_optimizer) in [(false, false), (true, false), (false, true), (true, true)] {
        let way = Way { deferred, shard_optimizer, ..PLAIN_WAY };
        let case = Case {
            way,
            sync_bn: false,
            arithmetic: Arithmetic::Fp16,
            ..whole(sgd(), built_by(|p| supervised("cnn_small", p)))
        };
        let ranks: Vec<Scaled> = thread::scope(|scope| {
            let threads: Vec<_> = local_world(3)
                .into_iter()
                .map(|collective| {
                    let case = &case;
                    scope.spawn(move || train_scaled(case, collective))
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let (steps, scale, weights) = &ranks[0];
        for (other, other_scale, other_weights) in &ranks {
            assert_eq!((other, other_scale), (steps, scale), "{way:?}");
            assert_eq!(other_weights, weights, "{way:?}");
        }
        assert_eq!(steps.len() as u64, NUM_STEPS, "{way:?}");
        assert!(!steps[OVERFLOW as usize].0 && steps[OVERFLOW as usize - 1].0, "{way:?}: {steps:?}");
        let overflows = steps.iter().filter(|(finite, _)| !finite).count() as i32;
        assert_eq!(*scale, 65_536.0 * 0.5_f64.powi(overflows), "{way:?}: {steps:?}");
        assert_eq!(steps[NUM_STEPS as usize - 1].1, *scale, "{way:?}: {steps:?}");
        assert_eq!(weights.isfinite().all().int64_value(&[]), 1);
    }
}
