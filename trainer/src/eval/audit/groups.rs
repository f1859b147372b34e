//! The accuracy of the class among the samples that share a value of a column.

use dtrain_comm::{Collective, CollectiveExt};
use dtrain_data::LabelColumn;

use crate::error::TrainError;
use crate::track::WorstGroup;

/// Whether the class of a sample of this rank was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ClassAnswer {
    pub(super) id: u32,
    pub(super) is_right: bool,
}

/// The value of `column` among whose samples, `min_group` at least, the class is found worst, over all ranks; and the number of
/// values with fewer samples. Of equals the first.
///
/// # Errors
/// When the ranks cannot talk.
pub(super) fn worst_group(
    collective: &dyn Collective,
    column: &LabelColumn,
    answers: &[ClassAnswer],
    min_group: u64,
) -> Result<(Option<WorstGroup>, usize), TrainError> {
    let num_values = column.classes.len();
    // Right answers, then samples, of each value.
    let mut sums = vec![0.0; 2 * num_values];
    for ClassAnswer { id, is_right } in answers {
        let Some(value) = column.of_sample.get(*id as usize).copied().flatten() else { continue };
        for (at, count) in
            [(value as usize, f64::from(u8::from(*is_right))), (num_values + value as usize, 1.0)]
        {
            if let Some(sum) = sums.get_mut(at) {
                *sum += count;
            }
        }
    }
    collective.sum_f64(&mut sums)?;
    let (right, samples) = sums.split_at(num_values);
    let small = samples.iter().filter(|&&samples| samples > 0.0 && samples < min_group as f64).count();
    let groups = column.classes.iter().zip(right.iter().zip(samples));
    let judged = groups.filter(|(_, (_, samples))| **samples >= min_group.max(1) as f64);
    let group = |(value, (right, samples)): (&String, (&f64, &f64))| WorstGroup {
        value: value.clone(),
        samples: *samples as u64,
        class_accuracy: right / samples,
    };
    let worst = judged.map(group).min_by(|a, b| a.class_accuracy.total_cmp(&b.class_accuracy));
    Ok((worst, small))
}

#[cfg(test)]
mod tests {
    use dtrain_comm::local_world;

    use super::*;

    /// 3 of `loud` right of 4, 1 of `quiet` of 2, 0 of `rare` of 1, and one sample without a value.
    fn column() -> (LabelColumn, Vec<ClassAnswer>) {
        let of_sample = [0, 0, 0, 0, 1, 1, 2].map(Some).into_iter().chain([None]).collect();
        let classes = ["loud", "quiet", "rare"].map(str::to_owned).to_vec();
        let right = [true, true, true, false, true, false, false, false];
        let answers = (0..8).zip(right).map(|(id, is_right)| ClassAnswer { id, is_right }).collect();
        (LabelColumn { name: "device".into(), classes, values: Vec::new(), of_sample }, answers)
    }

    #[test]
    fn the_worst_group_is_that_of_all_ranks_and_small_ones_are_not_judged() {
        let (column, answers) = column();
        for shares in [vec![8], vec![3, 5], vec![1, 0, 7]] {
            for (min_group, value, accuracy, small) in [(2, "quiet", 0.5, 1), (3, "loud", 0.75, 2)] {
                let mut first = 0;
                let ranks: Vec<_> = local_world(shares.len()).into_iter().zip(&shares).collect();
                std::thread::scope(|scope| {
                    let mut all = Vec::new();
                    for (ranks, share) in ranks {
                        let own = &answers[first..first + share];
                        first += share;
                        let column = &column;
                        all.push(scope.spawn(move || worst_group(&*ranks, column, own, min_group).unwrap()));
                    }
                    for rank in all {
                        let (worst, few) = rank.join().unwrap();
                        let worst = worst.unwrap();
                        assert_eq!(
                            (worst.value.as_str(), worst.class_accuracy, few),
                            (value, accuracy, small)
                        );
                    }
                });
            }
        }
        let single = dtrain_comm::Single::new();
        assert_eq!(worst_group(&single, &column, &answers, 5).unwrap(), (None, 3));
        assert_eq!(worst_group(&single, &column, &[], 1).unwrap(), (None, 0));
    }
}
