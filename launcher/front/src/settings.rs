//! The settings that a command line asks for.

use std::ffi::OsString;

use dtrain_configs::schema::ResumeMode;
use dtrain_configs::{Composition, Origins, RunConfig, RunDir, compose, load_with};

use crate::cli::{ConfigDir, ResumeArgs, TrainArgs, Verb};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::habits::is_option_of_launch;
use crate::{Unread, parse};

/// The settings of words such as `key=value`.
///
/// # Errors
/// All that is wrong with them.
pub fn composed(overrides: &[String], config: &ConfigDir) -> Result<Composition, Failure> {
    Ok(compose(overrides, &config.options())?)
}

/// The settings of `dtrain train`.
///
/// # Errors
/// As [`composed`].
pub fn composed_for_training(args: &TrainArgs) -> Result<Composition, Failure> {
    composed(&args.overrides, &args.config)
}

/// The ranks that `--dry-run` plans for, whose word is taken out of the settings.
///
/// # Errors
/// What was typed is no number of ranks.
pub fn take_planned_world(args: &mut TrainArgs) -> Result<Option<usize>, Failure> {
    args.take_planned_world().map_err(|message| {
        Failure::agreed(Exit::Usage, message, Some("write `dtrain --dry-run world=1024 ...`".into()))
    })
}

/// The settings that the run goes on with: those that it was started with, but for those that are typed. It lives where it
/// is now.
///
/// # Errors
/// The folder holds no run, or its settings cannot be read.
pub fn stored_for_resuming(args: &ResumeArgs) -> Result<(RunConfig, Origins), Failure> {
    let run_dir = RunDir::new(&args.run);
    if !run_dir.holds_a_run() {
        let message = format!("`{}` is not a run directory: it has no config.yaml", args.run.display());
        let hint = "give the folder that the run printed, such as `runs/<experiment>/<date_time>`".to_owned();
        return Err(Failure::agreed(Exit::Usage, message, Some(hint)));
    }
    let (mut config, origins) = load_with(&run_dir.config(), &args.overrides, &args.config.options())?;
    config.run.dir = Some(args.run.clone());
    config.run.resume = ResumeMode::Auto;
    Ok((config, origins))
}

/// What is said about options of the launcher behind the verb, or of nobody.
const OPTIONS_FIRST: &str =
    "options of `dtrain launch` come before the verb and the settings; see `dtrain launch --help`";

/// What the words behind `dtrain launch` ask for, the verb among them.
///
/// # Errors
/// A wrong command line, or another launcher.
pub fn read_launched(words: &[String]) -> Result<Verb, Failure> {
    let typed = std::iter::once("dtrain").chain(words.iter().map(String::as_str)).map(OsString::from);
    let cli = parse(typed).map_err(|unread| match unread {
        Unread::Failure(failure) if words.iter().any(|word| is_option_of_launch(word)) => {
            Failure { hint: Some(OPTIONS_FIRST.to_owned()), ..failure }
        }
        Unread::Failure(failure) => failure,
        Unread::Library(error) => {
            let text = error.to_string();
            let text = text.trim_end().strip_prefix("error: ").unwrap_or(text.trim_end()).to_owned();
            Failure::agreed(Exit::Usage, text, Some(OPTIONS_FIRST.to_owned()))
        }
    })?;
    if let Verb::Launch(_) = cli.verb {
        let message = "`dtrain launch` cannot launch itself";
        return Err(Failure::agreed(
            Exit::Usage,
            message,
            Some("name the verb that the ranks shall do".into()),
        ));
    }
    Ok(cli.verb)
}
