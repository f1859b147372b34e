//! How many processes, and which cores they may use.

use std::num::NonZeroUsize;
use std::path::Path;
use std::process::{Command, Stdio};

use dtrain_comm::allowed_cores;
use dtrain_front::Printer;
use dtrain_front::cli::NumRanks;
use dtrain_front::worker::front_program;

/// Threads of one process that small networks and batches keep busy; more are better spent on more ranks.
const CORES_OF_AUTO: usize = 4;

/// What the number of processes is derived from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Machine {
    /// GPUs that are visible.
    pub gpus: usize,
    /// Cores that this process may use.
    pub cores: Vec<usize>,
    /// Tasks of the SLURM allocation, over all of its nodes.
    pub slurm_tasks: Option<usize>,
}

/// The processes of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Size {
    /// Processes on all machines.
    pub num_ranks: usize,
    /// Where the number comes from.
    pub reason: String,
    /// Cores that all processes on this machine share; `None` = those that the launcher may use.
    pub cores: Option<Vec<usize>>,
}

impl Machine {
    /// Looks at this machine; `use_gpus` is false for work that is told to leave them alone.
    pub fn look(use_gpus: bool) -> Self {
        let slurm_tasks = std::env::var("SLURM_JOB_ID").ok().and_then(|_| std::env::var("SLURM_NTASKS").ok());
        Self {
            gpus: if use_gpus { count_gpus() } else { 0 },
            cores: allowed_cores(),
            slurm_tasks: slurm_tasks.and_then(|tasks| tasks.parse().ok()),
        }
    }

    /// The size of a job that asks for `ranks` on `num_hosts` machines like this one.
    pub fn size(&self, ranks: NumRanks, cores_per_rank: Option<NonZeroUsize>, num_hosts: usize) -> Size {
        let per_rank = cores_per_rank.map(NonZeroUsize::get);
        let (num_ranks, reason) = match ranks {
            NumRanks::Exactly(number) => (number.get(), "asked for".to_owned()),
            NumRanks::Auto => self.auto(per_rank, num_hosts),
        };
        let local = num_ranks.div_ceil(num_hosts.max(1));
        let cores = per_rank.map(|per_rank| {
            let wanted = local.saturating_mul(per_rank);
            self.cores.iter().copied().take(wanted).collect()
        });
        Size { num_ranks, reason, cores }
    }

    fn auto(&self, per_rank: Option<usize>, num_hosts: usize) -> (usize, String) {
        let hosts = if num_hosts > 1 { format!(" on each of {num_hosts} hosts") } else { String::new() };
        if num_hosts == 1
            && let Some(tasks) = self.slurm_tasks
        {
            return (tasks.max(1), "tasks of the SLURM job".to_owned());
        }
        if self.gpus > 0 {
            return (self.gpus * num_hosts, format!("one per GPU, {} GPUs{hosts}", self.gpus));
        }
        let per_rank = per_rank.unwrap_or(CORES_OF_AUTO);
        let num_cores = self.cores.len();
        let ranks = (num_cores / per_rank).max(1);
        (ranks * num_hosts, format!("{per_rank} cores each, {num_cores} cores and no GPU{hosts}"))
    }
}

/// GPUs that the driver shows, asked for in a process of its own: a driver that was asked stays in the process and holds
/// memory of every GPU.
fn count_gpus() -> usize {
    let devices = ["/dev/nvidiactl", "/dev/dxg"];
    if !devices.iter().any(|device| Path::new(device).exists()) {
        return 0;
    }
    let Ok(program) = front_program() else { return 0 };
    let asked = Command::new(program).arg("count-gpus").stdin(Stdio::null()).stderr(Stdio::null()).output();
    asked.ok().and_then(|asked| String::from_utf8(asked.stdout).ok()?.trim().parse().ok()).unwrap_or(0)
}

/// `dtrain count-gpus`.
pub fn print_num_gpus(printer: &Printer) {
    printer.data(&dtrain_comm::gpus().map_or(0, |gpus| gpus.len()).to_string());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(gpus: usize, cores: usize) -> Machine {
        Machine { gpus, cores: (0..cores).collect(), slurm_tasks: None }
    }

    fn exactly(number: usize) -> NumRanks {
        NumRanks::Exactly(NonZeroUsize::new(number).unwrap())
    }

    #[test]
    fn auto_is_one_per_gpu_else_per_group_of_cores() {
        let auto = |machine: &Machine, per_rank: Option<usize>| {
            machine.size(NumRanks::Auto, per_rank.and_then(NonZeroUsize::new), 1).num_ranks
        };
        assert_eq!(auto(&machine(8, 96), None), 8);
        assert_eq!(auto(&machine(0, 96), None), 24);
        assert_eq!(auto(&machine(0, 96), Some(16)), 6);
        assert_eq!(auto(&machine(0, 2), None), 1);
        assert_eq!(auto(&machine(0, 0), Some(4)), 1);
        let slurm = Machine { slurm_tasks: Some(16), ..machine(4, 32) };
        assert_eq!(auto(&slurm, None), 16);
    }

    #[test]
    fn hosts_multiply() {
        let size = machine(4, 32).size(NumRanks::Auto, None, 3);
        assert_eq!((size.num_ranks, size.reason.as_str()), (12, "one per GPU, 4 GPUs on each of 3 hosts"));
        assert_eq!(machine(0, 8).size(NumRanks::Auto, None, 2).num_ranks, 4);
    }

    #[test]
    fn cores_are_limited_only_when_asked() {
        assert_eq!(machine(0, 8).size(exactly(2), None, 1).cores, None);
        let size = machine(0, 8).size(exactly(2), NonZeroUsize::new(3), 1);
        assert_eq!(size.cores, Some((0..6).collect()));
        let more = machine(0, 8).size(exactly(4), NonZeroUsize::new(3), 1);
        assert_eq!(more.cores, Some((0..8).collect()), "no more than there are");
    }
}
