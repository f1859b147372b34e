//! Positives by several rules at once.

use super::*;

/// Sessions of a few samples, with some that have none.
fn session(sample: i64) -> i64 {
    if sample % 7 == 4 { -1 } else { sample * 3 / 8 }
}

/// Clips of a recording begin 0, 4, 8, ... seconds into it, some twice; one recording and some beginnings are unknown.
fn place(sample: i64) -> (i64, i64) {
    let recording = if sample % 13 == 9 { -1 } else { sample * 2 / 9 };
    let begin = if sample % 11 == 7 { -1 } else { sample / 2 % 5 * 4 };
    (recording, begin)
}

/// `views` views of `n` samples from `first` on: by `l` of their class, which some lack, by `r` of their session, by `n` of
/// what is near; exclusions by a key of their own.
fn keys_by(rules: &str, (first, n, views): (i64, i64, usize), exclusions: usize) -> PairKeys {
    let samples: Vec<i64> = (first..first + n).collect();
    let column = |key: &dyn Fn(i64) -> i64| samples.iter().map(|&s| key(s)).collect::<Vec<_>>().repeat(views);
    let class = |s: i64| if s % 5 == 3 { -1 } else { s % 3 };
    let group = |s: i64| if rules.contains('l') && class(s) >= 0 { class(s) } else { first - 1 - s };
    let excluded = [column(&|s| if s % 6 == 1 { -1 } else { s % 4 }), column(&|s| s % 3 - 1)];
    let near =
        || Nearness { recordings: column(&|s| place(s).0), begins: column(&|s| place(s).1), within: 4 };
    PairKeys {
        alike: if rules.contains('r') { vec![column(&session)] } else { Vec::new() },
        near: rules.contains('n').then(near),
        excluded: excluded[..exclusions].to_vec(),
        ..PairKeys::new(column(&group), column(&|s| s))
    }
}

#[test]
fn unions_equal_the_naive_formula_for_any_rules_views_queues_ranks_and_tiles() {
    let (size, dim) = (14, 4);
    for rules in ["r", "n", "lr", "ln", "rn", "lrn"] {
        for (views, exclusions) in [(2, 0), (2, 1), (3, 2), (5, 0)] {
            for num_pushed in [0, 9] {
                let keys = keys_by(rules, (2, 8, views), exclusions);
                let z = unit_rows(keys.num_rows(), dim, Kind::Double, 1);
                // Some samples of the queue are in the batch as well.
                let pushed = keys_by(rules, (6, num_pushed, 2), exclusions);
                let rows = unit_rows(pushed.num_rows(), dim, Kind::Double, 2);
                let pushed = Pushed { rows, keys: pushed };
                let queue = queue_of(size, dim, Kind::Double, &pushed);
                let dropped = (pushed.keys.num_rows() as i64 - size as i64).max(0);
                let valid = Pushed {
                    rows: pushed.rows.narrow(0, dropped, queue.len() as i64),
                    keys: pushed.keys.last(size),
                };
                for (temperature, tiles) in [(0.01, [3, 16, 64]), (0.2, [1, 5, 7])] {
                    let expected = naive(&z, &keys, Some(&valid), temperature);
                    for tile in tiles {
                        let settings = PairLoss { temperature, tile: Some(tile) };
                        let problem = PairProblem::new(&z, &keys, Some(&queue), &settings);
                        for ranks in 1..=3 {
                            let what = format!("{rules} {views} {exclusions} {num_pushed} {tile}");
                            check(&what, &problem, &expected, ranks).unwrap();
                        }
                    }
                }
            }
        }
    }
}

/// Keys of samples by a seed: all columns but the groups are functions of the sample.
#[derive(Debug, Clone)]
struct Drawn {
    groups: Vec<i64>,
    samples: Vec<i64>,
    kinds: i64,
    seed: i64,
}

impl Drawn {
    fn keys(&self, alike: usize, within: Option<i64>, excluded: usize) -> PairKeys {
        let column = |salt: i64, kinds: i64| -> Vec<i64> {
            let key =
                |&sample: &i64| (sample * 7919 + self.seed * 104_729 + salt * 15_485_863) % 1009 % kinds - 1;
            self.samples.iter().map(key).collect()
        };
        PairKeys {
            alike: (0..alike as i64).map(|salt| column(salt, self.kinds)).collect(),
            near: within.map(|within| Nearness { recordings: column(5, 4), begins: column(6, 12), within }),
            excluded: (0..excluded as i64).map(|salt| column(8 + salt, 4)).collect(),
            ..PairKeys::new(self.groups.clone(), self.samples.clone())
        }
    }
}

fn drawn(n: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = Drawn> {
    let column = |n: usize, range: Range<i64>| prop::collection::vec(range, n);
    (n, 2_i64..7, 0_i64..50).prop_flat_map(move |(n, kinds, seed)| {
        (column(n, -3..kinds), column(n, 0..2 * kinds)).prop_map(move |(groups, samples)| Drawn {
            groups,
            samples,
            kinds,
            seed,
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn any_union_equals_the_naive_formula(
        rows in drawn(0..=24),
        queued in drawn(0..=15),
        (alike, within, excluded) in (0_usize..=2, prop::option::of(0_i64..6), 0_usize..=2),
        temperature in prop::sample::select(vec![0.01, 0.1, 1.0]),
        tile in 1_usize..30,
        ranks in 1_usize..=3,
        seed in 0_i64..1000,
    ) {
        let keys = rows.keys(alike, within, excluded);
        // Keys of a sample are the same in the queue.
        let queued = Drawn { kinds: rows.kinds, seed: rows.seed, ..queued }.keys(alike, within, excluded);
        let z = unit_rows(keys.num_rows(), 3, Kind::Double, seed);
        let pushed = Pushed { rows: unit_rows(queued.num_rows(), 3, Kind::Double, seed + 1), keys: queued };
        let queue = queue_of(15, 3, Kind::Double, &pushed);
        let problem = PairProblem::new(&z, &keys, Some(&queue), &PairLoss { temperature, tile: Some(tile) });
        check("any union", &problem, &naive(&z, &keys, Some(&pushed), temperature), ranks)?;
    }
}

/// Three clips 4 s apart: the middle one has both others as positives, which are none of each other.
#[test]
fn nearness_does_not_carry_over() {
    let mut keys = PairKeys::new(vec![-1, -2, -3, -4], vec![0, 1, 2, 3]);
    keys.near = Some(Nearness { recordings: vec![0, 0, 0, 1], begins: vec![0, 4, 8, 4], within: 5 });
    let z = unit_rows(4, 3, Kind::Double, 1);
    let problem = PairProblem::new(&z, &keys, None, &PairLoss { temperature: 0.3, tile: Some(3) });
    let counts = problem.row_statistics(0..4).num_positives;
    assert_eq!(Vec::<i64>::try_from(&counts).unwrap(), [1, 2, 1, 0]);
    assert_eq!(problem.num_anchors(), 3);
}

/// In fp32 a stretch's sum is the difference of two sums over up to all rows of the batch.
#[test]
fn few_near_rows_among_many_stay_precise() {
    let n = 600_i64;
    let z = unit_rows(n as usize, 8, Kind::Float, 9);
    let own: Vec<i64> = (0..n).map(|row| -1 - row).collect();
    let mut keys = PairKeys::new(own, (0..n).collect());
    keys.near = Some(Nearness { recordings: vec![0; n as usize], begins: (0..n).collect(), within: 1 });
    for temperature in [0.07, 0.5] {
        let (loss, gradient) = naive(&z.to_kind(Kind::Double), &keys, None, temperature);
        let ours = PairProblem::new(&z, &keys, None, &PairLoss { temperature, tile: Some(100) }).whole();
        assert!((ours.loss.double_value(&[]) - loss).abs() < 1e-6 * (1.0 + loss));
        let difference = largest(&(ours.gradient.to_kind(Kind::Double) - &gradient));
        assert!(difference < 1e-6 * largest(&gradient).max(1e-3) / temperature, "{difference}");
    }
}
