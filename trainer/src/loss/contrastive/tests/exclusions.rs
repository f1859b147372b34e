//! Pairs that are left out, and the memory queue.

use super::*;

/// Two views of `n` samples from `first` on: classes in threes, some without, two or three samples to a recording that
/// spans classes now and then, one of unknown recording.
fn two_views(first: i64, n: i64, supervised: bool, exclusions: &str) -> PairKeys {
    let samples: Vec<i64> = (first..first + n).collect();
    let class = |s: i64| if s % 5 == 3 { -1 } else { s % 3 };
    let recording = |s: i64| if s % 11 == 6 { -1 } else { s * 2 / 5 };
    let column = |key: &dyn Fn(i64) -> i64| samples.iter().map(|&s| key(s)).collect::<Vec<_>>().repeat(2);
    let group = |s: i64| if supervised && class(s) >= 0 { class(s) } else { first - 1 - s };
    let excluded = exclusions.chars().map(|kind| match kind {
        'r' => column(&recording),
        _ => column(&class),
    });
    PairKeys { excluded: excluded.collect(), ..PairKeys::new(column(&group), column(&|s| s)) }
}

#[test]
fn exclusions_and_queues_equal_the_naive_formula_for_any_ranks_and_tiles() {
    let (size, dim) = (12, 4);
    for (supervised, exclusions) in
        [(false, ""), (false, "r"), (false, "l"), (false, "rl"), (true, ""), (true, "r")]
    {
        // None, partly filled, and full after more rows than it holds; some of its samples are in the batch as well.
        for pushed in [0, 4, 9] {
            let keys = two_views(2, 8, supervised, exclusions);
            let z = unit_rows(keys.num_rows(), dim, Kind::Double, 1);
            let pushed = Pushed {
                rows: unit_rows(2 * pushed as usize, dim, Kind::Double, 2),
                keys: two_views(7, pushed, supervised, exclusions),
            };
            let queue = queue_of(size, dim, Kind::Double, &pushed);
            let valid = Pushed {
                rows: pushed.rows.narrow(
                    0,
                    (pushed.keys.num_rows() as i64 - size as i64).max(0),
                    queue.len() as i64,
                ),
                keys: pushed.keys.last(size),
            };
            for temperature in [0.01, 0.2] {
                let expected = naive(&z, &keys, Some(&valid), temperature);
                for tile in 1..=16 {
                    let settings = PairLoss { temperature, tile: Some(tile) };
                    let problem = PairProblem::new(&z, &keys, Some(&queue), &settings);
                    for ranks in 1..=3 {
                        let what = format!("{supervised} {exclusions} {} {tile}", queue.len());
                        check(&what, &problem, &expected, ranks).unwrap();
                    }
                }
            }
        }
    }
}

fn keys(n: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = PairKeys> {
    let column = |n: usize, range: Range<i64>| prop::collection::vec(range, n);
    (n, 2_i64..8).prop_flat_map(move |(n, kinds)| {
        (column(n, -3..kinds), column(n, 0..2 * kinds), column(n, -1..kinds), column(n, -1..3)).prop_map(
            |(groups, samples, a, b)| PairKeys { excluded: vec![a, b], ..PairKeys::new(groups, samples) },
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn any_keys_equal_the_naive_formula(
        mut keys in keys(0..=24),
        mut queued in keys(0..=15),
        exclusions in 0_usize..=2,
        temperature in prop::sample::select(vec![0.01, 0.1, 1.0]),
        tile in 1_usize..30,
        ranks in 1_usize..=4,
        seed in 0_i64..1000,
    ) {
        keys.excluded.truncate(exclusions);
        queued.excluded.truncate(exclusions);
        let z = unit_rows(keys.num_rows(), 3, Kind::Double, seed);
        let pushed = Pushed { rows: unit_rows(queued.num_rows(), 3, Kind::Double, seed + 1), keys: queued };
        let queue = queue_of(15, 3, Kind::Double, &pushed);
        let problem = PairProblem::new(&z, &keys, Some(&queue), &PairLoss { temperature, tile: Some(tile) });
        check("any keys", &problem, &naive(&z, &keys, Some(&pushed), temperature), ranks)?;
    }
}

#[test]
fn the_gradient_equals_finite_differences() {
    let (dim, step) = (3, 1e-6);
    let keys = two_views(0, 5, true, "r");
    let z = unit_rows(keys.num_rows(), dim, Kind::Double, 3);
    let pushed = Pushed { rows: unit_rows(6, dim, Kind::Double, 4), keys: two_views(20, 3, true, "r") };
    let queue = queue_of(8, dim, Kind::Double, &pushed);
    let settings = PairLoss { temperature: 0.2, tile: Some(4) };
    let whole = |z: &Tensor| PairProblem::new(z, &keys, Some(&queue), &settings).whole();
    let dz = whole(&z).gradient;
    for k in 0..z.numel() as i64 {
        let moved = |by: f64| {
            let z = z.copy();
            let _ = z.view(-1).narrow(0, k, 1).g_add_scalar_(by);
            whole(&z).loss.double_value(&[])
        };
        let slope = (moved(step) - moved(-step)) / (2.0 * step);
        assert!((slope - dz.view(-1).double_value(&[k])).abs() < 1e-7, "element {k}");
    }
}

/// Row 2 shares its recording with every other sample, so that it is compared with nothing.
#[test]
fn a_row_without_any_pair_is_no_anchor_and_not_nan() {
    for temperature in [0.01, 0.5] {
        let z = unit_rows(5, 3, Kind::Double, 6);
        let mut keys = PairKeys::new(vec![1, 1, 1, 2, 2], vec![0, 1, 2, 3, 4]);
        // One key per exclusion joins row 2 with the rows of the other key's samples.
        keys.excluded = vec![vec![0, -1, 0, 0, -1], vec![-1, 1, 1, -1, 1]];
        let problem = PairProblem::new(&z, &keys, None, &PairLoss { temperature, tile: Some(2) });
        let statistics = problem.row_statistics(0..5);
        assert_eq!(statistics.lse.double_value(&[2]), f64::NEG_INFINITY);
        assert_eq!(Vec::<i64>::try_from(&statistics.num_positives).unwrap(), [1, 1, 0, 1, 1]);
        assert_eq!(problem.num_anchors(), 4);
        check("alone", &problem, &naive(&z, &keys, None, temperature), 3).unwrap();
        let gradient = problem.whole().gradient;
        assert_eq!(largest(&gradient.get(2)), 0.0);
        assert!(gradient.isfinite().all().int64_value(&[]) == 1);
    }
}

#[test]
fn with_all_positives_left_out_loss_and_gradient_are_zero() {
    let mut keys = PairKeys::new(vec![1, 1, 1, 2], vec![0, 1, 2, 3]);
    keys.excluded = vec![vec![4, 4, 4, 5]];
    let z = unit_rows(4, 3, Kind::Float, 6);
    let pushed = Pushed {
        rows: unit_rows(2, 3, Kind::Float, 7),
        keys: PairKeys { excluded: vec![vec![-1, 6]], ..PairKeys::new(vec![-1, 3], vec![8, 9]) },
    };
    let queue = queue_of(4, 3, Kind::Float, &pushed);
    for temperature in [0.01, 0.5] {
        let settings = PairLoss { temperature, tile: None };
        let whole = PairProblem::new(&z, &keys, Some(&queue), &settings).whole();
        assert_eq!((whole.loss.double_value(&[]), whole.num_anchors), (0.0, 0));
        assert_eq!(largest(&whole.gradient), 0.0);
    }
}

/// In fp32 the sum over two positives must not drown in the rounding of the class's sum, of which all but two rows are
/// left out.
#[test]
fn few_positives_among_many_left_out_rows_stay_precise() {
    let n = 600;
    let z = unit_rows(n, 8, Kind::Float, 9);
    let mut keys = unique(&vec![0; n]);
    keys.excluded = vec![(0..n as i64).map(|i| i64::from(i < 2)).collect()];
    for temperature in [0.07, 0.5] {
        let (loss, gradient) = naive(&z.to_kind(Kind::Double), &keys, None, temperature);
        let settings = PairLoss { temperature, tile: Some(100) };
        let ours = PairProblem::new(&z, &keys, None, &settings).whole();
        assert!((ours.loss.double_value(&[]) - loss).abs() < 1e-6 * (1.0 + loss));
        let difference = largest(&(ours.gradient.to_kind(Kind::Double) - &gradient));
        assert!(difference < 1e-6 * largest(&gradient).max(1e-3) / temperature, "{difference}");
    }
}

/// The queue is a constant: its rows get no gradient, and the same rows in the batch would change the mean.
#[test]
fn queued_rows_are_kept_in_the_precision_of_the_run() {
    for kind in [Kind::Float, Kind::Double] {
        let keys = two_views(0, 4, false, "");
        let z = unit_rows(8, 3, kind, 1);
        let pushed = Pushed { rows: unit_rows(4, 3, kind, 2), keys: two_views(10, 2, false, "") };
        let queue = queue_of(4, 3, kind, &pushed);
        let settings = PairLoss { temperature: 0.1, tile: None };
        let ours = PairProblem::new(&z, &keys, Some(&queue), &settings).whole();
        let wide = Pushed { rows: pushed.rows.to_kind(Kind::Double), keys: pushed.keys };
        let (loss, gradient) = naive(&z.to_kind(Kind::Double), &keys, Some(&wide), 0.1);
        let tolerance = if kind == Kind::Double { 1e-12 } else { 1e-5 };
        assert_eq!(ours.gradient.kind(), kind);
        assert!((ours.loss.double_value(&[]) - loss).abs() < tolerance);
        assert!(largest(&(ours.gradient.to_kind(Kind::Double) - gradient)) < tolerance);
    }
}
