//! How well anomalies are told from normal samples of the same class: by how badly a view is decoded, by how far its latents lie
//! from their codes, and by how unlikely the head finds the class that it is known to have. Classes are looked at one by one, as
//! thresholds are set for one machine, and the figures of a part are means over them (DCASE 2020, task 2).

use std::collections::BTreeMap;

use dtrain_comm::CollectiveExt;
use dtrain_data::LabelColumn;

use super::area::Areas;
use super::evaluator::{Asks, Conclusion, Evaluator, Role, Seen, Subject};
use super::heads::numbers;
use super::{Evaluation, Thoroughness, names};
use crate::error::TrainError;

/// Scores of a sample, the higher the stranger: of the reconstruction error, the distance to the codes, and the head.
const SCORES: [&str; 3] = ["", "_distance", "_head"];

/// Scores of this rank's samples, where data have anomalies and the method codes views.
pub(super) struct Anomalies<'a> {
    is_anomaly: &'a [bool],
    target: Option<&'a LabelColumn>,
    scores: BTreeMap<u32, [f64; SCORES.len()]>,
}

impl<'a> Anomalies<'a> {
    pub(super) fn new(subject: &Subject<'a>) -> Self {
        let is_coded = subject.method.num_codes().is_some();
        Self {
            is_anomaly: if is_coded { &subject.dataset.anomalies } else { &[] },
            target: subject.dataset.label(subject.losses.columns.target),
            scores: BTreeMap::new(),
        }
    }

    fn class_of(&self, id: u32) -> Option<u32> {
        self.target.and_then(|label| label.of_sample.get(id as usize).copied().flatten())
    }

    fn is_anomaly(&self, id: u32) -> bool {
        self.is_anomaly.get(id as usize) == Some(&true)
    }

    /// Names of the classes that have anomalies, by number.
    fn classes(&self) -> BTreeMap<u32, String> {
        let ids = (0_u32..).zip(self.is_anomaly).filter(|(_, is_anomaly)| **is_anomaly).map(|(id, _)| id);
        let name = |class: u32| Some((class, self.target?.classes.get(class as usize)?.clone()));
        ids.filter_map(|id| self.class_of(id)).filter_map(name).collect()
    }

    fn names(&self, part: &str) -> Vec<String> {
        let label = self.target.map_or("class", |label| label.name.as_str());
        let mut names = Vec::new();
        for score in SCORES {
            for area in ["auc", "pauc", "pauc_of_task"] {
                names.push(names::of_part(part, &format!("{area}{score}")));
            }
        }
        for class in self.classes().values() {
            for area in ["auc", "pauc", "auc_margin"] {
                names.push(names::of_part(part, &format!("{label}_{class}_{area}")));
            }
        }
        names
    }
}

impl Evaluator for Anomalies<'_> {
    fn metrics(&self, part: &str, _: Thoroughness) -> Vec<String> {
        // Anomalies are test samples.
        if self.is_anomaly.is_empty() || part != "test" { Vec::new() } else { self.names(part) }
    }

    fn asks(&self, role: Role, _: Thoroughness) -> Asks {
        let wanted = !self.is_anomaly.is_empty() && role == Role::Examined;
        Asks { reconstruction: wanted, heads: wanted, ..Asks::default() }
    }

    fn see(&mut self, _: Role, seen: &Seen<'_>) -> Result<(), TrainError> {
        let Some(found) = seen.reconstruction else { return Ok(()) };
        let (errors, distances) = (numbers(&found.errors)?, numbers(&found.distances)?);
        let probabilities = seen.read.heads.first().and_then(|head| head.probabilities.as_ref());
        let probabilities = probabilities.map(numbers).transpose()?.unwrap_or_default();
        let width = probabilities.len() / errors.len().max(1);
        for (row, (id, (error, distance))) in
            seen.batch.kept_ids().zip(errors.into_iter().zip(distances)).enumerate()
        {
            let at = self.class_of(id).map(|class| row * width + class as usize);
            let likely = at.and_then(|at| probabilities.get(at)).copied().unwrap_or(0.0);
            self.scores.insert(id, [error, distance, -likely.max(f64::MIN_POSITIVE).ln()]);
        }
        Ok(())
    }

    fn conclude(
        &mut self,
        read: &Conclusion<'_>,
        evaluation: &mut Evaluation,
    ) -> Result<Vec<String>, TrainError> {
        let own = std::mem::take(&mut self.scores);
        let has_anomalies = read.ids.iter().any(|&id| self.is_anomaly(id));
        if !has_anomalies {
            return Ok(Vec::new());
        }
        // By sample of the part: whether it was read, and its scores.
        let mut all = vec![0.0; read.ids.len() * (SCORES.len() + 1)];
        for (row, id) in all.chunks_exact_mut(SCORES.len() + 1).zip(read.ids) {
            if let (Some(scores), Some((first, rest))) = (own.get(id), row.split_first_mut()) {
                *first = 1.0;
                rest.copy_from_slice(scores);
            }
        }
        read.engine.collective().sum_f64(&mut all)?;
        let label = self.target.map_or("class", |label| label.name.as_str()).to_owned();
        let part = evaluation.part.clone();
        let mut add =
            |name: String, value: f64| evaluation.metrics.insert(names::of_part(&part, &name), value);
        for (index, score) in SCORES.into_iter().enumerate() {
            let mut of_classes = Vec::new();
            for (class, class_name) in self.classes() {
                let [mut normal, mut anomalous] = [Vec::new(), Vec::new()];
                for (row, &id) in all.chunks_exact(SCORES.len() + 1).zip(read.ids) {
                    if row.first() == Some(&1.0) && self.class_of(id) == Some(class) {
                        let of_kind = if self.is_anomaly(id) { &mut anomalous } else { &mut normal };
                        of_kind.extend(row.get(index + 1));
                    }
                }
                let Some(areas) = Areas::of(&normal, &anomalous) else { continue };
                if score.is_empty() {
                    add(format!("{label}_{class_name}_auc"), areas.auc);
                    add(format!("{label}_{class_name}_pauc"), areas.pauc);
                    add(format!("{label}_{class_name}_auc_margin"), areas.margin);
                }
                of_classes.push(areas);
            }
            for (area, of) in
                [("auc", auc as fn(&Areas) -> Option<f64>), ("pauc", pauc), ("pauc_of_task", of_task)]
            {
                let values: Option<Vec<f64>> = of_classes.iter().map(of).collect();
                if let Some(values) = values.filter(|values| !values.is_empty()) {
                    add(format!("{area}{score}"), values.iter().sum::<f64>() / values.len() as f64);
                }
            }
        }
        Ok(Vec::new())
    }
}

fn auc(areas: &Areas) -> Option<f64> {
    Some(areas.auc)
}

fn pauc(areas: &Areas) -> Option<f64> {
    Some(areas.pauc)
}

fn of_task(areas: &Areas) -> Option<f64> {
    areas.pauc_of_task
}
