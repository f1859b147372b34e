//! Samples that a user has corrected, in each way that their losses are combined: whichever ranks and micro-batches they fall
//! into, and if one has none of them or all.

use dtrain_configs::schema::{XilConfig, XilLoss};
use dtrain_data::columns::NONE;

use super::*;

/// Number of the pool of a sample: every fourth one is corrected.
pub(super) fn pool(sample: u64) -> i64 {
    if sample % 4 == 1 { 0 } else { NONE }
}

/// Masks of samples, 1 in a corner whose place depends on the sample; every third has none.
pub(super) fn masks(samples: &[u64], size: i64) -> Tensor {
    let masks = Tensor::zeros([samples.len() as i64, 1, size, size], (Kind::Double, Device::Cpu));
    for (row, &sample) in (0i64..).zip(samples) {
        let begin = sample as i64 % 5;
        if sample % 3 != 0 {
            let _ = masks.get(row).get(0).narrow(0, begin, 4).narrow(1, begin, 3).fill_(1.0);
        }
    }
    masks
}

fn config(loss: XilLoss) -> XilConfig {
    XilConfig {
        loss,
        lambda: 3.0,
        epsilon: 0.2,
        dual_step: 2.0,
        gradient_penalty: 0.5,
        ..XilConfig::default()
    }
}

fn case(loss: XilLoss) -> Case {
    let config = MethodConfig::Xil(config(loss));
    let build = move |p: &mut Parameters| {
        method::build(&config, &backbone("cnn_small"), &Task::of_classes([1, SIZE, SIZE], CLASSES), p)
    };
    Case { labelled_only: true, ..whole(adamw(), built_by(build)) }
}

const LOSSES: [XilLoss; 4] = [XilLoss::Balanced, XilLoss::Imbalanced, XilLoss::Lagrangian, XilLoss::Rrr];

#[test]
fn ranks_do_not_matter_wherever_corrected_samples_fall() {
    for loss in LOSSES {
        let alone = train(&case(loss), &batches(1));
        assert_moved(&format!("{loss:?}"), &alone, &case(loss));
        for (world_size, way) in [
            (2, Way { overlap: true, bucket_bytes: 4096, ..PLAIN_WAY }),
            (3, Way { shard_optimizer: true, deferred: true, bucket_bytes: 4096, ..PLAIN_WAY }),
            (4, PLAIN_WAY),
        ] {
            let what = format!("{loss:?} over {world_size} ranks");
            assert_same_training(&what, &train(&Case { way, ..case(loss) }, &batches(world_size)), &alone);
        }
    }
}

/// Without batch statistics, which differ from part to part.
#[test]
fn micro_batches_do_not_matter() {
    for loss in LOSSES {
        let case = |micro_batch| {
            let config = MethodConfig::Xil(config(loss));
            let model = ModelConfig { norm: Norm::Group, norm_groups: 4, ..backbone("cnn_small") };
            let task = Task::of_classes([1, SIZE, SIZE], CLASSES);
            let build = move |p: &mut Parameters| method::build(&config, &model, &task, p);
            Case { labelled_only: true, micro_batch, ..whole(adamw(), built_by(build)) }
        };
        let alone = train(&case(None), &batches(1));
        for (world_size, micro_batch) in [(1, Some(2)), (2, Some(1)), (3, Some(3))] {
            let what = format!("{loss:?} over {world_size} ranks in parts of {micro_batch:?}");
            assert_same_training(&what, &train(&case(micro_batch), &batches(world_size)), &alone);
        }
    }
}

/// Losses of the first step by their formulas, from the scores of the network as it begins.
#[test]
fn losses_are_their_formulas() {
    for loss in LOSSES {
        let case = case(loss);
        let batch = &batches(1)[..1];
        let outcome = &train(&case, batch).outcomes[0];
        let samples = &batch[0].samples;
        let mut parameters = Parameters::new(Device::Cpu, Kind::Double, 3);
        let method = (case.build)(&mut parameters);
        let explained = method.explained().unwrap();
        let inputs = views(samples, 1, SIZE).set_requires_grad(true);
        let pass = ForwardContext::train(None).without_update().twice(true);
        let scores = explained.scores(&explained.backbone.forward(&inputs, &pass).unwrap()).unwrap();
        let log_p = scores.log_softmax(1, None::<Kind>);
        let of_sample = |row: usize| -log_p.double_value(&[row as i64, class(samples[row]).max(0)]);
        let mean = |is_of_it: &dyn Fn(usize) -> bool| {
            let own: Vec<f64> = (0..samples.len()).filter(|&row| is_of_it(row)).map(of_sample).collect();
            own.iter().sum::<f64>() / own.len() as f64
        };
        let corrected = mean(&|row| pool(samples[row]) == 0);
        let others = mean(&|row| pool(samples[row]) != 0);
        let all = mean(&|_| true);
        assert!((outcome.losses[0] - others).abs() < 1e-12 && (outcome.losses[1] - corrected).abs() < 1e-12);
        let expected = match loss {
            XilLoss::Balanced => others + 3.0 * corrected,
            XilLoss::Imbalanced => all,
            // The multiplier begins at 0.
            XilLoss::Lagrangian => others,
            XilLoss::Rrr => {
                let gradient =
                    Tensor::run_backward(&[log_p.sum(None::<Kind>)], &[&inputs], false, false).remove(0);
                let within = (gradient * masks(samples, SIZE)).square().sum(None::<Kind>).double_value(&[]);
                all + 0.5 * within / samples.len() as f64
            }
        };
        assert!((outcome.loss - expected).abs() < 1e-12, "{loss:?}: {} is not {expected}", outcome.loss);
    }
}

/// It rises by `dual_step` times what the loss is above `epsilon`, and stays within its bounds.
#[test]
fn the_multiplier_follows_the_constraint() {
    let trained = train(&case(XilLoss::Lagrangian), &batches(1));
    let mut expected = 0.0;
    for (step, outcome) in trained.outcomes.iter().enumerate() {
        let (name, multiplier) = &outcome.means[1];
        assert_eq!(name, "multiplier");
        assert!((multiplier - expected).abs() < 1e-9, "step {step}: {multiplier} is not {expected}");
        expected = f64::clamp(expected + 2.0 * (outcome.losses[1] - 0.2), 0.0, 20.0);
    }
    assert!(expected > 0.5, "the constraint was broken");
    let saved = trained.buffers.iter().find(|(name, _)| name == "multiplier").unwrap();
    assert!((saved.1.double_value(&[]) - expected).abs() < 1e-9);
}

/// A batch of 64 of which the last 4 are corrected, over 8 ranks: 7 of them have none.
#[test]
fn a_rank_without_corrected_samples_adds_nothing() {
    let batch = |counts: Vec<u32>| {
        let others = (0u64..).filter(|&sample| pool(sample) == NONE).take(60);
        let corrected = (1000u64..).filter(|&sample| pool(sample) == 0).take(4);
        [GlobalBatch { samples: others.chain(corrected).collect(), counts }]
    };
    for loss in LOSSES {
        let alone = train(&case(loss), &batch(vec![64]));
        let shared = train(&case(loss), &batch(vec![8; 8]));
        assert!(shared.outcomes[0].loss.is_finite() && shared.outcomes[0].losses[1] > 0.0);
        assert_same_training(&format!("{loss:?} over 8 ranks"), &shared, &alone);
    }
}
