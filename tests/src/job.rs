//! One start of the program, alone or under mpirun: how it is started, watched and ended, and what it said.

use std::fs::File;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::footprint::Footprint;
use crate::processes::{descendants, is_called, kill_tree, mpi_rank, runs, send, variable};
use crate::program::dtrain_binary;

/// A program that takes longer hangs.
const TIMEOUT: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(5);

/// Variables of launchers and of the caller that would change what the program does.
pub(crate) const FOREIGN: [&str; 8] =
    ["OMPI_", "PMIX_", "PMI_", "SLURM_", "RUST_LOG", "NO_COLOR", "DTRAIN_", "CLICOLOR"];

/// What no user should ever read.
const UNSIGHTLY: [&str; 5] =
    ["panicked at", "stack backtrace", "internal error", "RUST_BACKTRACE", "\u{1b}["];

/// A program to be started.
pub struct Job {
    args: Vec<String>,
    ranks: Option<usize>,
    exclusive: bool,
    before: Option<String>,
    variables: Vec<(String, String)>,
    work: PathBuf,
    scratch: PathBuf,
    timeout: Duration,
}

/// A program that runs. Dropping it kills it.
pub struct Running {
    child: Child,
    command: String,
    /// Held while ranks run: two jobs of several ranks would take each other's cores.
    _turn: Option<File>,
    out: PathBuf,
    err: PathBuf,
    deadline: Instant,
    ended: bool,
}

/// A program that has ended.
#[derive(Debug, Clone)]
pub struct Finished {
    /// As typed.
    pub command: String,
    /// Exit code; `None` after a signal.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it said.
    pub stderr: String,
}

impl Job {
    pub(crate) fn new(args: Vec<String>, work: &Path, scratch: &Path) -> Self {
        Self {
            args,
            ranks: None,
            exclusive: false,
            before: None,
            variables: Vec::new(),
            work: work.to_owned(),
            scratch: scratch.to_owned(),
            timeout: TIMEOUT,
        }
    }

    /// With `mpirun -n ranks`; without this call, or for 1, the program starts alone.
    pub fn ranks(mut self, ranks: usize) -> Self {
        self.ranks = (ranks > 1).then_some(ranks);
        self
    }

    /// With an environment variable, for every process.
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    /// Alone on this machine, for a program that starts ranks itself.
    pub fn exclusive(mut self) -> Self {
        self.exclusive = true;
        self
    }

    /// Longest time until its end.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// With words of the shell in the same process before it, such as `ulimit`; for one process.
    pub fn after(mut self, words: &str) -> Self {
        self.before = Some(words.to_owned());
        self
    }

    /// Starts it.
    pub fn start(self) -> Running {
        let mut command = match (self.ranks, &self.before) {
            (Some(ranks), _) => mpirun(ranks, &self.scratch),
            (None, None) => Command::new(dtrain_binary()),
            (None, Some(words)) => {
                let mut shell = Command::new("sh");
                shell.arg("-c").arg(format!("{words}; exec \"$0\" \"$@\"")).arg(dtrain_binary());
                shell
            }
        };
        let launches = self.ranks.is_none() && self.args.first().is_some_and(|verb| verb == "launch");
        let turn = (self.exclusive || launches || self.ranks.is_some()).then(turn);
        command.args(&self.args).current_dir(&self.work);
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| FOREIGN.iter().any(|foreign| name.starts_with(foreign))) {
                command.env_remove(&name);
            }
        }
        if !launches {
            command.envs(launcher_variables(&self.scratch));
        }
        command.env("RUST_BACKTRACE", "1");
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        let launcher = self.ranks.map_or(String::new(), |n| format!("mpirun -n {n} "));
        let text = format!("{launcher}dtrain {}", self.args.join(" "));

        let number = std::fs::read_dir(&self.scratch).map_or(0, Iterator::count);
        let (out, err) =
            (self.scratch.join(format!("{number}.out")), self.scratch.join(format!("{number}.err")));
        let to = |path: &Path| Stdio::from(File::create(path).expect("the scratch folder is writable"));
        command.stdin(Stdio::null()).stdout(to(&out)).stderr(to(&err)).process_group(0);
        let child = command.spawn().unwrap_or_else(|error| panic!("`{text}` cannot be started: {error}"));
        let deadline = Instant::now() + self.timeout;
        Running { child, command: text, _turn: turn, out, err, deadline, ended: false }
    }

    /// Starts it and waits for its end.
    pub fn finish(self) -> Finished {
        self.start().wait()
    }
}

fn mpirun(ranks: usize, scratch: &Path) -> Command {
    let mut command = Command::new("mpirun");
    command.args(["--oversubscribe", "--bind-to", "none", "-n", &ranks.to_string()]);
    command.arg(dtrain_binary()).current_dir(scratch);
    command
}

/// Root may use mpirun, and killed jobs leave nothing behind.
fn launcher_variables(scratch: &Path) -> Vec<(&'static str, String)> {
    let scratch = scratch.display().to_string();
    vec![
        ("OMPI_ALLOW_RUN_AS_ROOT", "1".into()),
        ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1".into()),
        ("OMPI_MCA_orte_tmpdir_base", scratch.clone()),
        ("OMPI_MCA_btl_vader_backing_directory", scratch),
    ]
}

/// One job of several ranks at a time on this machine.
pub(crate) fn turn() -> File {
    let path = std::env::temp_dir().join("dtrain-tests.lock");
    let file = File::options().create(true).append(true).open(&path).expect("the lock file can be opened");
    file.lock().expect("the lock can be taken");
    file
}

impl Running {
    /// Polls until `condition` holds. Fails if the program ends before.
    pub fn wait_until(&mut self, what: &str, mut condition: impl FnMut() -> bool) {
        while !condition() {
            if self.child.try_wait().expect("a child can be waited for").is_some() && !condition() {
                panic!("the program ended before {what}\n{}", self.report("ended"));
            }
            self.keep_to_the_deadline(what);
            std::thread::sleep(POLL);
        }
    }

    /// Sends `signal` (such as `TERM`) to the process that was started: the program, or mpirun.
    pub fn signal(&self, signal: &str) {
        send(signal, &[self.child.id()]);
    }

    /// Sends `signal` to all processes of the program itself.
    pub fn signal_ranks(&self, signal: &str) {
        let ranks = self.rank_pids();
        assert!(!ranks.is_empty(), "no rank runs\n{}", self.report("running"));
        send(signal, &ranks);
    }

    /// Sends `signal` to one of [`Self::rank_pids`].
    pub fn signal_process(&self, signal: &str, pid: u32) {
        send(signal, &[pid]);
    }

    /// Processes of the program, by rank.
    pub fn rank_pids(&self) -> Vec<u32> {
        let binary = std::fs::canonicalize(dtrain_binary()).expect("the program exists");
        let mut pids = vec![self.child.id()];
        pids.extend(descendants(self.child.id()));
        pids.retain(|pid| runs(*pid, &binary));
        pids.sort_by_key(|pid| mpi_rank(*pid));
        pids
    }

    /// Ranks that `dtrain launch` has started through mpirun, by rank; mpirun itself is not among them.
    pub fn launched_ranks(&self) -> Vec<u32> {
        self.rank_pids().into_iter().filter(|pid| mpi_rank(*pid).is_some()).collect()
    }

    /// The mpirun that `dtrain launch` has started.
    pub fn launched_mpirun(&self) -> Option<u32> {
        descendants(self.child.id())
            .into_iter()
            .find(|pid| is_called(*pid, "mpirun") || is_called(*pid, "orterun"))
    }

    /// What `dtrain launch` has on the machine while its ranks run.
    pub fn footprint(&self) -> Footprint {
        let processes = descendants(self.child.id());
        let attempt = processes.iter().find_map(|pid| variable(*pid, "DTRAIN_JOB_DIR"));
        let attempt = attempt.map(PathBuf::from).expect("a rank has a job folder");
        let folder = attempt.parent().expect("an attempt's folder lies in the job's").to_owned();
        Footprint { processes, folder }
    }

    /// The process that was started: the program, or mpirun.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// That process and all below it.
    pub fn pids(&self) -> Vec<u32> {
        std::iter::once(self.child.id()).chain(descendants(self.child.id())).collect()
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_some()
    }

    /// Kills everything at once, as a power failure would.
    pub fn kill(mut self) {
        self.end();
    }

    /// Waits for the end.
    pub fn wait(mut self) -> Finished {
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                break status;
            }
            self.keep_to_the_deadline("its end");
            std::thread::sleep(POLL);
        };
        self.ended = true;
        let finished = self.finished(status);
        finished.assert_sightly();
        finished
    }

    fn keep_to_the_deadline(&mut self, what: &str) {
        if Instant::now() > self.deadline {
            self.end();
            panic!("timeout waiting for {what}\n{}", self.report("killed"));
        }
    }

    fn end(&mut self) {
        if !self.ended {
            kill_tree(self.child.id());
            let _ = self.child.wait();
            self.ended = true;
        }
    }

    fn finished(&self, status: ExitStatus) -> Finished {
        Finished {
            command: self.command.clone(),
            code: status.code().or_else(|| status.signal().map(|signal| 128 + signal)),
            stdout: read(&self.out),
            stderr: read(&self.err),
        }
    }

    fn report(&self, state: &str) -> String {
        report(&self.command, state, &read(&self.out), &read(&self.err))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

impl Finished {
    /// Fails unless the exit code is `code`.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert!(self.code == Some(code), "expected exit code {code}\n{}", self.report());
        self
    }

    /// Fails unless it ended with 0.
    #[track_caller]
    pub fn succeeded(self) -> Self {
        self.expect(0)
    }

    /// Fails unless stderr has `text`.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "stderr lacks `{text}`\n{}", self.report());
        self
    }

    /// Fails if stderr has `text`.
    #[track_caller]
    pub fn does_not_say(self, text: &str) -> Self {
        assert!(!self.stderr.contains(text), "stderr has `{text}`\n{}", self.report());
        self
    }

    /// Fails unless stderr has `text` exactly once.
    #[track_caller]
    pub fn says_once(self, text: &str) -> Self {
        let count = self.stderr.matches(text).count();
        assert!(count == 1, "stderr has `{text}` {count} times\n{}", self.report());
        self
    }

    /// The error and its hint, as the user reads them; fails unless there is exactly one. What mpirun adds about exit
    /// codes is left out, and the working directory `work` is written as `[work]`.
    #[track_caller]
    pub fn error(&self, work: &Path) -> String {
        let lines = self.stderr.lines().skip_while(|line| !line.starts_with("error:"));
        let lines: Vec<&str> = lines.take_while(|line| !line.starts_with("-----")).collect();
        let count = self.stderr.lines().filter(|line| line.starts_with("error:")).count();
        assert!(count == 1, "{count} lines begin with `error:`\n{}", self.report());
        lines.join("\n").replace(&work.display().to_string(), "[work]").trim_end().to_owned()
    }

    /// Everything, for a message of an assertion.
    pub fn report(&self) -> String {
        let code = self.code.map_or("none".to_owned(), |code| code.to_string());
        report(&self.command, &format!("exit code {code}"), &self.stdout, &self.stderr)
    }

    #[track_caller]
    fn assert_sightly(&self) {
        for text in UNSIGHTLY {
            let found = self.stderr.contains(text) || self.stdout.contains(text);
            assert!(!found, "the output has {text:?}\n{}", self.report());
        }
    }
}

fn report(command: &str, state: &str, stdout: &str, stderr: &str) -> String {
    format!("--- {command}\n--- {state}\n--- stdout\n{stdout}\n--- stderr\n{stderr}\n---")
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}
