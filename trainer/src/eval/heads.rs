//! What the classifiers of a method predict on a part of the data: loss, accuracy, confusion, what that says about each
//! class, and the error in units.

use dtrain_comm::{Collective, CollectiveExt};
use dtrain_data::Dataset;
use serde::Serialize;
use tch::{Device, Kind, TchError, Tensor};

use super::classes::{ClassResult, MacroAverages, macro_averages, per_class};
use super::{Baselines, ClassHits, Evaluation, Hits, Interval, Probe, Protocol, Row, names};
use crate::batch::Batch;
use crate::error::TrainError;
use crate::method::{HeadReading, HeadTask, Targets};

/// What one head predicted; the same on all ranks.
#[derive(Debug, Clone, Serialize)]
pub struct HeadResult {
    /// The label.
    pub name: String,
    /// Names of its classes.
    pub classes: Vec<String>,
    /// Samples that have the label.
    pub total: u64,
    /// Mean loss.
    pub loss: f64,
    /// Share of right answers.
    pub accuracy: f64,
    /// How far off it may be at 95 % confidence; `None` without samples.
    pub interval: Option<Interval>,
    /// The same on the training part, as evaluation sees it; `None` where that was not asked for.
    pub train_accuracy: Option<f64>,
    /// Mean distance of the predicted value from the true one, in the label's units; `None` where classes have no values.
    pub mean_error: Option<f64>,
    /// Largest less smallest value of the label.
    pub span: Option<f64>,
    /// One over the number of classes that occur.
    pub chance: f64,
    /// Always the most frequent class.
    pub majority: f64,
    /// Factor on the loss, and weight in the mean accuracy.
    pub weight: f64,
    /// `[K, K]` row-major: samples by true class (row) and predicted class (column).
    pub confusion: Vec<u64>,
    /// Precision, recall and F1 of each class.
    pub per_class: Vec<ClassResult>,
    /// Their means over classes.
    pub macro_averages: MacroAverages,
}

impl HeadResult {
    /// A head of which nothing but its confusion is known, as if each wrong answer had cost nothing.
    pub fn of_confusion(name: &str, classes: Vec<String>, confusion: &[u64]) -> Self {
        let task =
            HeadTask { name: name.to_owned(), num_classes: classes.len() as i64, ..HeadTask::default() };
        let confusion = confusion.iter().map(|&count| count as f64).collect();
        Sums { loss: 0.0, error: 0.0, confusion }.conclude(&task, classes, 1.0)
    }
}

impl HeadResult {
    /// Right answers on each class that occurs.
    fn hits_by_class(&self) -> Vec<ClassHits> {
        let right = self.confusion.iter().step_by(self.per_class.len() + 1);
        let of_class = |(class, &correct): (&ClassResult, &u64)| ClassHits {
            class: class.name.clone(),
            hits: Hits { correct, total: class.samples },
        };
        self.per_class.iter().zip(right).map(of_class).filter(|class| class.hits.total > 0).collect()
    }
}

/// What the heads said of this rank's samples, which adds up over batches and ranks.
pub(super) struct HeadSums {
    tasks: Vec<HeadTask>,
    sums: Vec<Sums>,
}

struct Sums {
    loss: f64,
    error: f64,
    /// `[K, K]`.
    confusion: Vec<f64>,
}

impl HeadSums {
    /// Before the first batch.
    pub fn of(tasks: &[HeadTask]) -> Self {
        let sums = |task: &HeadTask| Sums {
            loss: 0.0,
            error: 0.0,
            confusion: vec![0.0; (task.num_classes * task.num_classes) as usize],
        };
        Self { tasks: tasks.to_vec(), sums: tasks.iter().map(sums).collect() }
    }

    /// Adds what was said of a batch.
    ///
    /// # Shapes
    /// `labels`: `[head][n]`; -1 without a label.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn add(&mut self, readings: &[HeadReading], targets: &Targets) -> Result<(), TrainError> {
        for ((reading, task), sums) in readings.iter().zip(&self.tasks).zip(&mut self.sums) {
            sums.loss += reading.loss.f_double_value(&[])?;
            sums.add(task, targets.label(task), &numbers(&reading.classes)?, &numbers(&reading.values)?);
        }
        Ok(())
    }

    /// The results over all ranks, the same on each; `weights` are those of the heads.
    ///
    /// # Errors
    /// When the ranks cannot talk.
    pub fn conclude(
        mut self,
        collective: &dyn Collective,
        dataset: &Dataset,
        weights: &[f64],
    ) -> Result<Vec<HeadResult>, TrainError> {
        if self.tasks.is_empty() {
            return Ok(Vec::new());
        }
        add_up(collective, &mut self.sums)?;
        let results = self.tasks.iter().zip(self.sums).zip(weights).map(|((task, sums), &weight)| {
            let classes = dataset.label(&task.name).map_or_else(Vec::new, |label| label.classes.clone());
            sums.conclude(task, classes, weight)
        });
        Ok(results.collect())
    }
}

/// What `heads` are asked about the samples that are present in a batch.
pub(super) fn targets(dataset: &Dataset, batch: &Batch, heads: &[HeadTask]) -> Result<Targets, TchError> {
    let labels = dataset.classes_named(batch, heads.iter().map(|head| head.name.as_str()));
    let sample_ids: Vec<i64> = batch.kept_ids().map(i64::from).collect();
    let num_samples = sample_ids.len() as u64;
    Targets::new(sample_ids, num_samples)?.with_labels(heads, labels)
}

/// A tensor's elements on the host.
pub(super) fn numbers(tensor: &Tensor) -> Result<Vec<f64>, TrainError> {
    Ok(Vec::try_from(tensor.f_to_device(Device::Cpu)?.f_to_kind(Kind::Double)?.f_view(-1)?)?)
}

impl Sums {
    fn add(&mut self, task: &HeadTask, truth: &[i64], predicted: &[f64], values: &[f64]) {
        for ((&class, &guess), &value) in truth.iter().zip(predicted).zip(values) {
            let cell = class * task.num_classes + guess as i64;
            let Some(count) = usize::try_from(class).ok().and_then(|_| self.confusion.get_mut(cell as usize))
            else {
                continue;
            };
            *count += 1.0;
            if let Some(true_value) = task.values.get(class as usize) {
                self.error += (value - true_value).abs();
            }
        }
    }

    fn conclude(self, task: &HeadTask, classes: Vec<String>, weight: f64) -> HeadResult {
        let num_classes = task.num_classes as usize;
        let rows: Vec<f64> =
            self.confusion.chunks(num_classes.max(1)).map(|row| row.iter().sum::<f64>()).collect();
        let total: f64 = rows.iter().sum();
        let right: f64 = self.confusion.iter().step_by(num_classes + 1).sum();
        let Baselines { chance, majority } = Baselines::of(&rows);
        let confusion: Vec<u64> = self.confusion.into_iter().map(|count| count as u64).collect();
        let per_class = per_class(&confusion, &classes);
        HeadResult {
            name: task.name.clone(),
            classes,
            total: total as u64,
            loss: self.loss / total,
            accuracy: right / total,
            interval: Interval::of_accuracy(right / total, total as u64),
            train_accuracy: None,
            mean_error: (!task.values.is_empty()).then_some(self.error / total),
            span: task.span(),
            chance,
            majority,
            weight,
            confusion,
            macro_averages: macro_averages(&per_class),
            per_class,
        }
    }
}

fn add_up(collective: &dyn Collective, sums: &mut [Sums]) -> Result<(), TrainError> {
    let mut flat: Vec<f64> = Vec::new();
    for head in sums.iter() {
        flat.extend([head.loss, head.error]);
        flat.extend(&head.confusion);
    }
    collective.sum_f64(&mut flat)?;
    let mut all = flat.into_iter();
    for head in sums {
        (head.loss, head.error) = (all.next().unwrap_or(0.0), all.next().unwrap_or(0.0));
        for (count, sum) in head.confusion.iter_mut().zip(all.by_ref()) {
            *count = sum;
        }
    }
    Ok(())
}

impl Evaluation {
    /// Adds what heads predicted: `{part}/{head}_acc`, `_loss`, `_chance`, `_majority`, the macro averages, and `_mae` in
    /// units; of one head alone without its name. `{part}/loss` is the weighted sum and `{part}/acc` the weighted mean.
    /// `train`: what they predicted on the training part, where that was read too. A label that probes ask for too gets a
    /// row in their table.
    pub fn add_heads(&mut self, mut heads: Vec<HeadResult>, train: &[HeadResult]) {
        let part = self.part.clone();
        let alone = heads.len() == 1;
        for (head, on_train) in heads.iter_mut().zip(train) {
            head.train_accuracy = Some(on_train.accuracy);
        }
        if !heads.is_empty() {
            let all = [heads.iter().map(|head| head.loss).collect(), accuracies(&heads)];
            let weights: Vec<f64> = heads.iter().map(|head| head.weight).collect();
            let [loss, accuracy] = all.map(|values: Vec<f64>| weighted_sum(&weights, &values));
            let weight: f64 = weights.iter().sum();
            self.metrics.insert(format!("{part}/loss"), loss);
            self.metrics.insert(format!("{part}/acc"), accuracy / weight);
            if !train.is_empty() {
                let on_train = weighted_sum(&weights, &accuracies(train)) / weight;
                self.metrics.insert(names::of_train_accuracy(None), on_train);
            }
        }
        for head in &heads {
            let name = (!alone).then_some(head.name.as_str());
            let prefix = format!("{part}/{}", names::prefix(name));
            let mut add = |name: &str, value: f64| self.metrics.insert(format!("{prefix}{name}"), value);
            if !alone {
                add("acc", head.accuracy);
                add("loss", head.loss);
            }
            add("chance", head.chance);
            add("majority", head.majority);
            let MacroAverages { precision, recall, f1 } = head.macro_averages;
            add("macro_precision", precision);
            add("macro_recall", recall);
            add("macro_f1", f1);
            let occurring = head.per_class.iter().filter(|class| class.samples > 0);
            add("worst_recall", occurring.map(|class| class.recall).fold(f64::INFINITY, f64::min).min(1.0));
            if let Some(error) = head.mean_error {
                add("mae", error);
            }
            if let Some(accuracy) = head.train_accuracy.filter(|_| !alone) {
                self.metrics.insert(names::of_train_accuracy(name), accuracy);
            }
        }
        heads.iter().for_each(|head| self.add_row(head));
        self.heads = heads;
    }

    /// Beside the probes of its label.
    fn add_row(&mut self, head: &HeadResult) {
        let Some(last) = self.rows.iter().rposition(|row| row.label == head.name) else { return };
        let asked = self.rows.get(last).is_some_and(|row| !row.by_class.is_empty());
        let row = Row {
            label: head.name.clone(),
            probe: Probe::Classifier,
            setting: None,
            beside: Vec::new(),
            protocol: Protocol::Transfer,
            train: head.train_accuracy,
            accuracy: head.accuracy,
            baselines: Baselines { chance: head.chance, majority: head.majority },
            total: head.total,
            by_class: if asked { head.hits_by_class() } else { Vec::new() },
        };
        self.rows.insert(last + 1, row);
    }
}

fn accuracies(heads: &[HeadResult]) -> Vec<f64> {
    heads.iter().map(|head| head.accuracy).collect()
}

/// Heads of weight 0 take no part, were their values not even numbers.
fn weighted_sum(weights: &[f64], values: &[f64]) -> f64 {
    let weighted = weights.iter().zip(values).filter(|(weight, _)| **weight > 0.0);
    weighted.map(|(weight, value)| weight * value).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(values: &[f64]) -> HeadTask {
        HeadTask { name: "note".into(), num_classes: 3, values: values.to_vec(), ..HeadTask::default() }
    }

    fn none() -> Sums {
        Sums { loss: 0.0, error: 0.0, confusion: vec![0.0; 9] }
    }

    #[test]
    fn answers_are_counted_by_truth_and_errors_are_in_units() {
        let task = task(&[10.0, 20.0, 40.0]);
        let mut sums = none();
        // A sample without the label takes no part.
        sums.add(&task, &[0, 2, 2, -1, 1], &[0.0, 2.0, 1.0, 0.0, 1.0], &[10.0, 40.0, 25.0, 10.0, 20.0]);
        sums.loss = 8.0;
        let head = sums.conclude(&task, Vec::new(), 1.0);
        assert_eq!(head.confusion, [1, 0, 0, 0, 1, 0, 0, 1, 1]);
        assert_eq!((head.total, head.accuracy, head.loss), (4, 0.75, 2.0));
        assert_eq!((head.mean_error, head.span), (Some(15.0 / 4.0), Some(30.0)));
        assert_eq!((head.chance, head.majority), (1.0 / 3.0, 0.5));
    }

    #[test]
    fn the_mean_goes_by_weight_and_a_head_alone_has_no_name() {
        let head = |name: &str, accuracy: f64, weight: f64| {
            let mut sums = none();
            sums.confusion[0] = 100.0 * accuracy;
            sums.confusion[1] = 100.0 * (1.0 - accuracy);
            sums.loss = 200.0;
            let task = HeadTask { name: name.into(), ..task(&[]) };
            sums.conclude(&task, Vec::new(), weight)
        };
        let mut several = Evaluation { part: "val".into(), ..Evaluation::default() };
        several.add_heads(vec![head("a", 0.5, 1.0), head("b", 1.0, 3.0), head("off", 0.0, 0.0)], &[]);
        assert!((several.metrics["val/acc"] - 0.875).abs() < 1e-12);
        assert!((several.metrics["val/loss"] - 8.0).abs() < 1e-12);
        assert_eq!(several.metrics["val/a_acc"], 0.5);
        assert_eq!(several.metrics["val/off_acc"], 0.0);
        assert!(!several.metrics.contains_key("val/a_mae"));
        let mut alone = Evaluation { part: "test".into(), ..Evaluation::default() };
        alone.rows.push(Row {
            label: "a".into(),
            probe: Probe::Knn,
            setting: None,
            beside: Vec::new(),
            by_class: Vec::new(),
            protocol: Protocol::Transfer,
            train: None,
            accuracy: 0.25,
            baselines: Baselines { chance: 0.5, majority: 0.5 },
            total: 100,
        });
        alone.add_heads(vec![head("a", 0.5, 0.5)], &[head("a", 0.75, 0.5)]);
        let mut names: Vec<&str> = alone.metrics.keys().map(String::as_str).collect();
        let task = HeadTask { name: "a".into(), ..task(&[]) };
        assert_eq!(
            alone.rows.iter().map(|row| row.probe).collect::<Vec<_>>(),
            [Probe::Knn, Probe::Classifier]
        );
        assert_eq!((alone.rows[1].train, alone.metrics["train/eval_acc"]), (Some(0.75), 0.75));
        let mut promised = names::of_heads("test", &[task], true);
        names.sort_unstable();
        promised.sort();
        assert_eq!(names, promised);
        assert_eq!(alone.metrics["test/acc"], 0.5);
    }
}
