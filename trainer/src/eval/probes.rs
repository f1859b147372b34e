//! Probes on frozen embeddings: which labels can be read off them, by nearest neighbours and by logistic regression.

use dtrain_configs::schema::EvalConfig;
use dtrain_data::LabelColumn;

use super::evaluator::{Asks, Conclusion, Evaluator, Role, Subject};
use super::knn::{self, Hits};
use super::linear::LinearProbe;
use super::protocol::{self, Protocol};
use super::{Evaluation, Probe, Row, Thoroughness, names};
use crate::error::TrainError;

/// Asks for every label of interest, the target first.
pub(super) struct Probes<'a> {
    labels: Vec<&'a LabelColumn>,
    config: &'a EvalConfig,
}

impl<'a> Probes<'a> {
    pub(super) fn new(subject: &Subject<'a>) -> Self {
        Self { labels: subject.labels.clone(), config: subject.config }
    }
}

impl Evaluator for Probes<'_> {
    fn metrics(&self, part: &str, thoroughness: Thoroughness) -> Vec<String> {
        if !self.config.embeddings {
            return Vec::new();
        }
        let labels: Vec<&str> = self.labels.iter().map(|label| label.name.as_str()).collect();
        names::of_probes(part, &labels, thoroughness)
    }

    fn asks(&self, _: Role, _: Thoroughness) -> Asks {
        Asks { embeddings: self.config.embeddings, ..Asks::default() }
    }

    fn conclude(
        &mut self,
        read: &Conclusion<'_>,
        evaluation: &mut Evaluation,
    ) -> Result<Vec<String>, TrainError> {
        if self.config.embeddings {
            for (index, label) in self.labels.iter().enumerate() {
                self.ask(label, index == 0, read, evaluation)?;
            }
        }
        Ok(Vec::new())
    }
}

impl Probes<'_> {
    fn ask(
        &self,
        label: &LabelColumn,
        is_target: bool,
        read: &Conclusion<'_>,
        evaluation: &mut Evaluation,
    ) -> Result<(), TrainError> {
        let (config, thoroughness) = (self.config, read.thoroughness);
        let collective = &**read.engine.collective();
        let train = read.train.labelled(label)?;
        let queries = read.part.labelled(label)?;
        let counts =
            protocol::count_classes(collective, &train.classes, &queries.classes, label.classes.len())?;
        let baselines = counts.baselines();
        let mut add = |probe: Probe, protocol: Protocol, train: Option<Hits>, hits: Hits| {
            let row = Row {
                label: label.name.clone(),
                probe,
                protocol,
                train: train.map(|h| h.accuracy()),
                accuracy: hits.accuracy(),
                baselines,
                total: hits.total,
            };
            evaluation.add(row, is_target);
        };
        let num_classes = label.classes.len();
        match counts.protocol() {
            Protocol::Transfer => {
                let hits = knn::classify(collective, &train, &queries, num_classes, &config.knn)?;
                let on_train = thoroughness
                    .train
                    .then(|| knn::classify(collective, &train, &train, num_classes, &config.knn))
                    .transpose()?;
                add(Probe::Knn, Protocol::Transfer, on_train, hits);
                if thoroughness.linear {
                    let probe = LinearProbe::fit(collective, &train, num_classes, &config.linear)?;
                    let on_train = thoroughness.train.then(|| probe.score(collective, &train)).transpose()?;
                    add(Probe::Linear, Protocol::Transfer, on_train, probe.score(collective, &queries)?);
                }
            }
            Protocol::WithinPart => {
                let hits = knn::classify(collective, &queries, &queries, num_classes, &config.knn)?;
                add(Probe::Knn, Protocol::WithinPart, None, hits);
                if thoroughness.linear {
                    let (fit, ask) = protocol::halves(collective, &queries)?;
                    let probe = LinearProbe::fit(collective, &fit, num_classes, &config.linear)?;
                    let on_train = thoroughness.train.then(|| probe.score(collective, &fit)).transpose()?;
                    add(Probe::Linear, Protocol::WithinPart, on_train, probe.score(collective, &ask)?);
                }
            }
        }
        Ok(())
    }
}

impl Evaluation {
    /// Adds a line of the table under the names of [`names`]; `train/...` beside it where it was asked.
    fn add(&mut self, row: Row, is_target: bool) {
        let label = (!is_target).then_some(row.label.as_str());
        self.metrics.insert(names::of_probe(&self.part, label, row.probe), row.accuracy);
        if let Some(train) = row.train {
            self.metrics.insert(names::of_probe("train", label, row.probe), train);
        }
        self.metrics.insert(names::of_chance(&self.part, label), row.baselines.chance);
        self.rows.push(row);
    }
}
