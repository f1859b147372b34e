//! What a network predicts for samples, one by one, whether their labels are known or not.

use dtrain_data::columns::NONE;

use super::Reading;
use super::heads::numbers;
use crate::engine::Engine;
use crate::error::TrainError;
use crate::method::Targets;

/// What the heads say of one sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// The sample.
    pub id: u32,
    /// One answer for each of the method's heads.
    pub heads: Vec<Answer>,
}

/// What one head says of a sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Predicted class.
    pub class: usize,
    /// Predicted value in the label's units, or the class where classes have none.
    pub value: f64,
    /// Probability of each class; empty where the head tells a value and no probabilities.
    pub probabilities: Vec<f64>,
}

/// Hands the predictions of this rank's share of `ids` to `each`, in their order. Returns the samples of any rank's share
/// that could not be read, with their reasons.
///
/// # Errors
/// When memory runs out or the ranks cannot talk.
pub fn predict(
    engine: &Engine,
    reading: &Reading,
    ids: &[u32],
    mut each: impl FnMut(Prediction) -> Result<(), TrainError>,
) -> Result<Vec<String>, TrainError> {
    let tasks = engine.method().heads();
    reading.each(engine, "predicting", ids, |batch, inputs| {
        let kept: Vec<u32> = batch.kept_ids().collect();
        let targets = Targets::new(kept.iter().map(|&id| id.into()).collect(), kept.len() as u64)?
            .with_labels(tasks, vec![vec![NONE; kept.len()]; tasks.len()])?;
        let mut heads = Vec::with_capacity(tasks.len());
        for reading in engine.read(inputs, &targets, true)?.heads {
            let probabilities = reading.probabilities.as_ref().map(numbers).transpose()?.unwrap_or_default();
            heads.push((numbers(&reading.classes)?, numbers(&reading.values)?, probabilities));
        }
        for (row, &id) in kept.iter().enumerate() {
            let answer = |(classes, values, probabilities): &(Vec<f64>, Vec<f64>, Vec<f64>)| {
                let width = probabilities.len() / kept.len();
                Answer {
                    class: classes.get(row).copied().unwrap_or(0.0) as usize,
                    value: values.get(row).copied().unwrap_or(0.0),
                    probabilities: probabilities.iter().skip(row * width).take(width).copied().collect(),
                }
            };
            each(Prediction { id, heads: heads.iter().map(answer).collect() })?;
        }
        Ok(())
    })
}
