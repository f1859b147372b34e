//! Losses on samples that are not learned from: the same over any ranks and pieces, and where no layer behaves otherwise in
//! training, those of a step.

use super::plain::Plain;
use super::*;

/// Losses of `samples`, shared as `counts` say, of which each rank reads `piece` at a time. The same on all ranks.
fn losses(case: &Case, samples: &[u64], counts: &[usize], piece: usize) -> LossSums {
    let mut all: Vec<LossSums> = thread::scope(|scope| {
        let ranks: Vec<_> = local_world(counts.len())
            .into_iter()
            .map(|collective| {
                scope.spawn(move || {
                    tch::set_num_threads(1);
                    rank_losses(case, collective, samples, counts, piece)
                })
            })
            .collect();
        ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
    });
    assert!(all.windows(2).all(|pair| pair[0] == pair[1]), "ranks differ: {all:?}");
    all.remove(0)
}

fn rank_losses(
    case: &Case,
    collective: Arc<dyn Collective>,
    samples: &[u64],
    counts: &[usize],
    piece: usize,
) -> LossSums {
    let rank = collective.world().rank;
    let engine = case.engine(collective, 9, 1);
    let first: usize = counts[..rank].iter().sum();
    let own = &samples[first..first + counts[rank]];
    let pieces: Vec<&[u64]> = if own.is_empty() { vec![own] } else { own.chunks(piece).collect() };
    let (mut validation, mut at) = (Validation::default(), first);
    for piece in pieces {
        engine.validate(&mut validation, &local_batch(case, &engine, piece, at, 1)).unwrap();
        at += piece.len();
    }
    engine.conclude_validation(validation).unwrap()
}

const SHARES: [(&[usize], usize); 4] = [(&[12], 5), (&[7, 5], 3), (&[0, 12], 12), (&[1, 6, 5], 2)];

#[test]
fn validation_losses_do_not_depend_on_ranks_and_pieces() {
    let samples: Vec<u64> = (20..32).collect();
    for (name, build, labelled_only) in methods() {
        let case = Case { labelled_only, ..whole(sgd(), build.clone()) };
        let expected = losses(&case, &samples, &[12], 12);
        assert!(
            expected.counts.iter().all(|&count| count > 0.0)
                && expected.sums.iter().all(|sum| sum.is_finite() && *sum != 0.0),
            "{name}"
        );
        for (counts, piece) in SHARES {
            let found = losses(&case, &samples, counts, piece);
            assert_eq!(found.counts, expected.counts, "{name} {counts:?}");
            for (a, b) in found.sums.iter().zip(&expected.sums) {
                assert!(
                    (a - b).abs() < 1e-9 * b.abs(),
                    "{name} {counts:?} in pieces of {piece}: {a} and {b}"
                );
            }
        }
    }
}

#[test]
fn without_layers_that_differ_in_training_the_loss_is_that_of_a_step() {
    let builds: [Build; 2] = [true, false].map(|pairs| built_by(move |p| Plain::build(pairs, 0, p)));
    for build in builds {
        let case = Case { labelled_only: true, ..whole(sgd(), build.clone()) };
        let samples: Vec<u64> = (0..12).collect();
        let batch = [GlobalBatch { samples: samples.clone(), counts: vec![12] }];
        let trained = train(&case, &batch);
        let LossSums { sums, counts } = losses(&case, &samples, &[5, 7], 3);
        let (found, expected) = (sums[0] / counts[0], trained.outcomes[0].loss);
        assert!((found - expected).abs() < 1e-9 * expected, "{found} and {expected}");
    }
}
