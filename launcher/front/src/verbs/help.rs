//! `dtrain help`.

use clap::{Command, CommandFactory};
use dtrain_configs::ConfigErrors;

use crate::cli::{Cli, HelpArgs, Page};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::habits;
use crate::printer::Printer;

/// Explains a setting, a section or a verb; all that there is where none is named.
pub fn run(args: &HelpArgs, printer: &Printer) -> Result<Exit, Failure> {
    let text = match (args.markdown, &args.key) {
        (Some(Page::Settings), _) => dtrain_configs::settings_page(),
        (Some(Page::Words), _) => habits::page(),
        (None, Some(key)) => explained(key)?,
        (None, None) => overview(),
    };
    printer.data(text.trim_end());
    Ok(Exit::Done)
}

/// A section may have the name of a verb: then both are said, the verb in one line.
fn explained(key: &str) -> Result<String, Failure> {
    let mut command = Cli::command();
    command.build();
    let verb = command.find_subcommand_mut(key).filter(|verb| !verb.is_hide_set());
    match (dtrain_configs::explain(key), verb) {
        (Ok(text), Some(verb)) => {
            let name = verb.get_name();
            Ok(format!("{text}\n`dtrain {name}` is a verb besides: `dtrain {name} --help` explains it\n"))
        }
        (Ok(text), None) => Ok(text),
        (Err(_), Some(verb)) => Ok(long_help(verb)),
        (Err(problem), None) => Err(ConfigErrors::from(problem).into()),
    }
}

fn long_help(command: &mut Command) -> String {
    command.render_long_help().to_string()
}

/// The program's own help, and the sections of settings.
fn overview() -> String {
    let sections = dtrain_configs::sections();
    let width = sections.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines: String =
        sections.iter().map(|(name, comment)| format!("  {name:width$}  {comment}\n")).collect();
    format!(
        "{}\nSettings (`dtrain help SECTION` or `dtrain help KEY` explains them):\n{lines}",
        long_help(&mut Cli::command())
    )
}
