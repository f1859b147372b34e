//! One start of the program as a child: alone or under mpirun, with its output in files, killed or left to end.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use dtrain_front::Exit;
use dtrain_front::worker::front_program;
use dtrain_trainer::run::StopFlag;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

use super::broken;
use super::processes::{Process, descendants};
use crate::failure::Failure;

/// Between two looks at a child.
const POLL: Duration = Duration::from_millis(2);
/// What the ranks of a job have to notice that one of them, or mpirun, is gone; then they are ended, as a scheduler does.
const GRACE: Duration = Duration::from_secs(5);
/// Lines of an error that are repeated.
const NUM_LINES: usize = 12;

/// A child that runs. Dropping it ends it and all that it started.
pub(super) struct Start {
    child: Child,
    begun: Instant,
    ended: bool,
    /// What it says.
    err: PathBuf,
}

/// How a child ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct End {
    /// Exit code, unless a signal ended it.
    pub code: Option<i32>,
    signal: Option<i32>,
}

impl Start {
    /// Starts this program with `words` on `world` ranks; what it says goes into `folder` under `name`.
    pub fn new(world: usize, words: &[OsString], folder: &Path, name: &str) -> Result<Self, Failure> {
        let said = folder.join("said");
        let (out, err) = (said.join(format!("{name}.out")), said.join(format!("{name}.err")));
        let begin = || -> io::Result<Child> {
            fs_err::create_dir_all(&said)?;
            let mut command = command(world, folder)?;
            command.args(words).stdin(Stdio::null());
            command.stdout(File::create(&out)?).stderr(File::create(&err)?);
            command.spawn()
        };
        let child = begin().map_err(|error| {
            let program = if world > 1 { "mpirun" } else { "a child process" };
            let hint = (world > 1).then(|| "put Open MPI's `mpirun` on PATH".to_owned());
            Failure::agreed(Exit::Environment, format!("{program} cannot be started: {error}"), hint)
        })?;
        Ok(Self { child, begun: Instant::now(), ended: false, err })
    }

    /// Since it was started.
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Waits a little; how it ended, if it did.
    pub fn poll(&mut self, stop: &StopFlag) -> Result<Option<End>, Failure> {
        if stop.interrupt().is_some() {
            self.end();
            return Err(Failure::agreed(Exit::Interrupted, "interrupted: nothing was proved", None));
        }
        if let Some(status) = self.child.try_wait().map_err(environment)? {
            self.ended = true;
            return Ok(Some(End { code: status.code(), signal: status.signal() }));
        }
        std::thread::sleep(POLL);
        Ok(None)
    }

    /// Waits for its end, which must be a good one.
    pub fn run_to_end(mut self, stop: &StopFlag) -> Result<(), Failure> {
        loop {
            if let Some(end) = self.poll(stop)? {
                return self.succeeded(&end);
            }
        }
    }

    /// An error unless `end` is a good one. Wrong settings and a poor machine keep their exit code.
    pub fn succeeded(&self, end: &End) -> Result<(), Failure> {
        if end.is_success() {
            return Ok(());
        }
        let how = match (end.code, end.signal) {
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => "no exit code".to_owned(),
        };
        let said = std::fs::read_to_string(&self.err).unwrap_or_default();
        let lines: Vec<&str> = said.lines().skip_while(|line| !line.starts_with("error:")).collect();
        let lines: Vec<&str> = lines.into_iter().take_while(|line| !line.starts_with("-----")).collect();
        let error = lines.get(..NUM_LINES.min(lines.len())).unwrap_or_default().join("\n");
        match end.code {
            Some(2) if !error.is_empty() => Err(Failure::agreed(Exit::Usage, error.trim_end(), None)),
            Some(3) if !error.is_empty() => Err(Failure::agreed(Exit::Environment, error.trim_end(), None)),
            _ => Err(broken(format!("a run ended with {how}\n{error}").trim_end().to_owned(), &self.err)),
        }
    }

    /// Kills one process of the job: a rank or, with several ranks, now and then mpirun. `choice` in [0, 1) picks it.
    /// Returns what it was, and how many processes of the job had to be ended after it because they did not notice.
    pub fn kill(mut self, choice: f64, stop: &StopFlag) -> Result<(String, usize), Failure> {
        let below = descendants(self.pid());
        let mut ranks: Vec<(usize, Process)> =
            below.iter().filter_map(|process| Some((process.rank()?, *process))).collect();
        ranks.sort_by_key(|(rank, _)| *rank);
        // Each rank and mpirun are equally likely.
        let picked = ranks.get((choice * (ranks.len() + 1) as f64) as usize);
        let what = match picked {
            Some((rank, process)) => {
                process.kill();
                format!("rank {rank}")
            }
            None => {
                self.child.kill().map_err(environment)?;
                if below.is_empty() { "the process" } else { "mpirun" }.to_owned()
            }
        };
        let until = Instant::now() + GRACE;
        let mut has_ended = false;
        while Instant::now() < until && (!has_ended || below.iter().any(Process::is_alive)) {
            has_ended = self.poll(stop)?.is_some();
            if has_ended {
                std::thread::sleep(POLL);
            }
        }
        let num_left = below.iter().filter(|process| process.is_alive()).count();
        below.iter().for_each(Process::kill);
        self.end();
        Ok((what, num_left))
    }

    fn pid(&self) -> i32 {
        // Numbers of processes are far below the largest.
        i32::try_from(self.child.id()).unwrap_or(i32::MAX)
    }

    fn end(&mut self) {
        if !self.ended {
            let below = descendants(self.pid());
            let _ = self.child.kill();
            below.iter().for_each(Process::kill);
            let _ = self.child.wait();
            self.ended = true;
        }
    }
}

impl Drop for Start {
    fn drop(&mut self) {
        self.end();
    }
}

/// This program on `world` ranks; mpirun keeps its own files in `folder`.
fn command(world: usize, folder: &Path) -> io::Result<Command> {
    let program = front_program()?;
    let mut command = Command::new(if world > 1 { Path::new("mpirun") } else { &program });
    if world > 1 {
        command.args(["--oversubscribe", "--bind-to", "none", "-n", &world.to_string()]).arg(&program);
        let files = folder.join("mpi");
        fs_err::create_dir_all(&files)?;
        command.env("OMPI_MCA_orte_tmpdir_base", &files);
        command.env("OMPI_MCA_btl_vader_backing_directory", &files);
        if nix::unistd::geteuid().is_root() {
            command.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
        }
    }
    // In a group of its own: Ctrl-C is this process's to handle.
    command.process_group(0);
    // mpirun needs a signal that it can pass on to its ranks.
    let signal = if world > 1 { Signal::SIGTERM } else { Signal::SIGKILL };
    // SAFETY: between fork and exec only one system call is made.
    unsafe { command.pre_exec(move || Ok(set_pdeathsig(signal)?)) };
    Ok(command)
}

fn environment(error: io::Error) -> Failure {
    Failure::agreed(Exit::Environment, format!("a child process cannot be watched: {error}"), None)
}
