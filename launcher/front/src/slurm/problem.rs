//! What SLURM would refuse, or run in vain: found before anything is submitted, all at once.

use crate::cli::TimeLimit;

/// A reason not to submit a job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The save would begin when the job does.
    #[error(
        "a time limit of {limit} leaves no time to train: the run saves {margin_secs} s before it, and SLURM may be \
         {SLACK_SECS} s early"
    )]
    TooShort {
        /// `--time`.
        limit: TimeLimit,
        /// `--save-margin-secs`.
        margin_secs: u64,
    },
    /// Ranks without a sample.
    #[error("{run}`trainer.batch_size={batch}` is less than one sample for each of {world} ranks")]
    BatchTooSmall {
        /// `line 3: ` of a sweep, else empty.
        run: String,
        /// Samples per step.
        batch: usize,
        /// Ranks.
        world: usize,
    },
    /// GPUs that nobody uses.
    #[error("{run}`trainer.device=cpu` does not use the {gpus} GPU(s) of a node that are asked for")]
    IdleGpus {
        /// As above.
        run: String,
        /// `--gpus-per-node`.
        gpus: usize,
    },
    /// A run that needs what it does not ask for.
    #[error("{run}`trainer.device=cuda` needs a GPU, and none is asked for")]
    NoGpus {
        /// As above.
        run: String,
    },
    /// More ranks than can be counted.
    #[error("{nodes} nodes of {tasks} tasks are too many")]
    TooManyTasks {
        /// `--nodes`.
        nodes: usize,
        /// Tasks on each.
        tasks: usize,
    },
    /// A value that would break its line of the script.
    #[error("`{option}` is `{value}`, which is not a single word")]
    NotAWord {
        /// The option.
        option: &'static str,
        /// What was typed, with control characters escaped.
        value: String,
    },
    /// A line of the set-up that is none, or several.
    #[error("`--setup` is `{value}`, which is not one line of shell")]
    NotALine {
        /// What was typed, with control characters escaped.
        value: String,
    },
    /// No option of sbatch.
    #[error("`--sbatch-arg` is `{value}`, which is not an option of sbatch")]
    NotAnOption {
        /// What was typed, with control characters escaped.
        value: String,
    },
}

/// SLURM's man page: the signal may come up to a minute earlier than asked for.
pub(super) const SLACK_SECS: u64 = 60;

impl Problem {
    /// The next step.
    pub fn hint(&self) -> String {
        match self {
            Self::TooShort { margin_secs, .. } => {
                let least = TimeLimit::Secs((margin_secs + SLACK_SECS + 1).div_ceil(60) * 60);
                format!("give at least `--time {least}`, or a shorter `--save-margin-secs`")
            }
            Self::BatchTooSmall { .. } => "raise `trainer.batch_size`, or ask for fewer nodes or tasks".into(),
            Self::IdleGpus { .. } => {
                "leave `--gpus-per-node` out, or choose `trainer.device=auto`; `--tasks-per-node` gives CPU ranks".into()
            }
            Self::NoGpus { .. } => "give `--gpus-per-node N`".into(),
            Self::TooManyTasks { .. } => "ask for fewer".into(),
            Self::NotAWord { .. } => "use letters, digits and signs, without blanks and quotes".into(),
            Self::NotALine { .. } => "give `--setup` once for each line".into(),
            Self::NotAnOption { .. } => "write it as `--sbatch-arg=--constraint=a100`".into(),
        }
    }
}

/// All of them as one message, and the hint of a single one.
pub fn report(problems: &[Problem]) -> (String, Option<String>) {
    if let [only] = problems {
        return (only.to_string(), Some(only.hint()));
    }
    let mut text = format!("{} problems with the job", problems.len());
    for problem in problems {
        text.push_str(&format!("\n\n{problem}\nhint: {}", problem.hint()));
    }
    (text, None)
}
