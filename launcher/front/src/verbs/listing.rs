//! `dtrain ls`, `dtrain show`, `dtrain completions`.

use clap::CommandFactory;
use comfy_table::{Table, presets};
use dtrain_configs::{ConfigErrors, FileInfo, Library, choice_hint, files, shell_path, studies, study_text};

use crate::cli::{Cli, ConfigDir};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::printer::Printer;

/// The group that a bare `dtrain ls` is about.
const EXPERIMENT: &str = "experiment";
/// What `dtrain sweep study=NAME` chooses; no group of settings.
const STUDY: &str = "study";

/// The files of a group with what is typed to choose each. Where a folder of the user's takes part, a column tells its files
/// from those of the program.
pub fn list(group: &str, config: &ConfigDir, printer: &Printer) -> Result<Exit, Failure> {
    if group == STUDY {
        return Ok(list_studies(printer));
    }
    let files = files(group, &config.options()).map_err(ConfigErrors::from)?;
    let has_own = files.iter().any(|file| file.own.is_some());
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let typed = if group == EXPERIMENT { "command" } else { "setting" };
    table.set_header(row([group, "from", "what it does", typed], has_own));
    for file in &files {
        let from = match (&file.own, file.shadows) {
            (None, _) => "dtrain",
            (Some(_), false) => "own",
            (Some(_), true) => "own, hides dtrain's",
        };
        table.add_row(row([&file.name, from, &file.about, &words(group, file, config)], has_own));
    }
    printer.data(&table.to_string());
    Ok(Exit::Done)
}

/// The studies with what is typed to run each, from the comment that each begins with.
fn list_studies(printer: &Printer) -> Exit {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["study", "what it does", "command"]);
    for name in studies() {
        let mut comments =
            study_text(&name).unwrap_or_default().lines().map_while(|line| line.strip_prefix("# "));
        let about = comments.next().unwrap_or_default().to_owned();
        let command = comments.find(|line| line.starts_with("dtrain sweep ")).unwrap_or_default();
        table.add_row([name.as_str(), &about, command]);
    }
    printer.data(&table.to_string());
    Exit::Done
}

fn row(cells: [&str; 4], has_own: bool) -> Vec<String> {
    let cells = cells.into_iter().enumerate().filter(|(column, _)| has_own || *column != 1);
    cells.map(|(_, cell)| cell.to_owned()).collect()
}

/// The whole command of an experiment; of other files the word that chooses it, which goes with any command. The folder is
/// repeated where it was typed: a variable is there for the next command too.
fn words(group: &str, file: &FileInfo, config: &ConfigDir) -> String {
    if group != EXPERIMENT {
        return file.words.clone();
    }
    match config.config_dir.as_ref().filter(|_| file.own.is_some()) {
        Some(folder) => format!("dtrain --config-dir {} {}", shell_path(folder), file.words),
        None => format!("dtrain {}", file.words),
    }
}

/// The text of one file, or the files of a group.
pub fn show(name: &str, config: &ConfigDir, printer: &Printer) -> Result<Exit, Failure> {
    let library = Library::open(&config.options()).map_err(ConfigErrors::from)?;
    if name == STUDY || library.groups().iter().any(|group| group.name == name) {
        return list(name, config, printer);
    }
    let (group, file) = name.split_once('/').unwrap_or((EXPERIMENT, name));
    if group == STUDY {
        let Some(text) = study_text(file) else {
            let names = studies();
            let hint = choice_hint(file, names.iter().map(String::as_str));
            return Err(Failure::agreed(Exit::Usage, format!("there is no study `{file}`"), Some(hint)));
        };
        printer.data(text);
        return Ok(Exit::Done);
    }
    // A file by its path, whose folders are no groups.
    let (group, file) = if name.ends_with(".yaml") { (EXPERIMENT, name) } else { (group, file) };
    printer.data(&library.text(group, file).map_err(ConfigErrors::from)?);
    Ok(Exit::Done)
}

/// A completion script for a shell.
pub fn completions(shell: clap_complete::Shell, printer: &Printer) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "dtrain", &mut script);
    printer.data(&String::from_utf8_lossy(&script));
    Ok(Exit::Done)
}
