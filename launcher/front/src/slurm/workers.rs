//! The array of a sweep's stage: each task is a worker.

use std::process::{Command, Stdio};

use super::job::Job;

/// What the array of a stage asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerJob {
    /// Workers.
    pub workers: usize,
    /// Whether a worker starts its trials alone, and so is one task whatever its node has.
    pub is_single: bool,
    /// The array that has to end before.
    pub after: Option<String>,
    /// Words for `dtrain sweep worker`.
    pub arguments: Vec<String>,
}

impl Job {
    /// The job of a run as that of workers.
    #[must_use]
    pub fn of_workers(mut self, asked: &WorkerJob) -> Self {
        let own = ["--output=", "--array="];
        self.options.retain(|option| !own.iter().any(|name| option.starts_with(name)));
        if asked.is_single {
            for option in &mut self.options {
                if option.starts_with("--ntasks-per-node=") {
                    "--ntasks-per-node=1".clone_into(option);
                }
            }
        }
        let mut more = vec![format!("--array=1-{}", asked.workers), "--output=%x-%A_%a.out".to_owned()];
        // Also after trials that have failed: the next stage takes the best of the others.
        more.extend(asked.after.as_ref().map(|job| format!("--dependency=afterany:{job}")));
        // Before what the user adds, which wins.
        self.options.splice(1..1, more);
        Self { arguments: asked.arguments.clone(), is_array: true, ..self }
    }
}

/// Largest index of an array that the cluster takes; `None`: it does not say.
pub fn max_array_size() -> Option<usize> {
    let asked =
        Command::new("scontrol").args(["show", "config"]).stdin(Stdio::null()).stderr(Stdio::null()).output();
    read_max_array_size(&String::from_utf8_lossy(&asked.ok()?.stdout))
}

/// `MaxArraySize = 1001` means 1000 and less.
fn read_max_array_size(config: &str) -> Option<usize> {
    let line = config.lines().find(|line| line.starts_with("MaxArraySize"))?;
    line.split('=').nth(1)?.trim().parse::<usize>().ok()?.checked_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Launcher;

    #[test]
    fn the_largest_index_is_one_less_than_the_size() {
        assert_eq!(read_max_array_size("MaxArraySize            = 1001\nMaxJobCount = 5\n"), Some(1000));
        assert_eq!(read_max_array_size("MaxJobCount = 5\n"), None);
    }

    #[test]
    fn a_job_of_workers_is_an_array_of_single_tasks() {
        let options =
            ["--job-name=x", "--ntasks-per-node=4", "--gpus-per-node=4", "--output=%x-%j.out", "--qos=low"];
        let job = Job {
            name: "x".into(),
            nodes: 1,
            tasks_per_node: 4,
            options: options.map(str::to_owned).into(),
            setup: Vec::new(),
            arguments: vec!["seed=1".into()],
            launcher: Launcher::Auto,
            is_array: false,
            warnings: Vec::new(),
        };
        let asked = WorkerJob {
            workers: 3,
            is_single: true,
            after: Some("17".into()),
            arguments: vec!["sweeps/a".into()],
        };
        let job = job.of_workers(&asked);
        assert_eq!(
            job.options,
            [
                "--job-name=x",
                "--array=1-3",
                "--output=%x-%A_%a.out",
                "--dependency=afterany:17",
                "--ntasks-per-node=1",
                "--gpus-per-node=4",
                "--qos=low"
            ]
        );
        assert_eq!(job.arguments, ["sweeps/a"]);
    }
}
