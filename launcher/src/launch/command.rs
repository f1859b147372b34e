//! The command that starts the processes: mpirun, or this program itself for a single one.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use dtrain_front::rank::{FAILURE_DIR, JOB_DIR, LAUNCHED};
use dtrain_front::worker::front_program;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::plan::{Hosts, Plan};

/// Where ranks of one attempt find what the launcher keeps for them.
#[derive(Debug, Clone, Copy)]
pub struct Folders<'a> {
    /// Private to the attempt, on this machine.
    pub job: &'a Path,
    /// For records of failures; on a file system that all hosts share when there are several.
    pub failures: &'a Path,
}

/// Folder of Open MPI's own files within that of the job.
pub const MPI_FOLDER: &str = "mpi";

/// The command of an attempt; `restarted` tells a training run to go on.
///
/// # Errors
/// The system does not tell where this program is, or refuses a set of cores.
pub fn command(plan: &Plan, folders: Folders<'_>, restarted: bool) -> std::io::Result<Command> {
    let program = front_program()?;
    let mut command = if plan.needs_mpirun() {
        let mut command = Command::new("mpirun");
        command.args(mpirun_options(plan)).arg(program);
        for (name, value) in mpirun_variables(plan, folders) {
            // What the user has set is meant so.
            if std::env::var_os(name).is_none() {
                command.env(name, value);
            }
        }
        command
    } else {
        Command::new(program)
    };
    command.args(plan.words(restarted));
    command.env(LAUNCHED, "1").env(JOB_DIR, folders.job).env(FAILURE_DIR, folders.failures);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // Out of reach of the terminal's signals; they come through the launcher.
    command.process_group(0);
    let cores = plan.size.cores.as_deref().map(core_set).transpose()?;
    // SAFETY: between fork and exec the closure makes two system calls and allocates nothing.
    unsafe {
        command.pre_exec(move || {
            prctl::set_pdeathsig(Signal::SIGKILL)?;
            if let Some(cores) = &cores {
                sched_setaffinity(Pid::from_raw(0), cores)?;
            }
            Ok(())
        });
    }
    Ok(command)
}

fn core_set(cores: &[usize]) -> std::io::Result<CpuSet> {
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core)?;
    }
    Ok(set)
}

/// Cores are shared out by the program itself, which sizes its threads by what it may use: mpirun binds nothing.
fn mpirun_options(plan: &Plan) -> Vec<OsString> {
    let mut words: Vec<String> =
        ["--bind-to", "none", "--oversubscribe", "--tag-output", "-n"].map(str::to_owned).into();
    words.push(plan.size.num_ranks.to_string());
    if let Hosts::Named(hosts) = &plan.hosts {
        words.extend(["-host".to_owned(), hosts.join(",")]);
    }
    if !plan.is_local() {
        // Other hosts get no environment but Open MPI's own.
        let wanted = |name: &str| {
            ["DTRAIN_", "RUST_LOG", "NO_COLOR", "LD_LIBRARY_PATH"].iter().any(|w| name.starts_with(w))
        };
        let known = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        let mut names: Vec<String> = known.filter(|name| wanted(name)).collect();
        names.extend([LAUNCHED, JOB_DIR, FAILURE_DIR].map(str::to_owned));
        names.sort();
        names.dedup();
        words.extend(names.into_iter().flat_map(|name| ["-x".to_owned(), name]));
    }
    words.extend(plan.mpirun_args.iter().cloned());
    words.into_iter().map(OsString::from).collect()
}

/// Settings of Open MPI, beneath those that the user has made.
fn mpirun_variables(plan: &Plan, folders: Folders<'_>) -> Vec<(&'static str, OsString)> {
    let mut variables: Vec<(&str, OsString)> = vec![
        // Ranks that lost one of them cannot save; they need no second of grace each.
        ("OMPI_MCA_odls_base_sigkill_timeout", "0".into()),
        // Ranks die with the thread that has started them, which must not be one that only starts them.
        ("OMPI_MCA_odls_base_num_threads", "0".into()),
    ];
    if plan.is_local() {
        let folder = folders.job.join(MPI_FOLDER).into_os_string();
        variables.push(("OMPI_MCA_orte_tmpdir_base", folder.clone()));
        variables.push(("OMPI_MCA_btl_vader_backing_directory", folder));
    }
    if nix::unistd::geteuid().is_root() {
        variables.push(("OMPI_ALLOW_RUN_AS_ROOT", "1".into()));
        variables.push(("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1".into()));
    }
    variables
}

/// Asks whether the `mpirun` on PATH is one that this launcher can drive.
///
/// # Errors
/// What is on PATH instead, for people.
pub fn check_mpirun() -> Result<(), String> {
    let asked = Command::new("mpirun").arg("--version").stdin(Stdio::null()).output();
    let said = asked.map_err(|error| format!("`mpirun` cannot be started: {error}"))?;
    let text = String::from_utf8_lossy(&said.stdout);
    if text.contains("Open MPI") || text.contains("OpenRTE") {
        return Ok(());
    }
    let first = text.lines().next().unwrap_or("nothing").trim().to_owned();
    Err(format!("`mpirun` is not Open MPI's; it says `{first}`"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::size::Size;

    fn plan(hosts: Hosts, num_ranks: usize) -> Plan {
        Plan {
            words: vec!["train".into(), "seed=1".into()],
            run: None,
            size: Size { num_ranks, reason: String::new(), cores: None },
            hosts,
            mpirun_args: vec!["--mca".into(), "btl".into(), "tcp,self".into()],
        }
    }

    fn options(plan: &Plan) -> String {
        let words: Vec<String> =
            mpirun_options(plan).into_iter().map(|word| word.into_string().unwrap()).collect();
        words.join(" ")
    }

    #[test]
    fn mpirun_starts_the_ranks_unbound() {
        assert_eq!(
            options(&plan(Hosts::This, 2)),
            "--bind-to none --oversubscribe --tag-output -n 2 --mca btl tcp,self"
        );
        let named = options(&plan(Hosts::Named(vec!["a:2".into(), "b:2".into()]), 4));
        assert!(
            named.starts_with("--bind-to none --oversubscribe --tag-output -n 4 -host a:2,b:2 -x "),
            "{named}"
        );
        assert!(named.contains("-x DTRAIN_FAILURE_DIR"), "{named}");
    }

    #[test]
    fn files_of_mpi_are_private_on_one_machine_only() {
        let folders = Folders { job: Path::new("/job"), failures: Path::new("/run/failures") };
        let has = |plan: &Plan| {
            let variables = mpirun_variables(plan, folders);
            variables.contains(&("OMPI_MCA_orte_tmpdir_base", "/job/mpi".into()))
        };
        assert!(has(&plan(Hosts::This, 2)));
        assert!(!has(&plan(Hosts::Named(vec!["a:1".into()]), 1)) && !has(&plan(Hosts::Allocation, 2)));
    }

    #[test]
    fn the_command_carries_the_folders() {
        let folders = Folders { job: Path::new("/job"), failures: Path::new("/failures") };
        let single = Plan { mpirun_args: Vec::new(), ..plan(Hosts::This, 1) };
        let command = command(&single, folders, false).unwrap();
        assert_eq!(command.get_program(), front_program().unwrap());
        let variables: Vec<_> = command.get_envs().collect();
        assert!(variables.contains(&(JOB_DIR.as_ref(), Some("/job".as_ref()))));
        assert!(variables.contains(&(FAILURE_DIR.as_ref(), Some("/failures".as_ref()))));
    }
}
