//! `dtrain ls`, `dtrain show`, `dtrain completions`.

use clap::CommandFactory;
use comfy_table::{Table, presets};
use dtrain_configs::{ComposeOptions, ConfigErrors, Library};

use super::Failure;
use crate::cli::{Cli, ConfigDir};
use crate::exit::Exit;
use crate::ui::Printer;

/// Experiments with the command that runs each.
pub fn experiments(config: &ConfigDir, printer: &Printer) -> Result<Exit, Failure> {
    let options = ComposeOptions { config_dir: config.config_dir.clone() };
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["experiment", "what it does", "command"]);
    for experiment in dtrain_configs::experiments(&options) {
        table.add_row([experiment.name, experiment.about, experiment.command]);
    }
    printer.data(&table.to_string());
    Ok(Exit::Done)
}

/// The text of one file.
pub fn show(name: &str, config: &ConfigDir, printer: &Printer) -> Result<Exit, Failure> {
    let options = ComposeOptions { config_dir: config.config_dir.clone() };
    let (group, file) = name.split_once('/').unwrap_or(("experiment", name));
    let text =
        Library::open(&options).and_then(|library| library.text(group, file)).map_err(ConfigErrors::from)?;
    printer.data(&text);
    Ok(Exit::Done)
}

/// A completion script for a shell.
pub fn completions(shell: clap_complete::Shell, printer: &Printer) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "dtrain", &mut script);
    printer.data(&String::from_utf8_lossy(&script));
    Ok(Exit::Done)
}
