//! What is known of samples, as classes that a probe can be asked for: values of a table as they are, numbers cut into
//! quantiles of the training part.

use dtrain_data::LabelColumn;

use crate::track::ColumnSource;

/// Numbers are cut into so many parts of equal size.
const QUANTILES: usize = 5;

/// A column with a class for each sample.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Column {
    /// Its name and classes; those of measured samples are known of this rank's alone.
    pub(super) label: LabelColumn,
    pub(super) source: ColumnSource,
    /// Where numbers are cut, rising; empty where values are names.
    pub(super) cuts: Vec<f64>,
}

impl Column {
    /// A column of the table whose values are names.
    pub(super) fn of_names(label: &LabelColumn) -> Self {
        Self { label: label.clone(), source: ColumnSource::Table, cuts: Vec::new() }
    }

    /// A column of the table. Its values are numbers where all of them are and some have a fraction: whole numbers are taken for
    /// names, as of folds and speakers.
    pub(super) fn of_table(label: &LabelColumn, train: &[u32]) -> Self {
        let Some(numbers) = numbers(label).filter(|numbers| numbers.len() > QUANTILES) else {
            return Self::of_names(label);
        };
        let number = |sample: usize| {
            let class = label.of_sample.get(sample).copied().flatten()?;
            numbers.get(class as usize).copied()
        };
        let of_train = train.iter().filter_map(|&id| number(id as usize)).collect();
        let of_samples = (0u32..).take(label.of_sample.len()).map(|id| (id, number(id as usize)));
        let cut = Self::measured(&label.name, of_train, of_samples, label.of_sample.len());
        Self { source: ColumnSource::Table, ..cut }
    }

    /// Numbers, cut by those `of_train`; what is not a number has no class.
    pub(super) fn measured(
        name: &str,
        of_train: Vec<f64>,
        of_samples: impl Iterator<Item = (u32, Option<f64>)>,
        num_samples: usize,
    ) -> Self {
        let cuts = cuts(of_train);
        let mut of_sample = vec![None; num_samples];
        for (id, value) in of_samples {
            if let Some(class) = of_sample.get_mut(id as usize) {
                let value = value.filter(|value| !value.is_nan());
                *class = value.map(|value| cuts.partition_point(|cut| *cut <= value) as u32);
            }
        }
        let label =
            LabelColumn { name: name.to_owned(), classes: names(&cuts), values: Vec::new(), of_sample };
        Self { label, source: ColumnSource::Measured, cuts }
    }
}

fn numbers(label: &LabelColumn) -> Option<Vec<f64>> {
    let number = |class: &String| class.parse().ok().filter(|number: &f64| number.is_finite());
    let numbers: Vec<f64> = label.classes.iter().map(number).collect::<Option<_>>()?;
    numbers.iter().any(|number| number.fract() != 0.0).then_some(numbers)
}

/// The values that the upper parts begin with; of equal ones one, and none that nothing lies below.
fn cuts(mut values: Vec<f64>) -> Vec<f64> {
    values.retain(|value| !value.is_nan());
    values.sort_by(f64::total_cmp);
    let first_of = |part: usize| values.get(part * values.len() / QUANTILES).copied();
    let mut cuts: Vec<f64> = (1..QUANTILES).filter_map(first_of).collect();
    cuts.dedup();
    cuts.retain(|cut| values.first().is_some_and(|least| least < cut));
    cuts
}

/// Of the parts between the cuts.
fn names(cuts: &[f64]) -> Vec<String> {
    let number = |value: &f64| (value * 1000.0).round() / 1000.0;
    let (Some(first), Some(last)) = (cuts.first(), cuts.last()) else { return vec!["all".into()] };
    let between = cuts.windows(2).filter_map(|pair| match pair {
        [low, high] => Some(format!("{} to {}", number(low), number(high))),
        _ => None,
    });
    let below = std::iter::once(format!("below {}", number(first)));
    below.chain(between).chain([format!("from {}", number(last))]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(classes: &[&str], of_sample: &[Option<u32>]) -> LabelColumn {
        let classes = classes.iter().map(|&class| class.to_owned()).collect();
        LabelColumn { name: "c".into(), classes, values: Vec::new(), of_sample: of_sample.to_vec() }
    }

    #[test]
    fn fifths_of_the_training_part_have_equal_shares() {
        // 0 to 49 in some order, and a part beyond them.
        let train: Vec<f64> = (0..50).map(|i| f64::from(i * 27 % 50)).collect();
        let samples = (0..60u32).map(|id| (id, Some(f64::from(id))));
        let column = Column::measured("x", train, samples, 61);
        assert_eq!(column.cuts, [10.0, 20.0, 30.0, 40.0]);
        let of_train: Vec<u32> = (0..50).collect();
        assert_eq!(column.label.counts(&of_train), [10; 5]);
        assert_eq!((column.label.of_sample[59], column.label.of_sample[60]), (Some(4), None));
        assert_eq!(column.label.classes, ["below 10", "10 to 20", "20 to 30", "30 to 40", "from 40"]);
    }

    #[test]
    fn repeated_values_fall_into_one_part_and_one_value_is_one_class() {
        let with_zeros: Vec<f64> = [vec![0.0; 30], vec![0.25, 0.5, 0.5, 1.0]].concat();
        let samples = [(0, Some(0.0)), (1, Some(0.3)), (2, Some(f64::NAN)), (3, None)].into_iter();
        let column = Column::measured("padding", with_zeros, samples, 4);
        // Four fifths are zeros, and a cut at zero has nothing below it.
        assert_eq!(column.cuts, Vec::<f64>::new());
        assert_eq!(column.label.of_sample, [Some(0), Some(0), None, None]);
        let column = Column::measured("x", vec![1.0, 1.0, 1.0, 2.0, 2.0], [(0, Some(1.5))].into_iter(), 1);
        assert_eq!((column.cuts, column.label.classes), (vec![2.0], vec!["below 2".into(), "from 2".into()]));
    }

    #[test]
    fn a_table_has_numbers_where_all_are_and_some_have_fractions() {
        let of = |classes: &[&str]| {
            let of_sample: Vec<Option<u32>> = (0..12).map(|i| Some(i % classes.len() as u32)).collect();
            let train: Vec<u32> = (0..12).collect();
            Column::of_table(&label(classes, &of_sample), &train).cuts.len()
        };
        assert_eq!(of(&["1.5", "2", "3", "4", "5", "6"]), 4);
        assert_eq!(of(&["1", "2", "3", "4", "5", "6"]), 0, "whole numbers are names");
        assert_eq!(of(&["1.5", "2", "3", "4", "5", "six"]), 0);
        assert_eq!(of(&["1.5", "2.5"]), 0, "few are values as they are");
        let names = label(&["a", "b"], &[Some(1), None]);
        assert_eq!(Column::of_table(&names, &[0]).label, names);
    }
}
