//! What can be typed.

mod resume_proof;

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::launch::LaunchArgs;
use crate::slurm::args::SlurmTarget;
pub use resume_proof::ResumeProofArgs;

/// Distributed multi-GPU trainer for representation learning on sound and images.
#[derive(Debug, Parser)]
#[command(name = "dtrain", version, max_term_width = 110, disable_help_subcommand = true)]
#[command(after_help = "\
Examples:
  dtrain                                            train the default experiment on generated bird song
  dtrain launch -n 2 experiment=simclr_birdsong     the same batch over two processes
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
    /// Start one process per GPU, watch them, and start them again when they die
    Launch(LaunchArgs),
    /// Go on with a run exactly where it stopped
    Resume(ResumeArgs),
    /// Ask a run to save and end, and wait until it has
    Stop(StopArgs),
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
    /// Look at the checkpoints of a run
    Checkpoint {
        /// What to do with them.
        #[command(subcommand)]
        action: CheckpointAction,
    },
    /// Prove a promise of this program on this machine
    Verify {
        /// What to prove.
        #[command(subcommand)]
        what: VerifyTarget,
    },
    /// Measure this machine
    Bench {
        /// What to measure.
        #[command(subcommand)]
        what: BenchTarget,
    },
    /// Write or submit a SLURM job
    Slurm {
        /// What the job does.
        #[command(subcommand)]
        what: SlurmTarget,
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
    /// Print the number of GPUs that the driver shows
    #[command(hide = true)]
    CountGpus,
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
  mpirun --oversubscribe -n 8 dtrain --fast-dev-run
  dtrain experiment=simclr_birdsong trainer.batch_size=512 --dry-run world=64")]
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
    /// With --dry-run: plan memory, messages and speed for N ranks instead of those at hand; `world=N` means the same
    #[arg(long, value_name = "N", requires = "dry_run")]
    pub world: Option<NonZeroUsize>,
    /// Run N steps and a short evaluation; makes no run directory
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "2", require_equals = true)]
    pub fast_dev_run: Option<u64>,
    #[command(flatten)]
    pub config: ConfigDir,
}

impl TrainArgs {
    /// The ranks to plan for: `--world N`, or the word `world=N` beside `--dry-run`, which is taken out of the settings.
    /// Without `--dry-run` the word stays there and is refused with them, as there is no such key.
    ///
    /// # Errors
    /// A text for people when the word is no number of ranks or contradicts the option.
    pub fn take_planned_world(&mut self) -> Result<Option<usize>, String> {
        if !self.dry_run {
            return Ok(None);
        }
        let mut world = self.world;
        for word in self.overrides.extract_if(.., |word| word.starts_with(WORLD_WORD)) {
            let number = word.trim_start_matches(WORLD_WORD);
            let typed: NonZeroUsize =
                number.parse().map_err(|_| format!("`{word}`: `{number}` is not a number of ranks"))?;
            if world.is_some_and(|other| other != typed) {
                return Err(format!("`{word}` contradicts another number of ranks to plan for"));
            }
            world = Some(typed);
        }
        Ok(world.map(NonZeroUsize::get))
    }
}

/// What `--dry-run` takes beside settings.
const WORLD_WORD: &str = "world=";

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

/// `dtrain stop`.
#[derive(Debug, Args)]
#[command(after_help = "\
The run hears of it within a second, on whatever machine it runs, finishes the step, evaluation or checkpoint at hand,
saves and ends with 130, or with 75 after --requeue.

Example:
  dtrain stop runs/supcon_birdsong/2026-11-21_10-00-00")]
pub struct StopArgs {
    /// Run directory
    pub run: PathBuf,
    /// Let whoever started the run start it again
    #[arg(long)]
    pub requeue: bool,
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
    /// Generate recordings (birdsong, spoken-digits) or images (digits, vimh, cifar10, cifar100mh)
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
    /// Write a set of images in another format as VIMH, for instance CIFAR-100-MH
    #[command(after_help = "\
Examples:
  dtrain data convert data/cifar100mh data/vimh-32x32x3_cifar100mh")]
    Convert {
        /// Folder of the set.
        source: PathBuf,
        /// Folder to write.
        out: PathBuf,
    },
}

/// Generators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Generator {
    /// Species with their own syllables; every recording has its own hum, noise, microphone and gain.
    Birdsong,
    /// Digits in the layout of the Free Spoken Digit Dataset.
    SpokenDigits,
    /// Drawn digits in the files of MNIST, with thickness and smoothness.
    Digits,
    /// Spectrograms of struck resonators as VIMH, with note, velocity and decay.
    Vimh,
    /// Drawn objects in the files of CIFAR-10.
    Cifar10,
    /// Drawn objects in the files of CIFAR-100-MH, with class, color and size.
    Cifar100mh,
}

/// `dtrain checkpoint`.
#[derive(Debug, Subcommand)]
pub enum CheckpointAction {
    /// All checkpoints of a run, on both tiers: step, size, which one a resume takes, which is the best
    Ls {
        /// Run directory.
        run: PathBuf,
        /// Print JSON to stdout
        #[arg(long)]
        json: bool,
    },
    /// Read every file and compare it with its checksum; exit code 1: something is damaged
    #[command(after_help = "\
Examples:
  dtrain checkpoint verify runs/first
  dtrain checkpoint verify runs/first/checkpoints/step-00001200 --json")]
    Verify {
        /// Run directory (all of its checkpoints) or checkpoint folder.
        #[arg(value_name = "RUN|CHECKPOINT")]
        path: PathBuf,
        /// Print JSON to stdout
        #[arg(long)]
        json: bool,
    },
    /// Delete old checkpoints; the best one and the newest valid one stay
    #[command(after_help = "\
Example:
  dtrain checkpoint prune runs/first --keep-last 1 --dry-run")]
    Prune {
        /// Run directory.
        run: PathBuf,
        /// Newest valid checkpoints that stay
        #[arg(long, value_name = "N")]
        keep_last: NonZeroUsize,
        /// Say what would be deleted, and delete nothing
        #[arg(long)]
        dry_run: bool,
        /// Print JSON to stdout
        #[arg(long)]
        json: bool,
    },
}

/// `dtrain verify`.
#[derive(Debug, Subcommand)]
pub enum VerifyTarget {
    /// Ranks, micro-batches, tiles, buckets and shards do not change what is trained
    #[command(after_help = "\
Trains the first steps of the experiment in many ways from equal weights on the same batches and compares each with one
rank and one piece. Ranks are threads of this process; under mpirun they are the processes. Exit code 1: a difference
is beyond its tolerance.

Examples:
  dtrain verify equivalence
  dtrain verify equivalence experiment=simclr_fsdd --ranks 1,2,8 --batch 24 --json equivalence.json
  mpirun -n 4 dtrain verify equivalence comm.backend=nccl")]
    Equivalence(EquivalenceArgs),
    /// A run that is killed and resumed ends as one that is not, bit for bit
    #[command(after_help = "\
Trains the experiment twice for the same number of steps in child processes of this program: undisturbed, and killed with
SIGKILL at random moments, each time followed by the same command or `dtrain resume`. Then everything that is saved and
recorded is compared: weights, moments, state, metrics. Exit code 1: something differs.

Examples:
  dtrain verify resume
  dtrain verify resume experiment=simclr_fsdd --world 2 --steps 60 --kills 5 --json resume.json
  dtrain verify resume experiment=supcon_birdsong --world 2,1,3")]
    Resume(ResumeProofArgs),
    /// A device computes what the CPU computes in 64 bits
    #[command(after_help = "\
Every loss, network, method and optimizer, forward and backward, in each precision by itself. Exit code 1: a result is
beyond its tolerance.

Examples:
  dtrain verify device --precision fp32,tf32,bf16,fp16
  dtrain verify device --device cpu --quick --json device.json")]
    Device(VerifyDeviceArgs),
}

/// `dtrain verify device`.
#[derive(Debug, Args)]
pub struct VerifyDeviceArgs {
    /// Device to check
    #[arg(long, value_enum, default_value = "auto")]
    pub device: DeviceName,
    /// Precisions to check it in
    #[arg(long, value_enum, value_name = "NAME,...", value_delimiter = ',', default_value = "fp32,bf16")]
    pub precision: Vec<PrecisionName>,
    /// Leave the two largest networks out
    #[arg(long)]
    pub quick: bool,
    /// Write all numbers there as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum DeviceName {
    /// A GPU where there is one, else the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// The first GPU.
    Cuda,
}

/// Precisions of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum PrecisionName {
    /// 32-bit floats.
    Fp32,
    /// 32-bit floats whose factors GPUs round to 10 bits of mantissa.
    Tf32,
    /// Autocast to bfloat16.
    Bf16,
    /// Autocast to 16-bit floats.
    Fp16,
}

/// `dtrain verify equivalence`.
#[derive(Debug, Args)]
pub struct EquivalenceArgs {
    /// Settings, as for `dtrain train`
    #[arg(value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// Numbers of ranks to compare [default: 1,2,3,4]; not under mpirun
    #[arg(long, value_name = "N,N,...", value_delimiter = ',')]
    pub ranks: Option<Vec<usize>>,
    /// Samples of a global batch [default: 16, or `trainer.batch_size` where that is smaller]
    #[arg(long, value_name = "N")]
    pub batch: Option<usize>,
    /// Optimizer steps
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    pub steps: u32,
    /// Write all numbers there as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    #[command(flatten)]
    pub config: ConfigDir,
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
        /// Random views of this shape that are on the device already, instead of data
        #[arg(long, value_name = "CxHxW", value_parser = parse_shape)]
        synthetic: Option<Shape>,
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
    /// Collectives between the ranks, in algorithm and bus bandwidth as nccl-tests defines them
    #[command(after_help = "\
Example:
  mpirun -n 8 dtrain bench comm --bytes 1M,25M,100M comm.backend=nccl")]
    Comm {
        /// Sizes of the whole buffer; K, M and G are powers of 1024.
        #[arg(long, value_name = "SIZE,...", value_delimiter = ',', value_parser = parse_bytes)]
        #[arg(default_value = "1M,25M,100M")]
        bytes: Vec<usize>,
        /// Times that each size is measured.
        #[arg(long, default_value_t = 20)]
        reps: usize,
        #[command(flatten)]
        settings: BenchSettings,
    },
    /// Saving: how long training pauses, and the speed of writing beside a plain write and fsync of the same size
    #[command(after_help = "\
Without other settings it is ResNet-50 with AdamW. Every round saves once without and once with the thread, and writes as
many bytes plainly, in turn.

Example:
  dtrain bench checkpoint --dir /scratch --rounds 5 --json checkpoint.json")]
    Checkpoint {
        /// Folder on the disk that is measured
        #[arg(long, value_name = "DIR", default_value = ".")]
        dir: PathBuf,
        /// Times that everything is measured
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
        rounds: u32,
        #[command(flatten)]
        settings: BenchSettings,
    },
    /// What coordinator, heartbeat and comparison of replicas cost a step
    #[command(after_help = "\
Example:
  mpirun -n 2 dtrain bench upkeep model=resnet50 --json upkeep.json")]
    Upkeep {
        /// Rounds of reports that are timed.
        #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..))]
        rounds: u32,
        #[command(flatten)]
        settings: BenchSettings,
    },
    /// The cost model's step for constants in a JSON file (docs/scaling.md)
    Predict {
        /// Fields as bench/scaling.py writes them.
        inputs: PathBuf,
        /// Write the figures there as JSON.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
}

/// Channels, height and width of a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape(pub [i64; 3]);

/// Largest side of a synthetic view.
const MAX_SIDE: i64 = 1 << 16;

/// `3x224x224`.
fn parse_shape(text: &str) -> Result<Shape, String> {
    let sizes: Option<Vec<i64>> = text.split('x').map(|size| size.parse().ok()).collect();
    match sizes.as_deref() {
        Some(&[channels, height, width])
            if [channels, height, width].iter().all(|size| (1..=MAX_SIDE).contains(size)) =>
        {
            Ok(Shape([channels, height, width]))
        }
        _ => Err("not channels, height and width such as 3x224x224".into()),
    }
}

/// Largest buffer of `bench comm`.
const MAX_COMM_BYTES: usize = 64 << 30;

/// `25M` and the like.
fn parse_bytes(text: &str) -> Result<usize, String> {
    let (number, shift) = match text.trim().char_indices().last() {
        Some((at, 'K' | 'k')) => (text.trim().get(..at), 10),
        Some((at, 'M' | 'm')) => (text.trim().get(..at), 20),
        Some((at, 'G' | 'g')) => (text.trim().get(..at), 30),
        _ => (Some(text.trim()), 0),
    };
    let number: usize = number
        .and_then(|number| number.parse().ok())
        .ok_or("not a number of bytes such as 4096, 64K, 25M or 1G")?;
    match number.checked_mul(1 << shift) {
        Some(bytes) if (1..=MAX_COMM_BYTES).contains(&bytes) => Ok(bytes),
        _ => Err("not between 1 byte and 64G".into()),
    }
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

    fn train(words: &[&str]) -> TrainArgs {
        match parse(words).verb {
            Verb::Train(args) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn synthetic_views_have_a_shape() {
        assert_eq!(parse_shape("3x224x200"), Ok(Shape([3, 224, 200])));
        for wrong in
            ["", "3", "3x4", "3x4x5x6", "3x0x4", "-1x4x4", "3x4x99999999999999999999", "3x4xa", "3x70000x1"]
        {
            assert!(parse_shape(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn devices_are_verified_in_the_precisions_that_are_named() {
        let args = |words: &[&str]| match parse(words).verb {
            Verb::Verify { what: VerifyTarget::Device(args) } => args,
            other => panic!("{other:?}"),
        };
        let plain = args(&["dtrain", "verify", "device"]);
        assert_eq!((plain.device, plain.quick), (DeviceName::Auto, false));
        assert_eq!(plain.precision, [PrecisionName::Fp32, PrecisionName::Bf16]);
        let typed = args(&["dtrain", "verify", "device", "--device", "cuda", "--precision", "tf32,fp16"]);
        assert_eq!(
            (typed.device, typed.precision),
            (DeviceName::Cuda, vec![PrecisionName::Tf32, PrecisionName::Fp16])
        );
        assert!(Cli::try_parse_from(["dtrain", "verify", "device", "--precision", "fp64"]).is_err());
    }

    #[test]
    fn a_dry_run_plans_for_another_world() {
        for words in [
            &["dtrain", "seed=1", "--dry-run", "world=1024"][..],
            &["dtrain", "--dry-run", "--world", "1024", "seed=1"],
            &["dtrain", "world=1024", "--world=1024", "seed=1", "--dry-run"],
        ] {
            let mut args = train(words);
            assert_eq!(args.take_planned_world(), Ok(Some(1024)), "{words:?}");
            assert_eq!(args.overrides, ["seed=1"]);
        }
        assert_eq!(train(&["dtrain", "--dry-run"]).take_planned_world(), Ok(None));
    }

    #[test]
    fn a_world_to_plan_for_needs_a_dry_run_and_a_number() {
        let mut plain = train(&["dtrain", "world=8"]);
        assert_eq!(plain.take_planned_world(), Ok(None));
        assert_eq!(plain.overrides, ["world=8"]);
        assert!(Cli::try_parse_from(["dtrain", "train", "--world", "8"]).is_err());
        assert!(Cli::try_parse_from(["dtrain", "train", "--dry-run", "--world", "0"]).is_err());
        for word in ["world=", "world=0", "world=-1", "world=many", "world=99999999999999999999999"] {
            let message = train(&["dtrain", "--dry-run", word]).take_planned_world().unwrap_err();
            assert!(message.contains("is not a number of ranks"), "{message}");
        }
        let message =
            train(&["dtrain", "--dry-run", "--world=8", "world=4"]).take_planned_world().unwrap_err();
        assert!(message.contains("contradicts"), "{message}");
    }

    fn comm(words: &[&str]) -> Result<(Vec<usize>, usize, Vec<String>), clap::Error> {
        let words = ["dtrain", "bench", "comm"].iter().chain(words);
        match Cli::try_parse_from(words)?.verb {
            Verb::Bench { what: BenchTarget::Comm { bytes, reps, settings } } => {
                Ok((bytes, reps, settings.overrides))
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn bench_comm_takes_sizes_and_settings() {
        let (bytes, reps, overrides) = comm(&[]).unwrap();
        assert_eq!((bytes, reps, overrides.len()), (vec![1 << 20, 25 << 20, 100 << 20], 20, 0));
        let (bytes, reps, overrides) =
            comm(&["--bytes", "4,64k,1G", "--reps", "3", "comm.backend=nccl"]).unwrap();
        assert_eq!((bytes, reps), (vec![4, 64 << 10, 1 << 30], 3));
        assert_eq!(overrides, ["comm.backend=nccl"]);
        for size in ["", "M", "0", "-1", "1T", "65G", "99999999999999999999", "1.5M", "25\u{b5}"] {
            assert!(comm(&["--bytes", size]).is_err(), "{size}");
        }
    }

    #[test]
    fn bench_predict_takes_a_file() {
        let cli = Cli::try_parse_from(["dtrain", "bench", "predict", "constants.json"]).unwrap();
        assert!(matches!(cli.verb, Verb::Bench { what: BenchTarget::Predict { json: None, .. } }));
        assert!(Cli::try_parse_from(["dtrain", "bench", "predict"]).is_err());
    }
}
