//! The audit for shortcuts: what else than the class can be read off the embedding, and whether the class is known as well among
//! the samples that share a value. Asked of every column of the data's table and of what can be measured of a sample, in an
//! evaluation in full, about the part that is reported on.
//!
//! A column is known by how far an accuracy is on the way from chance to 1, (a - c) / (1 - c), so that columns of few and of many
//! values compare. Chance c is the share of the most frequent value among the samples that answer. A column that stands above
//! the class is what the embedding is about; that it is known at all need be no harm, as long as no group pays for it. The
//! latter is the worst-group accuracy of Sagawa et al. 2020, "Distributionally robust neural networks for group shifts", one
//! column at a time.

mod column;
mod groups;
mod known;

use dtrain_comm::CollectiveExt;
use dtrain_configs::schema::{AuditConfig, EvalConfig};
use dtrain_data::{Dataset, LabelColumn, Views, measure};
use tch::{Kind, Tensor};

use super::evaluator::{Asks, Conclusion, Evaluator, Role, Subject};
use super::{Embeddings, Evaluation, Thoroughness};
use crate::engine::gather_rows;
use crate::error::TrainError;
use crate::track::{Audit, LeftOut};
use column::Column;
use groups::{ClassAnswer, worst_group};
use known::{Finding, Question, ask};

/// Audits the part that is reported on.
pub(super) struct ShortcutAudit<'a> {
    config: &'a EvalConfig,
    dataset: &'a Dataset,
    target: &'a str,
    recording: Option<&'a str>,
}

/// What an audit can ask for: columns of the table, the labels first, then measures of the samples.
pub fn audit_columns(dataset: &Dataset, maker: &dyn Views) -> Vec<String> {
    let of_table = table_columns(dataset).map(|label| label.name.clone());
    let mut names: Vec<String> = of_table.collect();
    let measured = maker.measures().iter().filter(|name| !names.iter().any(|known| known == *name));
    let measured: Vec<String> = measured.map(|&name| name.to_owned()).collect();
    names.extend(measured);
    names
}

fn table_columns(dataset: &Dataset) -> impl Iterator<Item = &LabelColumn> {
    dataset.labels.iter().chain(&dataset.set_aside)
}

impl<'a> ShortcutAudit<'a> {
    pub(super) fn new(subject: &Subject<'a>) -> Self {
        let columns = subject.losses.columns;
        Self {
            config: subject.config,
            dataset: subject.dataset,
            target: columns.target,
            recording: columns.recording,
        }
    }

    fn config(&self) -> &'a AuditConfig {
        &self.config.audit
    }

    fn asks_in(&self, thoroughness: Thoroughness) -> bool {
        self.config().enabled && self.config.embeddings && thoroughness.train
    }

    fn is_asked(&self, name: &str) -> bool {
        let columns = &self.config().columns;
        columns.is_empty() || name == self.target || columns.iter().any(|column| column == name)
    }

    /// The columns of the table; numbers are cut into quantiles unless they are names of what is learned or heard.
    fn of_table(&self) -> Vec<Column> {
        let is_name = |name: &str| name == self.target || Some(name) == self.recording;
        let column = |label: &LabelColumn| match is_name(&label.name) {
            true => Column::of_names(label),
            false => Column::of_table(label, &self.dataset.train),
        };
        table_columns(self.dataset).filter(|label| self.is_asked(&label.name)).map(column).collect()
    }

    /// What is measured of the samples that this rank has embedded, cut into quantiles of the training part of all ranks.
    fn measured(&self, read: &Conclusion<'_>) -> Result<Vec<Column>, TrainError> {
        let maker = &read.reading.maker;
        let is_wanted =
            |name: &str| self.is_asked(name) && !table_columns(self.dataset).any(|label| label.name == name);
        let wanted: Vec<(usize, &str)> =
            maker.measures().iter().copied().enumerate().filter(|(_, name)| is_wanted(name)).collect();
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let values_of = |embeddings: &Embeddings| -> Result<Vec<Option<Vec<f64>>>, TrainError> {
            Ok(measure(maker, &embeddings.ids, read.reading.options.threads)?)
        };
        let (train, part) = (values_of(read.train)?, values_of(read.part)?);
        let ids = read.train.ids.iter().chain(&read.part.ids).copied();
        let of_ids: Vec<(u32, Option<Vec<f64>>)> = ids.zip(train.iter().chain(&part).cloned()).collect();
        let collective = &**read.engine.collective();
        let per_rank = collective.all_gather_usize(train.len())?;
        let column = |(at, name): (usize, &str)| {
            let value =
                |values: &Option<Vec<f64>>| values.as_ref().and_then(|values| values.get(at).copied());
            let own: Vec<f64> = train.iter().map(|values| value(values).unwrap_or(f64::NAN)).collect();
            let all = gather_rows(collective, &Tensor::from_slice(&own).f_to_kind(Kind::Double)?, &per_rank)?;
            let all = Vec::<f64>::try_from(all)?;
            let of_samples = of_ids.iter().map(|(id, values)| (*id, value(values)));
            Ok(Column::measured(name, all, of_samples, self.dataset.num_samples()))
        };
        wanted.into_iter().map(column).collect()
    }
}

impl Evaluator for ShortcutAudit<'_> {
    /// None: a table says more than names of so many figures.
    fn metrics(&self, _: &str, _: Thoroughness) -> Vec<String> {
        Vec::new()
    }

    fn asks(&self, _: Role, thoroughness: Thoroughness) -> Asks {
        Asks { embeddings: self.asks_in(thoroughness), ..Asks::default() }
    }

    fn conclude(
        &mut self,
        read: &Conclusion<'_>,
        evaluation: &mut Evaluation,
    ) -> Result<Vec<String>, TrainError> {
        if !self.asks_in(read.thoroughness) || !evaluation.is_reported {
            return Ok(Vec::new());
        }
        let mut columns = self.of_table();
        columns.extend(self.measured(read)?);
        // The class goes first: what is right about it is asked of each group of every column.
        columns.sort_by_key(|column| column.label.name != self.target);
        let question = Question { read, part: &evaluation.part, config: self.config };
        let mut about_class: Vec<ClassAnswer> = Vec::new();
        let mut audit = Audit {
            part: evaluation.part.clone(),
            class: self.target.to_owned(),
            columns: Vec::new(),
            left_out: Vec::new(),
        };
        for column in &columns {
            match ask(&question, column)? {
                Finding::LeftOut(reason) => {
                    audit.left_out.push(LeftOut { column: column.label.name.clone(), reason });
                }
                Finding::Known(mut known, answers) => {
                    if column.label.name == self.target {
                        about_class = answers;
                    }
                    let ranks = &**read.engine.collective();
                    (known.worst_group, known.small_groups) =
                        worst_group(ranks, &column.label, &about_class, self.config().min_group as u64)?;
                    audit.columns.push(*known);
                }
            }
        }
        audit.columns.sort_by(|a, b| b.known().total_cmp(&a.known()));
        evaluation.audit = Some(audit);
        Ok(Vec::new())
    }
}
