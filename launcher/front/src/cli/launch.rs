//! What can be typed after `dtrain launch`.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::str::FromStr;

use clap::Args;

use super::{ConfigDir, in_order};

/// `dtrain launch`.
#[derive(Debug, Args)]
#[command(after_help = "\
Options of the launcher come first; everything from the verb or the first setting on is for the ranks. When ranks die, the
first to fail is named and a training run goes on from its newest checkpoint. Ctrl-C once saves and stops, twice stops
at once; SIGTERM, SIGUSR1 and SIGHUP save and end with 75.

Examples:
  dtrain launch experiment=supcon_birdsong              one process per GPU, else per four cores
  dtrain launch -n 8 --max-restarts 20 experiment=simclr_fsdd run.dir=runs/a
  dtrain launch -n 8 resume runs/a
  dtrain launch -n 4 eval runs/a --json
  dtrain launch -n 16 --hosts node1,node2 experiment=simclr_fsdd")]
pub struct LaunchArgs {
    /// Processes: a number, or `auto` for one per GPU, else one per group of cores
    #[arg(short = 'n', long = "ranks", value_name = "N|auto", default_value = "auto")]
    pub ranks: NumRanks,
    /// Times that a run is started again after its ranks died
    #[arg(long, value_name = "R", default_value_t = 3)]
    pub max_restarts: u32,
    /// Cores of a process; with -n, all processes together use N x C of the cores [default: 4 for `auto`, else all cores]
    #[arg(long, value_name = "C")]
    pub cores_per_rank: Option<NonZeroUsize>,
    /// Machines to use, each with `dtrain` and its worker at the same path, reached by ssh; `HOST:N` gives a machine N processes
    #[arg(long, value_name = "HOST,...", value_delimiter = ',')]
    pub hosts: Vec<String>,
    /// More options for mpirun, such as "--mca btl_tcp_if_include eth0"
    #[arg(long, value_name = "WORDS", allow_hyphen_values = true)]
    pub mpirun_args: Option<String>,
    /// Seconds that ranks have for saving after a signal before they are killed
    #[arg(long, value_name = "SECS", default_value_t = 120)]
    pub grace_secs: u32,
    /// Where else settings may live.
    #[command(flatten)]
    pub config: ConfigDir,
    /// Verb (default: train) and its words
    #[arg(value_name = "VERB|KEY=VALUE", trailing_var_arg = true, allow_hyphen_values = true)]
    pub words: Vec<String>,
}

impl LaunchArgs {
    /// The words for the ranks, the verb first.
    pub fn words_with_verb(&self) -> Vec<String> {
        let typed = std::iter::once("dtrain".to_owned()).chain(self.words.iter().cloned());
        let words = in_order(typed.map(OsString::from)).into_iter().skip(1);
        // The variable reaches the ranks by itself.
        let folder = self.config.config_dir.iter().flat_map(|folder| {
            let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.clone());
            ["--config-dir".into(), folder.into_os_string()]
        });
        words.chain(folder).map(|word| word.to_string_lossy().into_owned()).collect()
    }
}

/// How many processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NumRanks {
    /// As many as the machine is made for.
    Auto,
    /// So many.
    Exactly(NonZeroUsize),
}

impl FromStr for NumRanks {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(NumRanks::Auto),
            number => {
                number.parse().map(NumRanks::Exactly).map_err(|_| "neither a number from 1 on nor `auto`")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Verb};

    fn parse(words: &[&str]) -> Result<LaunchArgs, clap::Error> {
        match Cli::try_parse_from(["dtrain", "launch"].iter().chain(words))?.verb {
            Verb::Launch(args) => Ok(args),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn options_come_first_and_the_rest_is_for_the_ranks() {
        let args = parse(&["-n", "2", "--max-restarts", "7", "seed=1", "--dry-run", "-n", "3"]).unwrap();
        assert_eq!(args.ranks, NumRanks::Exactly(NonZeroUsize::new(2).unwrap()));
        assert_eq!((args.max_restarts, args.grace_secs), (7, 120));
        assert_eq!(args.words, ["seed=1", "--dry-run", "-n", "3"]);
        assert_eq!(parse(&["-n", "auto", "--", "resume", "runs/a"]).unwrap().words, ["resume", "runs/a"]);
        assert_eq!(parse(&["--fast-dev-run"]).unwrap().words, ["--fast-dev-run"]);
    }

    #[test]
    fn the_folder_of_settings_is_handed_to_the_ranks() {
        let args = parse(&["--config-dir", "/d", "-n", "2", "seed=1"]).unwrap();
        assert_eq!(args.words_with_verb(), ["train", "seed=1", "--config-dir", "/d"]);
        let args = parse(&["-n", "2", "verify", "equivalence", "--config-dir", "/d"]).unwrap();
        assert_eq!(args.words_with_verb(), ["verify", "equivalence", "--config-dir", "/d"]);
    }

    #[test]
    fn hosts_and_options_of_mpirun_are_taken() {
        let args = parse(&["--hosts", "a,b:2", "--mpirun-args", "--mca btl tcp,self", "seed=1"]).unwrap();
        assert_eq!(args.hosts, ["a", "b:2"]);
        assert_eq!(args.mpirun_args.as_deref(), Some("--mca btl tcp,self"));
        assert_eq!((args.ranks, args.words.len()), (NumRanks::Auto, 1));
    }

    #[test]
    fn numbers_of_ranks_are_checked() {
        for wrong in ["0", "-1", "two", "", "1.5", "99999999999999999999999"] {
            assert!(parse(&["-n", wrong]).is_err(), "{wrong}");
        }
    }
}
