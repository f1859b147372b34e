//! `dtrain verify`.

use clap::Subcommand;

use super::{EquivalenceArgs, ResumeProofArgs, VerifyDeviceArgs};

/// What can be typed after `dtrain verify`.
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
