//! `dtrain ls` and `dtrain show`.

use clap::Args;

use super::ConfigDir;

/// What can be typed after `dtrain ls`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dtrain ls                     the experiments, with the command of each
  dtrain ls method              what `method=NAME` can be
  dtrain ls --config-dir DIR    your own files too, marked

The groups are experiment, data, augment, model, method, optimizer, schedule, trainer and eval. `dtrain ls study` lists what \
`dtrain sweep study=NAME` runs.")]
pub struct LsArgs {
    /// The group
    #[arg(value_name = "GROUP", default_value = "experiment")]
    pub group: String,
    /// Where else settings may live.
    #[command(flatten)]
    pub config: ConfigDir,
}

/// What can be typed after `dtrain show`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dtrain show supcon_fsdd       the file of an experiment, to copy from
  dtrain show method/simclr     a file of a group
  dtrain show method            the files of a group, as `dtrain ls method` lists them")]
pub struct ShowArgs {
    /// An experiment, a file as GROUP/NAME, or a group
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Where else settings may live.
    #[command(flatten)]
    pub config: ConfigDir,
}
