//! How well one column is known: asked of nearest neighbours and of a linear probe, as labels are asked for.

use dtrain_comm::{Collective, CollectiveExt};
use dtrain_configs::schema::EvalConfig;

use super::column::Column;
use super::groups::ClassAnswer;
use crate::error::TrainError;
use crate::eval::Hits;
use crate::eval::answers::Answers;
use crate::eval::evaluator::Conclusion;
use crate::eval::linear::LinearProbe;
use crate::eval::protocol::{self, Protocol};
use crate::eval::{Interval, Labelled, knn};
use crate::track::{AuditedColumn, Known};

/// What every column is asked by.
pub(super) struct Question<'a> {
    pub(super) read: &'a Conclusion<'a>,
    /// Name of the part.
    pub(super) part: &'a str,
    pub(super) config: &'a EvalConfig,
}

/// What was found.
pub(super) enum Finding {
    /// With what nearest neighbours say of each sample of this rank; groups are not judged yet.
    Known(Box<AuditedColumn>, Vec<ClassAnswer>),
    /// The column cannot be asked for, and why.
    LeftOut(String),
}

/// Asks the embeddings for `column`. All ranks call it alike and find the same but for the answers about their own samples.
///
/// # Errors
/// When memory runs out or the ranks cannot talk.
pub(super) fn ask(question: &Question<'_>, column: &Column) -> Result<Finding, TrainError> {
    let Question { read, part, config } = question;
    let collective = &**read.engine.collective();
    let (label, num_values) = (&column.label, column.label.classes.len());
    if column.cuts.is_empty() && label.is_like_an_id() {
        return Ok(Finding::LeftOut("nearly every sample has a value of its own".into()));
    }
    let (train, queries) = (read.train.labelled(label)?, read.part.labelled(label)?);
    let counts = protocol::count_classes(collective, &train.classes, &queries.classes, num_values)?;
    let protocol = counts.protocol();
    let answering = counts.answering(protocol);
    let asked: f64 = counts.asked().iter().sum();
    if asked == 0.0 {
        return Ok(Finding::LeftOut(format!("no sample of {part} has a value")));
    }
    let total: f64 = answering.iter().sum();
    let occurs = |(answer, asked): &(&f64, &f64)| **answer > 0.0 || **asked > 0.0;
    let values = answering.iter().zip(counts.asked()).filter(occurs).count();
    if answering.iter().filter(|count| **count > 0.0).count() < 2 {
        let of = if protocol == Protocol::Transfer { "train" } else { part };
        return Ok(Finding::LeftOut(format!("the samples of {of} have one value")));
    }
    let chance = answering.iter().copied().fold(0.0, f64::max) / total;
    let (bank, from) = match protocol {
        Protocol::Transfer => (&train, "train"),
        Protocol::WithinPart => (&queries, "part"),
    };
    let variant = config.knn.variants().into_iter().take(1).collect::<Vec<_>>();
    let predicted = knn::predict(collective, bank, &queries, num_values, &variant)?.pop().unwrap_or_default();
    let mut answers = [Answers::none(num_values)];
    answers.iter_mut().for_each(|answers| answers.add(&predicted, &queries.classes));
    Answers::over_ranks(collective, &mut answers)?;
    let [answers] = answers;
    let Some(knn) = known(answers.hits(), chance) else {
        return Ok(Finding::LeftOut(format!("no sample of {part} has a value")));
    };
    let linear = if config.audit.linear {
        by_linear_probe(question, protocol, (&train, &queries), num_values)?
    } else {
        None
    };
    let embedded = collective.all_gather_usize(read.part.ids.len())?.iter().sum::<usize>() as u64;
    let of_sample = |((id, guess), class): ((&i64, &i64), &i64)| {
        Some(ClassAnswer { id: u32::try_from(*id).ok()?, is_right: guess == class })
    };
    let of_samples = queries.ids.iter().zip(&predicted).zip(&queries.classes).filter_map(of_sample).collect();
    let audited = AuditedColumn {
        column: label.name.clone(),
        source: column.source,
        values,
        cuts: column.cuts.clone(),
        answers_from: from.to_owned(),
        chance,
        knn,
        linear: linear.and_then(|hits| known(hits, chance)),
        without_value: embedded.saturating_sub(asked as u64),
        worst_group: None,
        small_groups: 0,
    };
    Ok(Finding::Known(Box::new(audited), of_samples))
}

/// Fitted on the training part, or within the part on every other sample of a value; with the first of several weight decays,
/// since choosing one for each column would favour columns by the number of tries.
fn by_linear_probe(
    question: &Question<'_>,
    protocol: Protocol,
    (train, queries): (&Labelled, &Labelled),
    num_values: usize,
) -> Result<Option<Hits>, TrainError> {
    let collective: &dyn Collective = &**question.read.engine.collective();
    let linear = &question.config.linear;
    let settings = (linear.iterations, linear.weight_decay.values().first().copied().unwrap_or(0.0));
    let score = |fit: &Labelled, ask: &Labelled| -> Result<Hits, TrainError> {
        let probe = LinearProbe::fit(collective, fit, num_values, settings)?;
        Ok(probe.score(collective, ask)?.hits())
    };
    Ok(Some(match protocol {
        Protocol::Transfer => score(train, queries)?,
        Protocol::WithinPart => {
            let (fit, ask) = protocol::halves(collective, queries)?;
            score(&fit, &ask)?
        }
    }))
}

/// `None` where nothing was asked.
fn known(hits: Hits, chance: f64) -> Option<Known> {
    let interval = Interval::of_accuracy(hits.accuracy(), hits.total)?;
    let beyond = |accuracy: f64| (accuracy - chance) / (1.0 - chance);
    Some(Known {
        accuracy: hits.accuracy(),
        interval: [interval.low, interval.high],
        samples: hits.total,
        beyond_chance: beyond(hits.accuracy()),
        beyond_chance_interval: [beyond(interval.low), beyond(interval.high)],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_the_way_from_chance_to_one() {
        let of = |correct, chance| known(Hits { correct, total: 40 }, chance).unwrap();
        assert_eq!(of(40, 0.5).beyond_chance, 1.0);
        assert_eq!(of(20, 0.5).beyond_chance, 0.0);
        assert_eq!(of(10, 0.5).beyond_chance, -0.5);
        let found = of(30, 0.2);
        assert!((found.beyond_chance - 0.6875).abs() < 1e-12);
        // The ends of the interval go the same way.
        let [low, high] = found.beyond_chance_interval;
        assert!((low - (found.interval[0] - 0.2) / 0.8).abs() < 1e-12 && low < 0.6875 && high > 0.6875);
        assert_eq!(known(Hits::default(), 0.5), None);
    }
}
