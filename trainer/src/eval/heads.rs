//! What the heads of a method predict on a part of the data: loss, accuracy, confusion, and the error in units.

use dtrain_comm::{Collective, CollectiveExt};
use serde::Serialize;
use tch::{Device, Kind, Tensor};

use super::{Baselines, Evaluation, Reading};
use crate::data::Dataset;
use crate::engine::Engine;
use crate::error::TrainError;
use crate::method::{HeadTask, Targets};

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
}

/// Sums of one head, which add up over batches and ranks.
struct Sums {
    loss: f64,
    error: f64,
    /// `[K, K]`.
    confusion: Vec<f64>,
}

/// Asks every head about this rank's share of `ids`, and adds the answers of all ranks up. Nothing where the method has
/// no heads. The samples that could not be read come second.
pub fn evaluate_heads(
    engine: &Engine,
    reading: &Reading,
    dataset: &Dataset,
    ids: &[u32],
) -> Result<(Vec<HeadResult>, Vec<String>), TrainError> {
    let tasks = engine.method().heads().to_vec();
    if tasks.is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    let mut sums: Vec<Sums> = tasks
        .iter()
        .map(|task| Sums {
            loss: 0.0,
            error: 0.0,
            confusion: vec![0.0; (task.num_classes * task.num_classes) as usize],
        })
        .collect();
    let left_out = reading.each(engine, ids, |batch, inputs| {
        let sample_ids: Vec<i64> = batch.kept_ids().map(i64::from).collect();
        let targets = Targets {
            positions: (0..).take(sample_ids.len()).collect(),
            global_samples: sample_ids.len() as u64,
            labels: dataset.classes_of(batch),
            sample_ids,
            ..Targets::default()
        };
        let readings = engine.read_heads(&inputs, &targets)?;
        for (((reading, task), sums), truth) in
            readings.iter().zip(&tasks).zip(&mut sums).zip(&targets.labels)
        {
            let numbers = |tensor: &Tensor| -> Result<Vec<f64>, TrainError> {
                Ok(Vec::try_from(tensor.f_to_device(Device::Cpu)?.f_to_kind(Kind::Double)?.f_view(-1)?)?)
            };
            sums.loss += reading.loss.f_double_value(&[])?;
            sums.add(task, truth, &numbers(&reading.classes)?, &numbers(&reading.values)?);
        }
        Ok(())
    })?;
    add_up(&**engine.collective(), &mut sums)?;
    let weights = engine.method().loss_weights();
    let results = tasks.iter().zip(sums).zip(weights).map(|((task, sums), weight)| {
        let classes = dataset.label(&task.name).map_or_else(Vec::new, |label| label.classes.clone());
        sums.conclude(task, classes, weight)
    });
    Ok((results.collect(), left_out))
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
        HeadResult {
            name: task.name.clone(),
            classes,
            total: total as u64,
            loss: self.loss / total,
            accuracy: right / total,
            mean_error: (!task.values.is_empty()).then_some(self.error / total),
            span: task.span(),
            chance,
            majority,
            weight,
            confusion: self.confusion.into_iter().map(|count| count as u64).collect(),
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
    /// Adds what heads predicted: `{part}/{head}_acc`, `_loss`, `_chance`, `_majority`, and `_mae` in units; of one head
    /// alone without its name. `{part}/loss` is the weighted sum and `{part}/acc` the weighted mean.
    pub fn add_heads(&mut self, heads: Vec<HeadResult>) {
        let part = self.part.clone();
        let alone = heads.len() == 1;
        let weight: f64 = heads.iter().map(|head| head.weight).sum();
        let weighed = |value: fn(&HeadResult) -> f64| {
            heads.iter().filter(|head| head.weight > 0.0).map(|head| head.weight * value(head)).sum::<f64>()
        };
        let mut add = |name: &str, value: f64| self.metrics.insert(format!("{part}/{name}"), value);
        if !heads.is_empty() {
            add("loss", weighed(|head| head.loss));
            add("acc", weighed(|head| head.accuracy) / weight);
        }
        for head in &heads {
            let prefix = if alone { String::new() } else { format!("{}_", head.name) };
            if !alone {
                add(&format!("{prefix}acc"), head.accuracy);
                add(&format!("{prefix}loss"), head.loss);
            }
            add(&format!("{prefix}chance"), head.chance);
            add(&format!("{prefix}majority"), head.majority);
            if let Some(error) = head.mean_error {
                add(&format!("{prefix}mae"), error);
            }
        }
        self.heads = heads;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(values: &[f64]) -> HeadTask {
        HeadTask { name: "note".into(), num_classes: 3, values: values.to_vec() }
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
        several.add_heads(vec![head("a", 0.5, 1.0), head("b", 1.0, 3.0), head("off", 0.0, 0.0)]);
        assert!((several.metrics["val/acc"] - 0.875).abs() < 1e-12);
        assert!((several.metrics["val/loss"] - 8.0).abs() < 1e-12);
        assert_eq!(several.metrics["val/a_acc"], 0.5);
        assert_eq!(several.metrics["val/off_acc"], 0.0);
        assert!(!several.metrics.contains_key("val/a_mae"));
        let mut alone = Evaluation { part: "test".into(), ..Evaluation::default() };
        alone.add_heads(vec![head("a", 0.5, 0.5)]);
        let names: Vec<&str> = alone.metrics.keys().map(String::as_str).collect();
        assert_eq!(names, ["test/acc", "test/chance", "test/loss", "test/majority"]);
        assert_eq!(alone.metrics["test/acc"], 0.5);
    }
}
