//! Probe banks: further labelled data that are never trained on, opened and checked before the first step.

use std::path::Path;

use dtrain_comm::Collective;
use dtrain_configs::RunConfig;
use dtrain_configs::schema::{BankConfig, DataConfig, DataKind, SameBy};
use dtrain_data::images::ImageFolder;
use dtrain_data::{DataError, Dataset, LabelAccess, overlap};

use super::bank::Bank;
use super::data::{same_data_everywhere, view_maker_of};
use super::data_root::data_root;
use super::limits;
use crate::error::TrainError;
use crate::run::agree::{agreed, on_rank_0};

/// Before the name of a bank, where parts are named.
const PREFIX: &str = "bank_";
/// Names that a message gives, of many.
const SHOWN: usize = 3;

/// Opens the banks of the settings for a run that learns from the training part of `dataset`, whose views have `shape`.
///
/// # Errors
/// The same on all ranks: data that cannot be opened, lack labels or a part to judge on, are seen in another shape, or hold
/// what is trained on.
pub(crate) fn open_banks(
    config: &RunConfig,
    ranks: &dyn Collective,
    dataset: &Dataset,
    shape: [usize; 3],
) -> Result<Vec<Bank>, TrainError> {
    let mut banks = Vec::new();
    for (name, settings, data) in config.banks() {
        let root = data_root(&data, ranks)?;
        let part = format!("{PREFIX}{name}");
        let opened = Dataset::open(&data, &root, LabelAccess::All);
        let opened = opened.map_err(|error| unopened(name, (&data, &root), &error));
        let opened = opened.and_then(|mut opened| {
            limits::limit(&mut opened, &config.trainer);
            let maker = view_maker_of(&data, config, &opened, (1, false))?;
            let bank = Bank { part, dataset: opened, maker, data: data.clone() };
            check(name, &bank, dataset, shape).map(|()| bank)
        });
        let bank = agreed(ranks, opened)?;
        same_data_everywhere(ranks, bank.dataset.fingerprint)?;
        on_rank_0(ranks, || check_overlap(name, settings, &bank, config, dataset))?;
        banks.push(bank);
    }
    Ok(banks)
}

fn unopened(name: &str, (data, root): (&DataConfig, &Path), error: &DataError) -> TrainError {
    if data.kind == DataKind::Sound && ImageFolder::open(root).is_ok() {
        return TrainError::config(
            format!(
                "the probe bank `{name}` holds images (`{}`), and the run learns from recordings",
                root.display()
            ),
            format!("a bank is seen by the same network: give recordings, `eval.banks.{name}.root`"),
        );
    }
    let hint = error.hint().map_or_else(String::new, |hint| format!("; {}", in_keys_of_bank(name, &hint)));
    TrainError::config(
        format!("the probe bank `{name}` cannot be opened: {}", in_keys_of_bank(name, &error.to_string())),
        format!("what `eval.banks.{name}` does not say is as in `data`{hint}"),
    )
}

/// A message about `data` as one about a bank, as far as the settings are the same.
fn in_keys_of_bank(name: &str, text: &str) -> String {
    let keys = ["root", "labels", "target", "recording"];
    keys.iter().fold(text.to_owned(), |text, key| {
        text.replace(&format!("`data.{key}"), &format!("`eval.banks.{name}.{key}"))
    })
}

fn check(name: &str, bank: &Bank, dataset: &Dataset, shape: [usize; 3]) -> Result<(), TrainError> {
    let part = &bank.part;
    if dataset.part(part).is_some() {
        return Err(TrainError::config(
            format!("the probe bank `{name}` would be named `{part}`, as a part of `{}` is", dataset.name),
            "give the bank another name",
        ));
    }
    let target = bank.target();
    let has_labels =
        bank.dataset.label(target).is_some_and(|label| label.of_sample.iter().any(Option::is_some));
    if !has_labels {
        let labels: Vec<&str> = bank.dataset.labels.iter().map(|label| label.name.as_str()).collect();
        let there = if labels.is_empty() { "none".to_owned() } else { labels.join(", ") };
        return Err(TrainError::config(
            format!("the probe bank `{name}` has no label `{target}`, so that there is nothing to ask for"),
            format!("choose the label by `eval.banks.{name}.target`; it has {there}"),
        ));
    }
    if bank.questions().is_empty() {
        return Err(TrainError::config(
            format!("the probe bank `{name}` has no part to judge probes on"),
            format!("hold something out, for instance with `+eval.banks.{name}.split.test_fraction=0.5`"),
        ));
    }
    if bank.maker.shape() != shape {
        let [own, run] = [bank.maker.shape(), shape].map(|[c, h, w]| format!("{c} x {h} x {w}"));
        return Err(TrainError::config(
            format!("views of the probe bank `{name}` are {own}, and the run's are {run}"),
            "a bank is seen by the same network, so that its samples have to have the same channels and size",
        ));
    }
    Ok(())
}

/// What is trained on is no question.
fn check_overlap(
    name: &str,
    settings: &BankConfig,
    bank: &Bank,
    config: &RunConfig,
    dataset: &Dataset,
) -> Result<(), TrainError> {
    let hint = |what: &str| format!("{what}, or give other data: `eval.banks.{name}.root`");
    if settings.same_by.contains(&SameBy::Content) {
        let pairs = overlap::of_content(dataset, &dataset.train, &bank.dataset);
        let shown = |&(of_bank, of_run): &overlap::Pair| {
            let name = |dataset: &Dataset, id: u32| dataset.name_of(id).unwrap_or_default();
            format!("`{}` is `{}`", name(&bank.dataset, of_bank), name(dataset, of_run))
        };
        if !pairs.is_empty() {
            return Err(TrainError::config(
                format!(
                    "the probe bank `{name}` holds {} of its {} samples that are trained on: {}",
                    pairs.len(),
                    bank.dataset.num_samples(),
                    some(pairs.iter().map(shown), pairs.len())
                ),
                hint("take them out of one of the two"),
            ));
        }
    }
    let recordings = (bank.recording(), config.data.recording_label());
    if let (true, (Some(of_bank), Some(of_run))) = (settings.same_by.contains(&SameBy::Recording), recordings)
    {
        let names = overlap::of_recordings((dataset, &dataset.train, of_run), (&bank.dataset, of_bank));
        if !names.is_empty() {
            return Err(TrainError::config(
                format!(
                    "the probe bank `{name}` has {} recordings of the same name as some that are trained on: {}",
                    names.len(),
                    some(names.iter().map(|name| format!("`{name}`")), names.len())
                ),
                hint(&format!(
                    "take them out of one of the two; where they are others of the same name, `+eval.banks.{name}.same_by=[content]`"
                )),
            ));
        }
    }
    Ok(())
}

/// The first few, and how many more.
fn some(names: impl Iterator<Item = String>, count: usize) -> String {
    let first: Vec<String> = names.take(SHOWN).collect();
    let rest = count.saturating_sub(SHOWN);
    let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
    format!("{}{more}", first.join(", "))
}
