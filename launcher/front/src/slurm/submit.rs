//! Giving a script to `sbatch`.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::exit::Exit;

/// Why a job was not submitted.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// There is no SLURM here.
    #[error("there is no `sbatch` on this machine")]
    NoSbatch,
    /// It could not be started or fed.
    #[error("`sbatch` cannot be run: {0}")]
    Io(#[from] std::io::Error),
    /// It has refused.
    #[error("`sbatch` refuses the job: {0}")]
    Refused(String),
    /// It said something else than a number.
    #[error("`sbatch` gave no number of a job but `{0}`")]
    NoNumber(String),
}

impl SubmitError {
    /// The next step.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoSbatch => Some("run it where jobs are submitted, or write the script with --print"),
            Self::Refused(_) => Some(
                "`sinfo` lists partitions, nodes and limits; --sbatch-arg adds what this cluster asks for",
            ),
            Self::NoNumber(_) => Some("`squeue --me` shows whether the job is there"),
            Self::Io(_) => None,
        }
    }

    /// What kind of mistake it is.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Refused(message) if !message.contains("contact") => Exit::Usage,
            Self::NoSbatch | Self::Refused(_) | Self::Io(_) | Self::NoNumber(_) => Exit::Environment,
        }
    }
}

/// Submits `script` from the current folder and returns the number of the job.
///
/// # Errors
/// There is no sbatch, or it refuses.
pub fn submit(script: &str) -> Result<String, SubmitError> {
    let started = Command::new("sbatch")
        .arg("--parsable")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = started.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => SubmitError::NoSbatch,
        _ => SubmitError::Io(error),
    })?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that ends early says why.
        let written = stdin.write_all(script.as_bytes());
        drop(stdin);
        if let Err(error) = written
            && error.kind() != std::io::ErrorKind::BrokenPipe
        {
            return Err(error.into());
        }
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        return Err(SubmitError::Refused(reason(&String::from_utf8_lossy(&output.stderr))));
    }
    number(&String::from_utf8_lossy(&output.stdout))
}

/// `1234`, or `1234;cluster`.
fn number(answer: &str) -> Result<String, SubmitError> {
    let number = answer.trim().split(';').next().unwrap_or_default();
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { Ok(number.to_owned()) } else { Err(SubmitError::NoNumber(answer.trim().to_owned())) }
}

/// What sbatch says, without its own prefixes.
fn reason(stderr: &str) -> String {
    let lines = stderr.lines().map(|line| {
        ["sbatch: error: ", "sbatch: "].iter().find_map(|prefix| line.strip_prefix(prefix)).unwrap_or(line)
    });
    lines.map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_found() {
        assert_eq!(number("1234\n").unwrap(), "1234");
        assert_eq!(number("1234;lab\n").unwrap(), "1234");
        for answer in ["", "\n", "Submitted batch job 12", "12a"] {
            assert!(matches!(number(answer), Err(SubmitError::NoNumber(_))), "{answer}");
        }
    }

    #[test]
    fn the_reason_has_no_prefixes() {
        let stderr = "sbatch: error: invalid partition specified: gpu\nsbatch: error: Batch job submission failed: \
                      Invalid partition name specified\n";
        let reason = reason(stderr);
        assert_eq!(
            reason,
            "invalid partition specified: gpu; Batch job submission failed: Invalid partition name specified"
        );
        assert_eq!(SubmitError::Refused(reason).exit(), Exit::Usage);
        let lost = "Batch job submission failed: Unable to contact slurm controller (connect failure)";
        assert_eq!(SubmitError::Refused(lost.into()).exit(), Exit::Environment);
    }
}
