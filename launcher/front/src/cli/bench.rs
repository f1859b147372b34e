//! `dtrain bench`.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::ConfigDir;
use super::sizes::{Shape, parse_bytes, parse_shape};

/// What can be typed after `dtrain bench`.
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
        /// What to measure with.
        #[command(flatten)]
        settings: BenchSettings,
    },
    /// Augmented views per second and core, from decoded samples in memory
    Data {
        /// What to measure with.
        #[command(flatten)]
        settings: BenchSettings,
    },
    /// Opening a set of images: headers, length, first and last sample
    #[command(after_help = "\
Example:
  dtrain bench open /data/vimh --rounds 20 --json open.json")]
    Open {
        /// Folder of the set
        #[arg(value_name = "DATA")]
        data: PathBuf,
        /// Times that it is opened
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
        rounds: u32,
        /// Write the figures there as JSON.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
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
    /// Nearest neighbours and linear probes on random embeddings, in seconds and bytes
    Probes {
        /// Embeddings with a known class.
        #[arg(long, default_value_t = 50_000)]
        rows: usize,
        /// Embeddings whose class is asked for.
        #[arg(long, default_value_t = 10_000)]
        queries: usize,
        /// Width of an embedding.
        #[arg(long, default_value_t = 512)]
        dim: usize,
        /// Classes.
        #[arg(long, default_value_t = 10)]
        classes: usize,
        /// Weight decays of the linear probe, each fitted once.
        #[arg(long, value_name = "DECAY,...", value_delimiter = ',', default_value = "1e-4,1e-3,1e-2,1e-1")]
        decays: Vec<f64>,
        /// CPU threads.
        #[arg(long, default_value_t = 2)]
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
        /// What to measure with.
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
        /// What to measure with.
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
        /// What to measure with.
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

impl BenchTarget {
    /// The file that the figures are written to.
    pub fn json(&self) -> Option<&Path> {
        let json = match self {
            Self::Open { json, .. }
            | Self::Loss { json, .. }
            | Self::Probes { json, .. }
            | Self::Predict { json, .. } => json,
            _ => &self.settings()?.json,
        };
        json.as_deref()
    }

    /// The settings of a run, where it measures with them.
    pub fn settings(&self) -> Option<&BenchSettings> {
        match self {
            Self::Step { settings, .. }
            | Self::Data { settings }
            | Self::Comm { settings, .. }
            | Self::Checkpoint { settings, .. }
            | Self::Upkeep { settings, .. } => Some(settings),
            Self::Open { .. } | Self::Loss { .. } | Self::Probes { .. } | Self::Predict { .. } => None,
        }
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
    /// Where else settings may live.
    #[command(flatten)]
    pub config: ConfigDir,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::{Cli, Verb};
    use super::*;

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
