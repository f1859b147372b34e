//! Probes on banks: fitted on a bank's own training part and judged on its test part, each bank by itself.

use std::borrow::Cow;

use dtrain_data::{draw_by_class, spread};

use crate::error::TrainError;
use crate::eval::{Examiner, Findings, Reading, Thoroughness};
use crate::run::prepare::{Bank, Prepared, reading, subject_of_bank};

/// The samples of a bank that are looked at.
pub(crate) struct BankSamples<'a> {
    pub(crate) bank: &'a Bank,
    /// Those that probes learn from.
    pub(crate) train: Cow<'a, [u32]>,
    /// Those that they are asked about.
    pub(crate) questions: Cow<'a, [u32]>,
}

impl<'a> BankSamples<'a> {
    /// Of both parts at most `most`, evenly spread.
    pub(crate) fn spread(bank: &'a Bank, most: usize) -> Self {
        Self { bank, train: spread(&bank.dataset.train, most), questions: spread(bank.questions(), most) }
    }

    /// So many of the training part and so many to ask about, drawn by class.
    pub(crate) fn drawn(bank: &'a Bank, [train, questions]: [usize; 2], seed: u64) -> Self {
        let classes = bank.dataset.label(bank.target()).map_or(&[][..], |label| &label.of_sample);
        let draw = |ids, most| draw_by_class(ids, classes, most, seed);
        Self { bank, train: draw(&bank.dataset.train, train), questions: draw(bank.questions(), questions) }
    }
}

/// Probes each bank, by linear probes too where `linear` says so. Nothing is asked of its training part, whose metrics would have the names of
/// the run's.
///
/// # Errors
/// When memory runs out or the ranks cannot talk.
pub(crate) fn probe_banks(
    prepared: &Prepared,
    samples: &[BankSamples<'_>],
    linear: bool,
) -> Result<Findings, TrainError> {
    let mut all = Findings { evaluations: Vec::new(), left_out: Vec::new() };
    for BankSamples { bank, train, questions } in samples {
        let reading = Reading { maker: bank.maker.clone(), ..reading(prepared) };
        let subject = subject_of_bank(&prepared.config, bank, prepared.engine.method());
        let examiner = Examiner { engine: &prepared.engine, reading: &reading, subject };
        let parts = [(bank.part.as_str(), Cow::Borrowed(&**questions))];
        all.add(examiner.probe(train, &parts, Thoroughness { linear, train: false })?);
    }
    Ok(all)
}
