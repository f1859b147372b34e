//! What a confusion matrix says about each class, in the conventions of scikit-learn's `classification_report`: what would
//! divide by zero is 0, and averages are over the classes that occur or are predicted.

use serde::Serialize;

/// One class of a head.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassResult {
    /// Its name.
    pub name: String,
    /// Samples of the class.
    pub samples: u64,
    /// Samples that were taken for it.
    pub predicted: u64,
    /// Share of the samples taken for the class that are of it.
    pub precision: f64,
    /// Share of the samples of the class that were taken for it.
    pub recall: f64,
    /// Harmonic mean of precision and recall.
    pub f1: f64,
}

/// Means over classes, each counting the same (macro averages).
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct MacroAverages {
    /// Of the precisions.
    pub precision: f64,
    /// Of the recalls, also known as balanced accuracy.
    pub recall: f64,
    /// Of the F1 scores.
    pub f1: f64,
}

/// Each class of a confusion matrix.
///
/// # Shapes
/// `confusion`: `[K, K]` row-major, true class first; `names`: K names, or none, and classes are numbered.
pub fn per_class(confusion: &[u64], names: &[String]) -> Vec<ClassResult> {
    let num_classes = confusion.len().isqrt();
    let mut predicted = vec![0; num_classes];
    for row in confusion.chunks(num_classes.max(1)) {
        for (sum, count) in predicted.iter_mut().zip(row) {
            *sum += count;
        }
    }
    let share = |part: u64, whole: u64| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
    let rows = confusion.chunks(num_classes.max(1)).zip(predicted).enumerate();
    let class = |(class, (row, predicted)): (usize, (&[u64], u64))| {
        let samples: u64 = row.iter().sum();
        let hits = row.get(class).copied().unwrap_or(0);
        ClassResult {
            name: names.get(class).cloned().unwrap_or_else(|| class.to_string()),
            samples,
            predicted,
            precision: share(hits, predicted),
            recall: share(hits, samples),
            f1: share(2 * hits, samples + predicted),
        }
    };
    rows.map(class).collect()
}

/// Means over the classes that occur or are predicted.
pub fn macro_averages(classes: &[ClassResult]) -> MacroAverages {
    let seen: Vec<&ClassResult> =
        classes.iter().filter(|class| class.samples > 0 || class.predicted > 0).collect();
    let mean = |value: fn(&ClassResult) -> f64| {
        seen.iter().map(|class| value(class)).sum::<f64>() / seen.len().max(1) as f64
    };
    MacroAverages {
        precision: mean(|class| class.precision),
        recall: mean(|class| class.recall),
        f1: mean(|class| class.f1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `sklearn.metrics.classification_report` of `[0]*4 + [1]*2 + [2]*3` against `[0,0,0,1, 1,1, 0,1,1]`, classes 0 to 3.
    #[test]
    fn figures_are_those_of_scikit_learn() {
        let confusion = [3, 1, 0, 0, 0, 2, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0];
        let names = ["koel", "rook", "wren", "lark"].map(str::to_owned);
        let classes = per_class(&confusion, &names);
        let figures: Vec<_> = classes
            .iter()
            .map(|class| (class.samples, class.predicted, class.precision, class.recall))
            .collect();
        assert_eq!(figures, [(4, 4, 0.75, 0.75), (2, 5, 0.4, 1.0), (3, 0, 0.0, 0.0), (0, 0, 0.0, 0.0)]);
        assert_eq!(classes[1].name, "rook");
        assert!((classes[1].f1 - 0.571_428_571).abs() < 1e-9);
        // The class that neither occurs nor is predicted is no part of the means.
        let MacroAverages { precision, recall, f1 } = macro_averages(&classes);
        assert!((precision - 1.15 / 3.0).abs() < 1e-12 && (recall - 1.75 / 3.0).abs() < 1e-12);
        assert!((f1 - (0.75 + 4.0 / 7.0) / 3.0).abs() < 1e-12);
    }

    #[test]
    fn nothing_gives_nothing_and_numbers_stand_for_names() {
        assert!(per_class(&[], &[]).is_empty());
        assert_eq!(macro_averages(&[]), MacroAverages::default());
        assert_eq!(per_class(&[0, 0, 1, 0], &[])[1].name, "1");
    }
}
