//! Probes on frozen embeddings: which labels can be read off them, by nearest neighbours and by logistic regression.

use std::collections::HashMap;

use dtrain_comm::Collective;
use dtrain_configs::schema::EvalConfig;
use dtrain_data::LabelColumn;

use super::answers::Answers;
use super::evaluator::{Asks, Conclusion, Evaluator, Role, Subject};
use super::linear::LinearProbe;
use super::protocol::{self, Baselines, Protocol};
use super::{
    ClassHits, Embeddings, Evaluation, Labelled, Probe, Row, Thoroughness, embed_part, knn, lightly, names,
};
use crate::error::TrainError;

/// Where the data have no val part, every fifth training sample of a class chooses the weight decay.
const HELD_OUT_TO_CHOOSE: usize = 5;

/// Asks for every label of interest, the target first.
pub(super) struct Probes<'a> {
    labels: Vec<&'a LabelColumn>,
    config: &'a EvalConfig,
    seed: u64,
    /// Probes on the training part, by label: of several parts all ask the same.
    fitted: HashMap<String, Fitted>,
    /// Of the val part, where it chooses the weight decay.
    val: Option<Embeddings>,
}

/// A linear probe, with the weight decay that was chosen among several.
struct Fitted {
    probe: LinearProbe,
    weight_decay: Option<f64>,
}

/// A probe that has answered.
struct Answered {
    probe: Probe,
    /// Part of the metric's name, which sets it apart from others of its kind.
    variant: String,
    setting: Option<String>,
    protocol: Protocol,
    train: Option<Answers>,
    answers: Answers,
}

impl<'a> Probes<'a> {
    pub(super) fn new(subject: &Subject<'a>) -> Self {
        Self {
            labels: subject.labels.clone(),
            config: subject.config,
            seed: subject.losses.seed,
            fitted: HashMap::new(),
            val: None,
        }
    }
}

impl Evaluator for Probes<'_> {
    fn metrics(&self, part: &str, thoroughness: Thoroughness) -> Vec<String> {
        if !self.config.embeddings {
            return Vec::new();
        }
        let labels: Vec<&str> = self.labels.iter().map(|label| label.name.as_str()).collect();
        names::of_probes(part, &labels, thoroughness, self.config)
    }

    fn asks(&self, _: Role, _: Thoroughness) -> Asks {
        Asks { embeddings: self.config.embeddings, ..Asks::default() }
    }

    fn conclude(
        &mut self,
        read: &Conclusion<'_>,
        evaluation: &mut Evaluation,
    ) -> Result<Vec<String>, TrainError> {
        let mut left_out = Vec::new();
        if self.config.embeddings {
            left_out = self.take_val(read, &evaluation.part)?;
            for (index, label) in self.labels.clone().into_iter().enumerate() {
                self.ask(label, index == 0, read, evaluation)?;
            }
        }
        Ok(left_out)
    }
}

impl Probes<'_> {
    fn ask(
        &mut self,
        label: &LabelColumn,
        is_target: bool,
        read: &Conclusion<'_>,
        evaluation: &mut Evaluation,
    ) -> Result<(), TrainError> {
        let collective = &**read.engine.collective();
        let train = read.train.labelled(label)?;
        let queries = read.part.labelled(label)?;
        let num_classes = label.classes.len();
        let counts = protocol::count_classes(collective, &train.classes, &queries.classes, num_classes)?;
        let mut answered = Vec::new();
        let (protocol, asked) = (counts.protocol(), (read, num_classes));
        match protocol {
            Protocol::Transfer => {
                let both = (&train, &queries);
                self.ask_neighbours(collective, protocol, both, asked, &mut answered)?;
                if read.thoroughness.linear {
                    if !self.fitted.contains_key(&label.name) {
                        let fitted = self.fit(collective, &train, label)?;
                        self.fitted.insert(label.name.clone(), fitted);
                    }
                    let fitted = self.fitted.get(&label.name);
                    let fitted =
                        fitted.ok_or_else(|| TrainError::internal("a probe that was just fitted"))?;
                    answered.push(fitted.answer(collective, protocol, both, read)?);
                    self.ask_lightly(collective, protocol, both, asked, &mut answered)?;
                }
            }
            Protocol::WithinPart => {
                let both = (&queries, &queries);
                self.ask_neighbours(collective, protocol, both, asked, &mut answered)?;
                if read.thoroughness.linear {
                    let (fit, ask) = protocol::halves(collective, &queries)?;
                    let fitted = self.fit_choosing(collective, &fit, None, num_classes)?;
                    answered.push(fitted.answer(collective, protocol, (&fit, &ask), read)?);
                    self.ask_lightly(collective, protocol, (&fit, &ask), asked, &mut answered)?;
                }
            }
        }
        let baselines = counts.baselines();
        answered.into_iter().for_each(|answered| evaluation.add(label, is_target, baselines, answered));
        Ok(())
    }

    /// kNN of `queries` among `bank`, in every variant.
    fn ask_neighbours(
        &self,
        collective: &dyn Collective,
        protocol: Protocol,
        (bank, queries): (&Labelled, &Labelled),
        (read, num_classes): (&Conclusion<'_>, usize),
        answered: &mut Vec<Answered>,
    ) -> Result<(), TrainError> {
        let variants = self.config.knn.variants();
        let answers = knn::classify(collective, bank, queries, num_classes, &variants)?;
        let on_train = match protocol {
            Protocol::Transfer if read.thoroughness.train => {
                knn::classify(collective, bank, bank, num_classes, &variants)?
            }
            Protocol::Transfer | Protocol::WithinPart => Vec::new(),
        };
        let mut on_train = on_train.into_iter();
        let names = names::of_variants(&self.config.knn);
        for ((variant, name), answers) in variants.iter().zip(names).zip(answers) {
            let several = variants.len() > 1;
            let setting = several.then(|| format!("k {}, temperature {}", variant.k, variant.temperature));
            let train = on_train.next();
            answered.push(Answered { probe: Probe::Knn, variant: name, setting, protocol, train, answers });
        }
        Ok(())
    }

    /// The second linear probe, where it is asked for.
    fn ask_lightly(
        &self,
        collective: &dyn Collective,
        protocol: Protocol,
        (fit, ask): (&Labelled, &Labelled),
        (read, num_classes): (&Conclusion<'_>, usize),
        answered: &mut Vec<Answered>,
    ) -> Result<(), TrainError> {
        if self.config.linear.lightly && read.thoroughness.train {
            let probe = lightly::fit(collective, fit, num_classes, self.seed)?;
            let (train, answers) = (Some(probe.score(collective, fit)?), probe.score(collective, ask)?);
            let (probe, variant) = (Probe::Lightly, String::new());
            answered.push(Answered { probe, variant, setting: None, protocol, train, answers });
        }
        Ok(())
    }

    /// Keeps the embeddings of the val part where they choose among weight decays, reading them if no evaluation does. Returns
    /// what could not be read.
    fn take_val(&mut self, read: &Conclusion<'_>, part: &str) -> Result<Vec<String>, TrainError> {
        let chooses = self.config.linear.weight_decay.is_list() && read.thoroughness.linear;
        if !chooses || self.val.is_some() || read.dataset.val.is_empty() {
            return Ok(Vec::new());
        }
        if part == "val" {
            self.val = Some(Embeddings {
                embeddings: read.part.embeddings.shallow_clone(),
                ids: read.part.ids.clone(),
                left_out: Vec::new(),
            });
            return Ok(Vec::new());
        }
        let val = embed_part(read.engine, read.reading, &read.dataset.val)?;
        let left_out = val.left_out.clone();
        self.val = Some(val);
        Ok(left_out)
    }

    fn fit(
        &self,
        collective: &dyn Collective,
        train: &Labelled,
        label: &LabelColumn,
    ) -> Result<Fitted, TrainError> {
        let val = self.val.as_ref().map(|val| val.labelled(label)).transpose()?;
        self.fit_choosing(collective, train, val.as_ref(), label.classes.len())
    }

    /// Fits with the weight decay that is best on `val`, or on a fifth of the samples that is held out of a first fit. Of
    /// equals the first of the list is taken.
    fn fit_choosing(
        &self,
        collective: &dyn Collective,
        train: &Labelled,
        val: Option<&Labelled>,
        num_classes: usize,
    ) -> Result<Fitted, TrainError> {
        let config = &self.config.linear;
        let fit = |rows: &Labelled, weight_decay: f64| {
            LinearProbe::fit(collective, rows, num_classes, (config.iterations, weight_decay))
        };
        let decays = config.weight_decay.values();
        let [first, _, ..] = decays else {
            let only = decays.first().copied().unwrap_or(0.0);
            return Ok(Fitted { probe: fit(train, only)?, weight_decay: None });
        };
        let held_out = match val {
            Some(_) => None,
            None => Some(protocol::hold_out(collective, train, HELD_OUT_TO_CHOOSE)?),
        };
        let (rows, judges) = match (&held_out, val) {
            (Some((rows, judges)), _) => (rows, judges),
            (None, Some(val)) => (train, val),
            (None, None) => (train, train),
        };
        let mut best: Option<(u64, f64, LinearProbe)> = None;
        for &decay in decays {
            let probe = fit(rows, decay)?;
            let correct = probe.score(collective, judges)?.hits().correct;
            if best.as_ref().is_none_or(|(most, ..)| correct > *most) {
                best = Some((correct, decay, probe));
            }
        }
        let (chosen, probe) = best.map_or((*first, None), |(_, decay, probe)| (decay, Some(probe)));
        let probe = match probe.filter(|_| held_out.is_none()) {
            Some(probe) => probe,
            None => fit(train, chosen)?,
        };
        Ok(Fitted { probe, weight_decay: Some(chosen) })
    }
}

impl Fitted {
    fn answer(
        &self,
        collective: &dyn Collective,
        protocol: Protocol,
        (fit, ask): (&Labelled, &Labelled),
        read: &Conclusion<'_>,
    ) -> Result<Answered, TrainError> {
        let train = read.thoroughness.train.then(|| self.probe.score(collective, fit)).transpose()?;
        Ok(Answered {
            probe: Probe::Linear,
            variant: String::new(),
            setting: self.weight_decay.map(|decay| format!("weight decay {decay}")),
            protocol,
            train,
            answers: self.probe.score(collective, ask)?,
        })
    }
}

impl Evaluation {
    /// Adds a line of the table under the names of [`names`]; `train/...` beside it where it was asked.
    fn add(&mut self, label: &LabelColumn, is_target: bool, baselines: Baselines, answered: Answered) {
        let Answered { probe, variant, setting, protocol, train, answers } = answered;
        let name = (!is_target).then_some(label.name.as_str());
        let hits = answers.hits();
        let train = train.map(|answers| answers.hits().accuracy());
        self.metrics.insert(names::of_probe(&self.part, name, probe, &variant), hits.accuracy());
        if let Some(train) = train {
            self.metrics.insert(names::of_probe("train", name, probe, &variant), train);
        }
        self.metrics.insert(names::of_chance(&self.part, name), baselines.chance);
        let asked = label.classes.iter().zip(answers.by_class()).filter(|(_, hits)| hits.total > 0);
        let by_class = asked.map(|(class, hits)| ClassHits { class: class.clone(), hits: *hits });
        self.rows.push(Row {
            label: label.name.clone(),
            probe,
            setting,
            beside: Vec::new(),
            protocol,
            train,
            accuracy: hits.accuracy(),
            baselines,
            total: hits.total,
            by_class: if is_target { by_class.collect() } else { Vec::new() },
        });
    }
}
