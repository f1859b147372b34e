//! The process of a trial.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, getppid};

use super::folder::SweepDir;
use super::plan::{Header, Trial};
use super::slots::Slot;

/// What is read of a trial's output to find why it failed.
const TAIL_BYTES: u64 = 1 << 16;

/// How trials are started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Starter {
    /// `dtrain`, which is this program, or a stand-in of a test.
    Alone(OsString),
    /// `dtrain launch` with so many ranks.
    Launched(OsString, usize),
    /// `srun` of a SLURM job, with so many ranks.
    Srun(OsString, usize),
}

impl Starter {
    /// The words before the settings.
    fn words(&self) -> Vec<OsString> {
        let word = |text: &str| OsString::from(text);
        match self {
            Self::Alone(program) => vec![program.clone(), word("train")],
            Self::Launched(program, ranks) => {
                vec![program.clone(), word("launch"), word("-n"), ranks.to_string().into()]
            }
            Self::Srun(program, ranks) => {
                let mpi = std::env::var("DTRAIN_SRUN_MPI").unwrap_or_else(|_| "pmix".into());
                let mut words =
                    vec![word("srun"), format!("--mpi={mpi}").into(), format!("--ntasks={ranks}").into()];
                words.push(word("--kill-on-bad-exit=1"));
                let more = std::env::var("DTRAIN_SRUN_ARGS").unwrap_or_default();
                words.extend(more.split_whitespace().map(OsString::from));
                words.extend([program.clone(), word("train")]);
                words
            }
        }
    }
}

/// Starts a trial with these settings, behind what it has printed before.
pub(crate) fn start(
    starter: &Starter,
    (dir, header): (&SweepDir, &Header),
    trial: &Trial,
    settings: &[String],
    slot: &Slot,
) -> std::io::Result<Child> {
    let output = dir.output(&trial.name);
    if let Some(folder) = output.parent() {
        fs_err::create_dir_all(folder)?;
    }
    let log = fs_err::OpenOptions::new().create(true).append(true).open(&output)?.into_parts().0;
    let mut words = starter.words().into_iter();
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words);
    if let Some(folder) = &header.config_dir {
        command.arg("--config-dir").arg(folder);
    }
    let run = std::path::absolute(dir.run(&trial.name).path())?;
    command.args(settings).arg(format!("run.dir={}", run.display()));
    if header.working_dir.is_dir() {
        command.current_dir(&header.working_dir);
    }
    if let Some(gpus) = &slot.gpus {
        command.env("CUDA_VISIBLE_DEVICES", gpus);
    }
    // Ctrl-C reaches the worker alone, which lets its trials save.
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
    let cores = match starter {
        Starter::Srun(..) => CpuSet::new(),
        _ => core_set(&slot.cores),
    };
    let is_bound = !slot.cores.is_empty() && !matches!(starter, Starter::Srun(..));
    let worker = Pid::this();
    // SAFETY: between fork and exec there are three system calls and no allocation.
    unsafe {
        command.pre_exec(move || {
            // A worker that is killed takes its trials along: nobody else would know of them.
            set_pdeathsig(Signal::SIGKILL)?;
            // Killed since the fork, of which the kernel then tells nobody.
            if getppid() != worker {
                return Err(std::io::ErrorKind::BrokenPipe.into());
            }
            if is_bound {
                sched_setaffinity(Pid::from_raw(0), &cores)?;
            }
            Ok(())
        })
    };
    command.spawn()
}

fn core_set(cores: &[usize]) -> CpuSet {
    let mut set = CpuSet::new();
    for core in cores {
        // One beyond what the system can name is left out.
        let _ = set.set(*core);
    }
    set
}

/// Lets a trial save and end.
pub(crate) fn ask_to_save(child: &Child) {
    // One that has ended meanwhile is what is wanted.
    let _ = kill(Pid::from_raw(child.id() as i32), Signal::SIGUSR1);
}

/// Ends a trial with all that it has started, and waits for it.
pub(crate) fn kill_at_once(child: &mut Child) {
    let _ = killpg(Pid::from_raw(child.id() as i32), Signal::SIGKILL);
    let _ = child.kill();
    let _ = child.wait();
}

/// For people.
pub(crate) fn described(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(9)) => "killed by signal 9, as the system does when memory runs out".into(),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "ended".into(),
    }
}

/// The end of what a trial has printed.
pub(crate) fn tail(path: &Path) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let size = file.metadata()?.len();
        file.seek(SeekFrom::Start(size.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}
