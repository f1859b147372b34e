//! A real SLURM on this machine for the length of a test: its own daemons, keys, ports and folders, several virtual
//! nodes. It needs the packages `slurm-wlm` and `munge` (`scripts/test.sh --slurm` installs them) and no rights.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::job::{FOREIGN, turn};
use crate::processes::{parents_of_variable, send, with_variable};
use crate::program::{dtrain_binary, workspace_root};
use crate::skipped;
use crate::slurm_conf::SlurmConf;

/// Whatever takes longer hangs.
const TIMEOUT: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(100);
const DAEMONS: [&str; 3] = ["munged", "slurmctld", "slurmd"];

/// A cluster. Dropping it ends its jobs and daemons.
pub struct SlurmLab {
    root: TempDir,
    user: String,
    /// By name, in the order of their start.
    daemons: Vec<(String, Child)>,
    /// Nothing else with several ranks runs meanwhile.
    _turn: File,
}

/// What SLURM says about a job, by the names of `scontrol show job`.
#[derive(Debug, Clone)]
pub struct JobInfo(BTreeMap<String, String>);

impl JobInfo {
    /// A value such as that of `JobState`; empty where there is none.
    pub fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// `RUNNING`, `PENDING`, `COMPLETED`, ...
    pub fn state(&self) -> &str {
        self.get("JobState")
    }

    /// How often it was requeued.
    pub fn restarts(&self) -> u32 {
        self.get("Restarts").parse().expect("a job counts its restarts")
    }

    /// Exit code of its script, or 128 and the signal that ended it.
    pub fn exit_code(&self) -> i32 {
        let (code, signal) = self.get("ExitCode").split_once(':').expect("code:signal");
        let number = |text: &str| text.parse::<i32>().expect("a number");
        if number(signal) == 0 { number(code) } else { 128 + number(signal) }
    }
}

impl SlurmLab {
    /// Whether SLURM is installed; if not, a line says that something is left out.
    pub fn is_installed() -> bool {
        let missing = DAEMONS.iter().find(|name| find_program(name).is_none());
        if let Some(missing) = missing {
            skipped(&format!("`{missing}` is not installed (scripts/test.sh --slurm installs SLURM)"));
        }
        missing.is_none()
    }

    /// A cluster of `nodes` nodes with `gpus` pretended GPUs each; `None` where SLURM is not installed.
    pub fn start(nodes: usize, gpus: usize) -> Option<Self> {
        if !Self::is_installed() {
            return None;
        }
        let turn = turn();
        let root = tempfile::Builder::new().prefix("dtrain-slurm-").tempdir().expect("a temporary folder");
        let user = Command::new("id").arg("-un").output().expect("`id` runs").stdout;
        let user = String::from_utf8_lossy(&user).trim().to_owned();
        let mut lab = Self { root, user, daemons: Vec::new(), _turn: turn };
        lab.configure(nodes, gpus);
        lab.start_munge();
        lab.start_daemon("slurmctld", &["slurmctld", "-D", "-c"]);
        for number in 1..=nodes {
            lab.start_node(&format!("n{number}"));
        }
        lab.wait_until("all nodes are idle", |lab| {
            let states = lab.ask("sinfo", &["--noheader", "--partition=debug", "--Node", "--format=%T"]);
            states.lines().filter(|state| *state == "idle").count() == nodes
        });
        Some(lab)
    }

    fn configure(&self, nodes: usize, gpus: usize) {
        for folder in ["state", "log", "run", "spool", "tmp"] {
            fs::create_dir(self.path(folder)).expect("the folder is new");
        }
        for folder in ["", "run"] {
            let everybody = fs::Permissions::from_mode(0o755);
            fs::set_permissions(self.path(folder), everybody).expect("the folder is ours");
        }
        let host = fs::read_to_string("/proc/sys/kernel/hostname").expect("the host has a name");
        let listeners: Vec<TcpListener> =
            (0..=nodes).map(|_| TcpListener::bind("127.0.0.1:0").expect("there is a free port")).collect();
        let ports: Vec<u16> =
            listeners.iter().map(|l| l.local_addr().expect("a bound socket has a port").port()).collect();
        let conf = SlurmConf {
            root: self.root.path(),
            host: host.trim().split('.').next().unwrap_or_default(),
            user: &self.user,
            ports: &ports,
            gpus,
        };
        fs::write(self.path("slurm.conf"), conf.slurm_conf()).expect("the folder is writable");
        fs::write(self.path("gres.conf"), conf.gres_conf()).expect("the folder is writable");
    }

    fn start_munge(&mut self) {
        let key = self.path("munge.key");
        let mut bytes = [0; 128];
        let read = File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut bytes));
        read.expect("/dev/urandom is there and has no end");
        fs::write(&key, bytes).expect("the folder is writable");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("the key is ours");
        let at = |option: &str, file: &str| format!("--{option}={}", self.path(file).display());
        let args = [
            "munged".to_owned(),
            "--foreground".to_owned(),
            "--force".to_owned(),
            "--num-threads=2".to_owned(),
            at("key-file", "munge.key"),
            at("socket", "run/munge.socket"),
            at("pid-file", "run/munged.pid"),
            at("log-file", "log/munged.log"),
            at("seed-file", "run/munged.seed"),
        ];
        self.start_daemon("munged", &args.each_ref().map(String::as_str));
        self.wait_until("munge listens", |lab| lab.path("run/munge.socket").exists());
    }

    fn start_node(&mut self, node: &str) {
        for folder in ["spool", "tmp"] {
            fs::create_dir_all(self.path(folder).join(node)).expect("the folder is writable");
        }
        let shared = fs::Permissions::from_mode(0o1777);
        fs::set_permissions(self.path("tmp").join(node), shared).expect("the folder is ours");
        self.start_daemon(node, &["slurmd", "-D", "-c", "-N", node]);
    }

    fn start_daemon(&mut self, name: &str, command: &[&str]) {
        let [program, args @ ..] = command else { return };
        let log = || File::create(self.path(format!("log/{name}.out"))).expect("the folder is writable");
        let program = find_program(program).expect("it was found before");
        let child = self
            .command(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(log())
            .stderr(log())
            .spawn()
            .unwrap_or_else(|error| panic!("`{name}` cannot be started: {error}"));
        self.daemons.push((name.to_owned(), child));
    }

    /// Ends a node and all that runs on it at once, as a power failure would. SLURM notices after a while.
    pub fn lose_node(&mut self, node: &str) {
        let daemon = self.daemons.iter_mut().find(|(name, _)| name == node);
        let (_, slurmd) = daemon.unwrap_or_else(|| panic!("there is no node {node}"));
        slurmd.kill().expect("slurmd is ours");
        slurmd.wait().expect("slurmd is ours");
        let marks = [("SLURMD_NODENAME", node), ("SLURM_CONF", &self.conf())];
        // Tasks, and the daemons that hold them.
        let mut lost = with_variable(&marks);
        lost.extend(parents_of_variable(&marks, "slurmstepd"));
        send("KILL", &lost);
    }

    /// Submits a script with its arguments, from the folder `work`; returns the number of the job.
    #[track_caller]
    pub fn sbatch<S: AsRef<str>>(&self, work: &Path, args: impl IntoIterator<Item = S>) -> String {
        let args: Vec<String> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        let mut command = self.command("sbatch");
        command.arg("--parsable").args(&args).current_dir(work);
        let output = command.output().expect("sbatch starts");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "sbatch {}: {stderr}", args.join(" "));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// A program that talks to this cluster, with an environment that jobs may inherit.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            let foreign = |name: &str| {
                FOREIGN.iter().chain(&["SBATCH_", "SRUN_", "NCCL_"]).any(|foreign| name.starts_with(foreign))
            };
            if name.to_str().is_some_and(foreign) {
                command.env_remove(&name);
            }
        }
        let scratch = self.path("tmp").display().to_string();
        command.envs([
            ("SLURM_CONF", self.conf()),
            ("DTRAIN", dtrain_binary().display().to_string()),
            ("OMPI_ALLOW_RUN_AS_ROOT", "1".to_owned()),
            ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1".to_owned()),
            // All nodes are one host: the shared-memory files of two nodes would collide.
            ("OMPI_MCA_btl", "self,tcp".to_owned()),
            ("OMPI_MCA_btl_tcp_if_include", "lo".to_owned()),
            ("OMPI_MCA_oob_tcp_if_include", "lo".to_owned()),
            ("OMPI_MCA_orte_tmpdir_base", scratch),
        ]);
        command
    }

    /// What `program` prints; fails if it fails.
    #[track_caller]
    pub fn ask(&self, program: &str, args: &[&str]) -> String {
        let output = self.command(program).args(args).output().expect("SLURM's programs are there");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {}: {stderr}", args.join(" "));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The job `job`; an array task as `12_3`.
    #[track_caller]
    pub fn job(&self, job: &str) -> JobInfo {
        let text = self.ask("scontrol", &["--oneliner", "show", "job", job]);
        let pairs = text.split_whitespace().filter_map(|word| word.split_once('='));
        JobInfo(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    /// Waits until `holds`. Fails after a while with the logs of the cluster.
    #[track_caller]
    pub fn wait_until(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + TIMEOUT;
        while !holds(self) {
            assert!(Instant::now() < deadline, "timeout waiting until {what}\n{}", self.report());
            std::thread::sleep(POLL);
        }
    }

    /// Waits until the job has ended for good.
    #[track_caller]
    pub fn wait_for_end(&self, job: &str) -> JobInfo {
        const ENDED: [&str; 6] = ["COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED"];
        self.wait_until("the job ends", |lab| ENDED.contains(&lab.job(job).state()));
        self.job(job)
    }

    /// The scripts of the repository.
    pub fn script(name: &str) -> String {
        workspace_root().join("slurm").join(name).display().to_string()
    }

    /// The queue and the last lines of slurmctld.
    pub fn report(&self) -> String {
        let queue = self.command("squeue").arg("--all").output();
        let queue =
            queue.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        let log = fs::read_to_string(self.path("log/slurmctld.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        format!("{queue}\n{}", lines[lines.len().saturating_sub(30)..].join("\n"))
    }

    fn conf(&self) -> String {
        self.path("slurm.conf").display().to_string()
    }

    fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.root.path().join(relative)
    }
}

impl Drop for SlurmLab {
    fn drop(&mut self) {
        // Jobs first, then the nodes, then those that they talk to.
        let _ = self.command("scancel").arg(format!("--user={}", self.user)).output();
        send("KILL", &with_variable(&[("SLURM_CONF", &self.conf()), ("SLURM_JOB_ID", "")]));
        let deadline = Instant::now() + Duration::from_secs(10);
        let is_busy = |lab: &Self| {
            lab.command("squeue").arg("--noheader").output().is_ok_and(|output| !output.stdout.is_empty())
        };
        while Instant::now() < deadline && is_busy(self) {
            std::thread::sleep(POLL);
        }
        let mut daemons = std::mem::take(&mut self.daemons);
        while let Some((_, mut daemon)) = daemons.pop() {
            send("TERM", &[daemon.id()]);
            let deadline = Instant::now() + Duration::from_secs(5);
            while Instant::now() < deadline && matches!(daemon.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

/// On PATH, or where daemons are, which is not on the PATH of everybody.
fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")]);
    folders.map(|folder| folder.join(name)).find(|program| program.is_file())
}
