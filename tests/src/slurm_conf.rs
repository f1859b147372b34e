//! The configuration of a private SLURM: several virtual nodes on this host, reachable from it alone.

use std::path::Path;

/// Character devices that stand for GPUs; every machine has them, and nothing opens them.
const GPU_DEVICES: [&str; 4] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random"];
/// CPUs that a node claims, whatever the machine has.
const CPUS_PER_NODE: usize = 4;

/// What a cluster is made of.
pub(crate) struct SlurmConf<'a> {
    /// The folder of all its files.
    pub root: &'a Path,
    /// Name of this host.
    pub host: &'a str,
    /// Who runs the daemons.
    pub user: &'a str,
    /// Port of slurmctld, then those of the nodes.
    pub ports: &'a [u16],
    /// GPUs of a node; at most four.
    pub gpus: usize,
}

impl SlurmConf<'_> {
    /// Names of the nodes.
    pub fn nodes(&self) -> Vec<String> {
        (1..self.ports.len()).map(|number| format!("n{number}")).collect()
    }

    /// `slurm.conf`.
    ///
    /// - `cred_expire`: a requeued job waits one second longer than that; 5 is the least that SLURM takes.
    /// - `TmpFS`: without a folder per node the PMIx folders of two nodes collide.
    /// - `KillWait`: how long ranks live after SIGTERM.
    pub fn slurm_conf(&self) -> String {
        let Self { root, host, user, ports, gpus } = self;
        let root = root.display();
        let mut text = format!(
            "\
ClusterName=lab
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={root}/run/munge.socket,cred_expire=5
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool/%n
TmpFS={root}/tmp/%n
SlurmctldPidFile={root}/run/slurmctld.pid
SlurmdPidFile={root}/run/slurmd.%n.pid
SlurmctldLogFile={root}/log/slurmctld.log
SlurmdLogFile={root}/log/slurmd.%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
GresTypes=gpu
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,sched_min_interval=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=0
EnforcePartLimits=ALL
ReturnToService=2
KillWait=10
MinJobAge=3600
SlurmctldTimeout=30
SlurmdTimeout=10
MessageTimeout=10
",
            port = ports[0],
        );
        let gres = if *gpus > 0 { format!(" Gres=gpu:{gpus}") } else { String::new() };
        for (node, port) in self.nodes().iter().zip(&ports[1..]) {
            text.push_str(&format!(
                "NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={CPUS_PER_NODE}{gres} State=UNKNOWN\n"
            ));
        }
        text.push_str("PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1\n");
        text.push_str("PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=10\n");
        text
    }

    /// `gres.conf`.
    pub fn gres_conf(&self) -> String {
        if self.gpus == 0 {
            return String::new();
        }
        let devices = GPU_DEVICES[..self.gpus].join(",");
        let nodes = self.nodes();
        format!("AutoDetect=off\nNodeName={} Name=gpu File={devices}\n", nodes.join(","))
    }
}
