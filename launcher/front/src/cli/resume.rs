//! `dtrain resume`.

use std::path::PathBuf;

use clap::Args;

use super::ConfigDir;

/// What can be typed after `dtrain resume`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mpirun -n 2 dtrain resume runs/supcon_birdsong/2026-11-21_10-00-00
  dtrain resume runs/a trainer.max_epochs=16 stop.patience=5    train longer, judge otherwise
  dtrain resume runs/a trainer.max_epochs=40 schedule.length=new    train longer where the schedule ends with the run
  dtrain resume runs/a data.root=/scratch/recordings            the data were moved

Settings that make no other recipe may change: the length, `stop.*`, `eval.*`, `checkpoint.*`, `track.*`, `comm.*` and
`data.root`. Where the schedule ends with the run, `schedule.length` says what becomes of it: `keep` stays at its last
rate from its old end on, `new` goes on as if the run had had the new length from the beginning. Each change is said in
the banner and written to history.jsonl.
To start a new run from the weights of another one, use `init_from=RUN` with `dtrain train`.")]
pub struct ResumeArgs {
    /// Run directory
    pub run: PathBuf,
    /// Settings that change from now on, as for `dtrain train`
    #[arg(value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// Where else settings may live.
    #[command(flatten)]
    pub config: ConfigDir,
}
