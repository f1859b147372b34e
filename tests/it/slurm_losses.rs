//! A job that loses its nodes in every way that a real SLURM has ends with the weights of the undisturbed run. Skipped
//! with a line where SLURM is not installed.

use dtrain_tests::{RunFiles, Sandbox, SlurmLab};

use crate::small_runs::{settings, with_recordings};

/// Long enough for every loss to come in its midst.
const STEPS: u64 = 400;

fn long_run(run: &str) -> Vec<String> {
    let (dir, steps) = (format!("run.dir={run}"), format!("trainer.max_steps={STEPS}"));
    let more = ["trainer.batch_size=8", "trainer.max_epochs=null", "checkpoint.every_steps=25", &dir, &steps];
    settings("simclr", &more)
}

/// A job of two nodes, and the run that it trains.
struct Losing<'a> {
    lab: &'a mut SlurmLab,
    job: String,
    run: RunFiles,
}

impl<'a> Losing<'a> {
    fn start(lab: &'a mut SlurmLab, sandbox: &Sandbox, options: &[&str]) -> Self {
        let script = SlurmLab::script("train.sbatch");
        let words = options.iter().map(|&word| word.to_owned()).chain([script]).chain(long_run("cut"));
        let job = lab.sbatch(sandbox.path(), words);
        let losing = Self { lab, job, run: sandbox.run("cut") };
        losing.wait_for_steps();
        losing
    }

    fn step(&self) -> u64 {
        self.run.metrics().last().map_or(0, |line| line.step)
    }

    /// Some more than now.
    fn wait_for_steps(&self) {
        let now = self.step();
        self.lab.wait_until("it trains", |_| self.step() > now + 10);
    }

    /// Lets `cause` take the job away, and waits until it trains again.
    fn lose(&mut self, cause: &str, take: impl FnOnce(&mut SlurmLab, &str)) {
        let before = self.lab.job(&self.job);
        let at = self.step();
        assert!(before.state() == "RUNNING" && at < STEPS, "{cause}: {} at step {at}", before.state());
        take(self.lab, &self.job);
        let restarts = before.restarts() + 1;
        self.lab.wait_until(&format!("the job is back after: {cause}"), |lab| {
            let now = lab.job(&self.job);
            now.restarts() >= restarts && now.state() == "RUNNING"
        });
        // What was done before the last checkpoint is done again, so that the count of lines may have gone back.
        self.wait_for_steps();
    }

    /// Waits for the end; the weights are those of `whole`, and every step was recorded once.
    #[track_caller]
    fn ends_as(self, whole: &RunFiles, output: &str) {
        let info = self.lab.wait_for_end(&self.job);
        assert_eq!((info.state(), info.exit_code()), ("COMPLETED", 0), "{output}");
        for file in ["model.safetensors", "optimizer.safetensors"] {
            assert!(self.run.newest(file) == whole.newest(file), "{file} differs");
        }
        let steps: Vec<u64> = self.run.metrics().iter().map(|line| line.step).collect();
        assert_eq!(steps, (1..=STEPS).collect::<Vec<u64>>());
        assert_eq!(self.run.result()["stop_reason"], "finished");
    }
}

/// The shell of the script is told as before a time limit: the ranks save, and the script requeues the job.
fn time_limit(lab: &mut SlurmLab, job: &str) {
    lab.ask("scancel", &["--batch", "--signal=USR1", job]);
}

fn requeue(lab: &mut SlurmLab, job: &str) {
    lab.ask("scontrol", &["requeue", job]);
}

/// A job of a partition with priority takes all nodes for a moment.
fn preemption(lab: &mut SlurmLab, _job: &str) {
    let nodes =
        lab.ask("sinfo", &["--noheader", "--partition=debug", "--format=%D", "--states=idle,alloc,mix"]);
    let nodes: usize = nodes.lines().filter_map(|line| line.trim().parse::<usize>().ok()).sum();
    let nodes = format!("--nodes={nodes}");
    let words = ["--partition=urgent", "--exclusive", &nodes, "--output=/dev/null", "--wrap=sleep 1"];
    lab.sbatch(&std::env::temp_dir(), words);
}

fn lost_node(lab: &mut SlurmLab, job: &str) {
    let batch_host = lab.job(job).get("BatchHost").to_owned();
    let hosts = lab.ask("scontrol", &["show", "hostnames", lab.job(job).get("NodeList")]);
    let other = hosts.lines().find(|host| *host != batch_host).expect("the job has two nodes").to_owned();
    lab.lose_node(&other);
}

fn undisturbed(sandbox: &Sandbox) -> RunFiles {
    sandbox.dtrain(long_run("whole")).ranks(2).finish().succeeded();
    sandbox.run("whole")
}

#[test]
fn a_job_under_srun_survives_every_loss() {
    let sandbox = with_recordings(12);
    if !SlurmLab::is_installed() {
        return;
    }
    let whole = undisturbed(&sandbox);
    let Some(mut lab) = SlurmLab::start(3, 0) else { return };
    let mut job = Losing::start(&mut lab, &sandbox, &["--nodes=2"]);
    job.lose("the time limit is near", time_limit);
    job.lose("scontrol requeue", requeue);
    job.lose("preemption", preemption);
    job.lose("a node is lost", lost_node);
    let output = std::fs::read_to_string(sandbox.join(format!("dtrain-{}.out", job.job))).unwrap_or_default();
    job.ends_as(&whole, &output);
}

#[test]
fn a_job_under_mpirun_survives_too() {
    let sandbox = with_recordings(12);
    if !SlurmLab::is_installed() {
        return;
    }
    let whole = undisturbed(&sandbox);
    let Some(mut lab) = SlurmLab::start(2, 0) else { return };
    let mut job = Losing::start(&mut lab, &sandbox, &["--export=ALL,DTRAIN_LAUNCHER=mpirun"]);
    job.lose("the time limit is near", time_limit);
    job.lose("preemption", preemption);
    let output = std::fs::read_to_string(sandbox.join(format!("dtrain-{}.out", job.job))).unwrap_or_default();
    job.ends_as(&whole, &output);
}
