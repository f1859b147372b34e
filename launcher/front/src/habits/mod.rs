//! Words of other tools: who comes with the command lines of Hydra, LightningCLI, torchrun or accelerate is told what to
//! write here. These hints come before the guesses of the command-line library, which would lead astray. Where the
//! settings of another trainer are, `dtrain-configs` knows.

mod page;
mod programs;
mod table;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::Path;

use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use dtrain_configs::{
    ComposeOptions, ConfigErrors, Problem, RunDir, SourceKind, choice_hint, compose, hint_of_word, shell_path,
};

use crate::cli::Cli;
use crate::exit::Exit;
use crate::failure::Failure;
pub(crate) use page::page;
pub(crate) use programs::check_program;
use table::{OPTIONS, Row, VERBS};

/// Longest word that a message repeats.
const MAX_SHOWN: usize = 80;

/// What is wrong with a first word that stands where a verb stands and is none.
pub(crate) fn check_verb(word: &str) -> Result<(), Failure> {
    let is_setting = word.is_empty() || word.contains('=') || word.starts_with(['-', '+', '~']);
    if is_setting || is_verb(word) {
        return Ok(());
    }
    // Programs of others are Python files, which lie in folders.
    let name = if word.ends_with(".py") { "train.py" } else { word };
    if let Some(hint) = found(VERBS, name) {
        return Err(usage(
            format!("there is no verb `{}`", shown(word)),
            format!("{hint}; `dtrain --help` lists the verbs"),
        ));
    }
    check_word(word)?;
    if is_key(word) {
        // Its value is missing, and the settings say so.
        return Ok(());
    }
    let verbs = verbs();
    let hint = choice_hint(word, verbs.iter().map(String::as_str));
    Err(usage(format!("there is no verb `{}`", shown(word)), format!("{hint}; settings are `KEY=VALUE`")))
}

/// What is wrong with settings of which some are no `key=value` but have a meaning elsewhere.
pub(crate) fn check_settings(overrides: &[String], cfg: bool) -> Result<(), Failure> {
    let bare = |word: &&String| !word.is_empty() && !word.contains('=') && !word.starts_with(['+', '~', '-']);
    for (index, word) in overrides.iter().enumerate().filter(|(_, word)| bare(word)) {
        if cfg && ["job", "hydra", "all"].contains(&word.as_str()) {
            return Err(cfg_takes_no_word(word));
        }
        if is_verb(word) {
            return Err(usage(
                format!("`{word}` stands among the settings"),
                format!("the verb comes first: `dtrain {word} ...`"),
            ));
        }
        let next = overrides.get(index + 1).filter(bare);
        if let Some(value) = next.filter(|value| !is_verb(value) && is_key(word)) {
            return Err(usage(
                format!("`{}` has no value", shown(word)),
                format!("a value follows behind `=`: `{}`", shown(&format!("{word}={value}"))),
            ));
        }
        if word.chars().all(|sign| sign.is_ascii_digit()) {
            return Err(usage(
                format!("`{}` belongs to no setting", shown(word)),
                "a value follows its name without a blank: `KEY=VALUE`, `--fast-dev-run=N`".to_owned(),
            ));
        }
        check_word(word)?;
    }
    // Behind `train`, or behind `launch`, where nothing else stands for a verb.
    overrides.first().map_or(Ok(()), |first| check_verb(first))
}

/// A word that names something: a run, a file, a group's file.
fn check_word(word: &str) -> Result<(), Failure> {
    let path = Path::new(word);
    let quoted = shell_path(path);
    if RunDir::new(path).holds_a_run() {
        return Err(usage(
            format!("`{}` is a run directory, and no verb says what to do with it", shown(word)),
            format!("`dtrain resume {quoted}` goes on with it, `dtrain eval {quoted}` evaluates it"),
        ));
    }
    let above = path.ancestors().nth(2).map(RunDir::new);
    if path.is_dir() && above.is_some_and(|run| run.holds_a_run()) {
        return Err(usage(
            format!("`{}` is a checkpoint, and no verb says what to do with it", shown(word)),
            format!(
                "`dtrain eval {quoted}` evaluates it, `dtrain embed {quoted} --out FILE` writes its embeddings"
            ),
        ));
    }
    if let Some((group, name)) = word.split_once('/')
        && dtrain_configs::file_text(group, name).is_some()
    {
        return Err(usage(
            format!("`{}` is not a setting", shown(word)),
            format!("write `{group}={name}` to choose it, `dtrain show {word}` to read it"),
        ));
    }
    if (word.ends_with(".yaml") || word.ends_with(".yml")) && path.is_file() {
        return Err(usage(
            format!("`{}` is a file, and no setting names it", shown(word)),
            format!("choose it as an experiment: `experiment={quoted}`"),
        ));
    }
    if path.is_dir() && (word.contains('/') || word == "." || word == "..") {
        return Err(usage(
            format!("`{}` is a folder, and no setting names it", shown(word)),
            format!("for data write `data.root={quoted}`; a run directory has a `config.yaml`"),
        ));
    }
    Ok(())
}

/// What to say instead of the command-line library about an option that is not there; `None`: its words are good.
pub(crate) fn explain(error: &clap::Error, words: &[OsString]) -> Option<Failure> {
    if error.kind() == ErrorKind::InvalidSubcommand {
        return unknown_part(error, words);
    }
    let option = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(option)) => option.as_str(),
        _ => return None,
    };
    if error.kind() == ErrorKind::TooManyValues && option.starts_with("--cfg") {
        return Some(cfg_takes_no_word("..."));
    }
    if error.kind() != ErrorKind::UnknownArgument || !option.starts_with('-') {
        return None;
    }
    let words: Vec<String> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    if let Some(failure) = stage_of_a_study(&words) {
        return Some(failure);
    }
    let at = words.iter().position(|word| word == option || word.starts_with(&format!("{option}=")));
    // Letters behind one dash are one word there: `-cn`.
    let at = at.or_else(|| words.iter().position(|word| word.starts_with(option)));
    let typed = at.and_then(|at| words.get(at)).map_or(option, String::as_str);
    let (name, mut value) = match typed.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (typed, None),
    };
    let next = at.and_then(|at| words.get(at + 1)).map(String::as_str);
    value = value.or(next.filter(|word| !word.starts_with('-') && !word.contains('=')));
    let verb = words.get(1).filter(|word| is_verb(word)).map_or("train", String::as_str);
    let suggested = match error.get(ContextKind::SuggestedArg) {
        Some(ContextValue::String(suggested)) => Some(suggested.as_str()),
        _ => None,
    };
    let hint = option_hint(name, value, suggested).unwrap_or_else(|| {
        format!("`dtrain {verb} --help` lists the options; settings are `KEY=VALUE`, without dashes")
    });
    Some(usage(format!("`{}` is not an option of `dtrain {verb}`", shown(name)), hint))
}

/// `--config FILE --experiment lr_search`, as a script that corrects confounded classifiers has it.
fn stage_of_a_study(words: &[String]) -> Option<Failure> {
    const STAGES: [&str; 4] = ["overfit_test", "lr_search", "lambda_search", "full_grid_search"];
    let at = words.iter().position(|word| word == "--experiment" || word.starts_with("--experiment="))?;
    let given = words.get(at)?.split_once('=').map(|(_, value)| value);
    let stage = given.or(words.get(at + 1).map(String::as_str)).filter(|stage| STAGES.contains(stage))?;
    Some(usage(
        format!("`--experiment {stage}` is not an option of `dtrain train`"),
        "it is a stage of this study, whose stages follow each other: `dtrain sweep study=confounder_correction`"
            .to_owned(),
    ))
}

/// A second word that is no part of its verb, as in `dtrain data download`.
fn unknown_part(error: &clap::Error, words: &[OsString]) -> Option<Failure> {
    let Some(ContextValue::String(part)) = error.get(ContextKind::InvalidSubcommand) else { return None };
    let verb = words.get(1)?.to_str()?;
    let command = Cli::command();
    let parts = command.find_subcommand(verb)?.get_subcommands();
    let parts: Vec<&str> = parts.filter(|part| !part.is_hide_set()).map(clap::Command::get_name).collect();
    Some(usage(
        format!("there is no `dtrain {verb} {}`", shown(part)),
        choice_hint(part, parts.iter().copied()),
    ))
}

/// The hint for an option with a value, if it had one, which the library takes for `suggested`.
fn option_hint(option: &str, value: Option<&str>, suggested: Option<&str>) -> Option<String> {
    let squeezed = |word: &str| word.trim_start_matches('-').replace('_', "-").to_lowercase();
    if let Some(suggested) = suggested.filter(|suggested| squeezed(suggested) == squeezed(option)) {
        return Some(format!("write `{suggested}`"));
    }
    let key = option.trim_start_matches('-').replace('-', "_");
    let word = format!("{key}={}", value.unwrap_or("VALUE"));
    // `--eval` alone is no choice of a file.
    if value.is_some() && is_key(&key) {
        // What is said is followed at once, so it must be good.
        let errors = composed(&word).err();
        let wrong = errors.and_then(|errors| errors.problems.into_iter().find(is_about_a_word)?.hint);
        return Some(match wrong {
            Some(hint) => format!("settings have no dashes; {hint}"),
            None => format!("settings have no dashes: `{}`", shown(&word)),
        });
    }
    // The settings know what another trainer's is called here.
    if let Some(hint) = hint_of_word(&key, value) {
        // Commands and options are no settings.
        let is_setting = hint.split('`').nth(1).is_some_and(|words| words.contains('='));
        return Some(if is_setting { format!("settings have no dashes; {hint}") } else { hint });
    }
    if let Some(hint) = found(OPTIONS, option) {
        return Some(hint.to_owned());
    }
    if is_key(&key) {
        return Some(format!("settings have no dashes: `{}`", shown(&word)));
    }
    // What was misspelt.
    let errors = composed(&format!("{key}={}", value.unwrap_or("1"))).err();
    let hint = errors.and_then(|errors| errors.problems.into_iter().next()?.hint);
    let hint = hint.filter(|hint| !hint.starts_with("the sections are"));
    match (hint, suggested) {
        (Some(hint), _) => Some(format!("settings have no dashes; {hint}")),
        (None, Some(suggested)) => Some(format!("did you mean `{suggested}`?")),
        (None, None) => None,
    }
}

/// Whether the problem lies in a word of the command line, and not in what the program's files make of it.
fn is_about_a_word(problem: &Problem) -> bool {
    problem.places.iter().any(|place| matches!(place.source.kind, SourceKind::Override(_)))
}

fn cfg_takes_no_word(word: &str) -> Failure {
    usage(
        format!("`--cfg {}`: `--cfg` takes no word", shown(word)),
        "write `--cfg` alone: it prints every setting and where it came from".to_owned(),
    )
}

fn usage(message: String, hint: String) -> Failure {
    Failure::agreed(Exit::Usage, message, Some(hint))
}

/// The hint of the row that has `word`.
fn found(rows: &[Row], word: &str) -> Option<&'static str> {
    let name = word.trim_start_matches('-').replace('_', "-").to_lowercase();
    rows.iter().find(|(names, _)| names.contains(&name.as_str())).map(|(_, hint)| *hint)
}

/// Whether `dtrain launch` has the option that `word` gives.
pub(crate) fn is_option_of_launch(word: &str) -> bool {
    let name = word.split('=').next().unwrap_or(word);
    let command = Cli::command();
    let launch = command.find_subcommand("launch");
    launch.into_iter().flat_map(clap::Command::get_arguments).any(|argument| {
        let long = argument.get_long().is_some_and(|long| name.strip_prefix("--") == Some(long));
        let short =
            argument.get_short().is_some_and(|short| name.strip_prefix('-') == Some(&short.to_string()));
        long || short
    })
}

fn verbs() -> Vec<String> {
    let command = Cli::command();
    let shown = command.get_subcommands().filter(|verb| !verb.is_hide_set());
    shown.map(|verb| verb.get_name().to_owned()).collect()
}

fn is_verb(word: &str) -> bool {
    Cli::command().get_subcommands().any(|verb| verb.get_name() == word)
}

fn composed(word: &str) -> Result<(), ConfigErrors> {
    compose(&[word.to_owned()], &ComposeOptions::default()).map(drop)
}

/// Whether a setting or a group has this name.
fn is_key(key: &str) -> bool {
    let plain = key.chars().all(|sign| sign.is_ascii_alphanumeric() || "._".contains(sign));
    plain
        && composed(&format!("{key}=VALUE")).err().is_none_or(|errors| {
            !errors.problems.iter().any(|problem| problem.message.contains("is not a setting"))
        })
}

/// A word as a message repeats it.
fn shown(word: &str) -> String {
    let plain: String = word.chars().map(|sign| if sign.is_control() { '?' } else { sign }).collect();
    match plain.char_indices().nth(MAX_SHOWN) {
        Some((at, _)) => format!("{}...", plain.get(..at).unwrap_or_default()),
        None => plain,
    }
}
