//! What can be typed.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand};

/// Distributed multi-GPU trainer for representation learning on sound and images.
#[derive(Debug, Parser)]
#[command(name = "dtrain", version, max_term_width = 110, disable_help_subcommand = true)]
#[command(after_help = "\
Examples:
  dtrain                                            train the default experiment on generated bird song
  mpirun -n 2 dtrain experiment=simclr_birdsong     the same batch over two processes
  dtrain experiment=supcon_fsdd data.root=fsdd/recordings trainer.max_epochs=5
  dtrain ls                                         the experiments

`dtrain train` is the default verb. Log lines follow RUST_LOG (default: info).")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// Verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Train a model (the default verb)
    Train(TrainArgs),
    /// Go on with a run exactly where it stopped
    Resume(ResumeArgs),
    /// Probe a checkpoint: kNN, linear, classifier
    Eval(EvalArgs),
    /// Write the embeddings of a checkpoint to a safetensors file
    Embed(EmbedArgs),
    /// Make data
    Data {
        /// What to do with data.
        #[command(subcommand)]
        action: DataAction,
    },
    /// Measure this machine
    Bench {
        /// What to measure.
        #[command(subcommand)]
        what: BenchTarget,
    },
    /// List the experiments
    Ls(ConfigDir),
    /// Print the file of an experiment, or of a group as GROUP/NAME
    Show {
        /// Such as `supcon_fsdd` or `model/resnet18`.
        name: String,
        #[command(flatten)]
        config: ConfigDir,
    },
    /// Print a completion script
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

/// Where else settings may live.
#[derive(Debug, Clone, Default, Args)]
pub struct ConfigDir {
    /// Folder with more YAML groups and experiments; its files come before the built-in ones
    #[arg(long, value_name = "DIR")]
    pub config_dir: Option<PathBuf>,
}

/// `dtrain train`.
#[derive(Debug, Args)]
#[command(after_help = "\
Settings follow Hydra: groups and values on the command line, in any order.
  experiment=NAME       choose an experiment (`dtrain ls`)
  model=resnet18        choose a file of a group
  trainer.batch_size=64 set a value; +key=value adds one, ~key takes one back to its default

Examples:
  dtrain experiment=supcon_birdsong seed=1 run.dir=runs/first
  dtrain experiment=simclr_fsdd data.root=fsdd/recordings --cfg
  mpirun --oversubscribe -n 8 dtrain --fast-dev-run")]
pub struct TrainArgs {
    /// Settings: `group=name`, `key.path=value`, `+key=value`, `~key`
    #[arg(value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// Print the settings with the origin of each value, and stop
    #[arg(long)]
    pub cfg: bool,
    /// Check settings, data and model, print the plan, and stop; makes no run directory
    #[arg(long)]
    pub dry_run: bool,
    /// Run N steps and a short evaluation; makes no run directory
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "2", require_equals = true)]
    pub fast_dev_run: Option<u64>,
    #[command(flatten)]
    pub config: ConfigDir,
}

/// `dtrain resume`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  mpirun -n 2 dtrain resume runs/supcon_birdsong/2026-11-21_10-00-00

To start a new run from the weights of another one, use `init_from=RUN` with `dtrain train`.")]
pub struct ResumeArgs {
    /// Run directory
    pub run: PathBuf,
}

/// `dtrain eval`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  mpirun -n 2 dtrain eval runs/first eval.knn.k=50 --json")]
pub struct EvalArgs {
    /// Run directory (its newest checkpoint) or checkpoint folder
    pub checkpoint: PathBuf,
    /// Settings to change, such as `eval.knn.k=50` or `data.root=...`
    #[arg(value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// Print the metrics as JSON to stdout
    #[arg(long)]
    pub json: bool,
}

/// `dtrain embed`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  dtrain embed runs/first --part test --out embeddings.safetensors

The file holds `embeddings` [n, D] (f32), `ids` [n] and one `label.<name>` [n] per label (i64; -1 without label);
names of files and classes are in its metadata.")]
pub struct EmbedArgs {
    /// Run directory (its newest checkpoint) or checkpoint folder
    pub checkpoint: PathBuf,
    /// Settings to change, such as `data.root=...`
    #[arg(value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// Which samples
    #[arg(long, value_enum, default_value = "all")]
    pub part: Part,
    /// File to write
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// Parts of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Every sample.
    All,
    /// What is learned from.
    Train,
    /// What is chosen by.
    Val,
    /// What is reported on.
    Test,
}

/// `dtrain data`.
#[derive(Debug, Subcommand)]
pub enum DataAction {
    /// Generate recordings: birdsong or spoken-digits
    #[command(after_help = "\
Example:
  dtrain data make birdsong --out data/birdsong --seed 1")]
    Make {
        /// Which generator.
        #[arg(value_enum)]
        kind: Generator,
        /// Folder to write (default: data/NAME)
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
        /// The same seed gives the same bytes
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// Size, as a factor of the default
        #[arg(long, default_value_t = 1.0)]
        scale: f64,
    },
}

/// Generators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Generator {
    /// Species with their own syllables; every recording has its own hum, noise, microphone and gain.
    Birdsong,
    /// Digits in the layout of the Free Spoken Digit Dataset.
    SpokenDigits,
}

/// `dtrain bench`.
#[derive(Debug, Subcommand)]
pub enum BenchTarget {
    /// Training steps of an experiment, in samples per second over all ranks
    Step {
        /// Steps that are timed.
        #[arg(long, default_value_t = 20)]
        steps: u64,
        /// Steps before them.
        #[arg(long, default_value_t = 3)]
        warmup: u64,
        #[command(flatten)]
        settings: BenchSettings,
    },
    /// Augmented views per second and core, from decoded samples in memory
    Data {
        #[command(flatten)]
        settings: BenchSettings,
    },
    /// The contrastive loss, in nanoseconds per pair of rows
    Loss {
        /// Rows (two per sample).
        #[arg(long, default_value_t = 32_768)]
        rows: usize,
        /// Width of a row.
        #[arg(long, default_value_t = 128)]
        dim: usize,
        /// Rows of a tile; the loss's own default if absent.
        #[arg(long)]
        tile: Option<usize>,
        /// CPU threads.
        #[arg(long, default_value_t = 1)]
        threads: usize,
        /// Write the figures there as JSON.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
}

/// What to measure with.
#[derive(Debug, Args)]
pub struct BenchSettings {
    /// Settings, as for `dtrain train`
    #[arg(value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// Write the figures there as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    #[command(flatten)]
    pub config: ConfigDir,
}

/// Puts `train` in front where no verb was typed.
pub fn with_default_verb(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut args: Vec<OsString> = args.collect();
    let command = Cli::command();
    let is_verb = |word: &OsString| command.get_subcommands().any(|verb| word == verb.get_name());
    let is_global = |word: &OsString| ["-h", "--help", "-V", "--version"].iter().any(|flag| word == flag);
    let typed = args.get(1);
    if !typed.is_some_and(|word| is_verb(word) || is_global(word)) {
        args.insert(1.min(args.len()), "train".into());
    }
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Cli {
        Cli::try_parse_from(with_default_verb(words.iter().map(OsString::from))).unwrap()
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn train_is_the_default_verb() {
        for words in [vec!["dtrain"], vec!["dtrain", "seed=1"], vec!["dtrain", "--fast-dev-run=3", "seed=1"]]
        {
            assert!(matches!(parse(&words).verb, Verb::Train(_)), "{words:?}");
        }
        assert!(matches!(parse(&["dtrain", "ls"]).verb, Verb::Ls(_)));
    }

    #[test]
    fn fast_dev_run_takes_an_optional_count() {
        let steps = |words: &[&str]| match parse(words).verb {
            Verb::Train(args) => args.fast_dev_run,
            _ => None,
        };
        assert_eq!(steps(&["dtrain", "--fast-dev-run"]), Some(2));
        assert_eq!(steps(&["dtrain", "--fast-dev-run=5"]), Some(5));
        assert_eq!(steps(&["dtrain", "--fast-dev-run", "seed=1"]), Some(2));
    }
}
