//! Which trials go on at a rung: the stopping form of ASHA (Li et al. 2020, <https://arxiv.org/abs/1810.05934>). A trial is
//! judged when it arrives, by those that have arrived before, and waits for nobody.

use dtrain_configs::schema::MonitorMode;

/// Whether a trial of this value goes on, given the values of the others at its rung: it does when it is among the best
/// 1 / `reduction` of all that are here, itself among them, and at least the best. A value that is no number never does.
pub(crate) fn goes_on(value: f64, others: &[f64], reduction: u32, mode: MonitorMode) -> bool {
    if value.is_nan() {
        return false;
    }
    let num_better = others.iter().filter(|&&other| mode.is_better(other, value)).count();
    num_better < (others.len() + 1).div_ceil(reduction.max(2) as usize)
}

/// Moves trials out of the order of their settings, by a fixed rule: where the best stand last, each would be the best so far.
pub(crate) fn mixed<T>(mut trials: Vec<T>) -> Vec<T> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for index in (1..trials.len()).rev() {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        trials.swap(index, (state % (index as u64 + 1)) as usize);
    }
    trials
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_quarter_goes_on() {
        let mode = MonitorMode::Max;
        assert!(goes_on(0.5, &[], 4, mode));
        assert!(!goes_on(0.5, &[0.6], 4, mode));
        assert!(goes_on(0.7, &[0.6, 0.5], 4, mode));
        assert!(goes_on(0.5, &[0.6, 0.4, 0.3, 0.2], 4, mode), "two of five");
        assert!(!goes_on(0.5, &[0.6, 0.4, 0.3], 4, mode), "one of four");
        assert!(goes_on(0.5, &[0.6, 0.7], 4, MonitorMode::Min));
    }

    #[test]
    fn what_is_no_number_comes_last() {
        assert!(!goes_on(f64::NAN, &[], 4, MonitorMode::Max));
        assert!(goes_on(0.1, &[f64::NAN, f64::NAN], 4, MonitorMode::Max));
        assert!(goes_on(9.0, &[f64::NAN, f64::NAN], 4, MonitorMode::Min));
    }

    /// Curves that cross: a quality that shows the more clearly the longer a trial has run. In eleven of twelve sets of 64
    /// trials, run in order, one of the best four is among those that ran to the end, for 40 % of the steps at most.
    #[test]
    fn one_of_the_best_four_of_64_is_found_for_40_percent_of_the_steps() {
        let mut found = 0;
        for set in 0..12_u64 {
            let noise = |trial: u64, rung: u64| {
                let mut z =
                    (set * 7919 + trial * 31 + rung * 104_729 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                (z >> 11) as f64 / (1_u64 << 53) as f64 - 0.5
            };
            let quality = |trial: u64| trial as f64 / 63.0;
            let (mut rungs, mut epochs, mut survivors) = ([Vec::new(), Vec::new()], 0, Vec::new());
            for trial in mixed((0..64).collect::<Vec<u64>>()) {
                let mut reached = 16;
                for (at, (rung, spread)) in [(1, 0.4), (4, 0.2)].into_iter().enumerate() {
                    let value = quality(trial) + spread * noise(trial, rung);
                    let others = rungs[at].clone();
                    rungs[at].push(value);
                    if !goes_on(value, &others, 4, MonitorMode::Max) {
                        reached = rung;
                        break;
                    }
                }
                epochs += reached;
                survivors.extend((reached == 16).then_some(trial));
            }
            assert!(epochs * 10 <= 64 * 16 * 4, "{epochs} epochs");
            found += usize::from(survivors.iter().any(|trial| *trial >= 60));
        }
        assert!(found >= 11, "{found} of 12");
    }
}
