//! Where a rank computes: the GPU of its local rank, or the CPU, and the same kind on all ranks.

use dtrain_comm::{Collective, CollectiveExt, gpus};
use dtrain_configs::schema::DeviceChoice;
use serde::{Deserialize, Serialize};
use tch::Device;

use crate::device::load_cuda;
use crate::error::TrainError;
use crate::run::agree::agreed;

/// What a rank computes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Where its tensors live.
    pub device: Device,
    /// Name of the GPU, or `cpu`.
    pub name: String,
    /// Major and minor number of the GPU's architecture.
    pub compute_capability: Option<(i32, i32)>,
    /// Ranks on this rank's node.
    pub ranks_per_node: usize,
    /// Why.
    pub reason: String,
}

/// What a rank tells the others about the GPU that it would take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Candidate {
    node: usize,
    /// `Err`: why there is none.
    gpu: Result<[u8; 16], String>,
    /// GPUs that this rank sees.
    visible: usize,
    /// Set by those who let several ranks share a GPU on purpose, one value per process.
    host_id: Option<String>,
}

/// Decides for all ranks alike.
///
/// # Errors
/// The same on all ranks: GPUs on some ranks only, or fewer than there are ranks.
pub fn choose(choice: DeviceChoice, collective: &dyn Collective) -> Result<Place, TrainError> {
    let ranks_per_node = collective.world().local_size;
    let cpu = |reason: String| Place {
        device: Device::Cpu,
        name: "cpu".into(),
        compute_capability: None,
        ranks_per_node,
        reason,
    };
    if choice == DeviceChoice::Cpu {
        return Ok(cpu(super::SET.into()));
    }
    let world = collective.world();
    let found = gpus();
    let own = found.as_ref().ok().and_then(|gpus| gpus.get(world.local_rank % gpus.len().max(1)));
    let candidate = Candidate {
        node: world.node,
        gpu: own.map(|gpu| gpu.uuid).ok_or_else(|| match &found {
            Err(reason) => reason.to_string(),
            Ok(_) => "no GPU is visible".into(),
        }),
        visible: found.as_ref().map_or(0, Vec::len),
        host_id: std::env::var("NCCL_HOSTID").ok(),
    };
    let mut candidates = Vec::with_capacity(world.world_size);
    for bytes in collective.gather_bytes(&serde_json::to_vec(&candidate).map_err(TrainError::internal)?)? {
        candidates.push(serde_json::from_slice::<Candidate>(&bytes).map_err(TrainError::internal)?);
    }
    let Some(gpu) = decide(choice, &candidates)? else {
        let reason = candidate.gpu.err().unwrap_or_default();
        return Ok(cpu(format!("auto: {reason}")));
    };
    let own = own.ok_or_else(|| TrainError::internal("a rank without a GPU was given one"))?;
    agreed(
        collective,
        load_cuda().map_err(|reason| {
            TrainError::environment(
                format!("libtorch cannot use the GPU {}: {reason}", own.name),
                "install libtorch with CUDA (`scripts/setup.sh --gpu`), or use `trainer.device=cpu`",
            )
        }),
    )?;
    Ok(Place {
        device: Device::Cuda(own.ordinal),
        name: own.name.clone(),
        compute_capability: Some(own.compute_capability),
        ranks_per_node,
        reason: match choice {
            DeviceChoice::Auto => format!("auto: {gpu}"),
            DeviceChoice::Cuda | DeviceChoice::Cpu => format!("set: {gpu}"),
        },
    })
}

/// `None`: all ranks take the CPU; else a description of the GPUs.
fn decide(choice: DeviceChoice, candidates: &[Candidate]) -> Result<Option<String>, TrainError> {
    let without = candidates.iter().position(|c| c.gpu.is_err());
    let with = candidates.iter().position(|c| c.gpu.is_ok());
    if let Some(rank) = without {
        let reason = candidates.get(rank).and_then(|c| c.gpu.as_ref().err()).cloned().unwrap_or_default();
        return match (choice, with) {
            (DeviceChoice::Auto, None) => Ok(None),
            (_, Some(other)) => Err(TrainError::environment(
                format!("rank {other} has a GPU, but rank {rank} has none: {reason}"),
                "give every node GPUs, or use `trainer.device=cpu` on all of them",
            )),
            (_, None) => Err(TrainError::environment(
                format!("`trainer.device` is cuda, but there is no GPU: {reason}"),
                "use `trainer.device=cpu`, or start on a machine with a GPU and its driver",
            )),
        };
    }
    for (rank, candidate) in candidates.iter().enumerate() {
        let same = |other: &Candidate| {
            other.node == candidate.node
                && other.gpu == candidate.gpu
                && (other.host_id.is_none() || other.host_id == candidate.host_id)
        };
        if candidates.iter().take(rank).any(same) {
            let on_node = candidates.iter().filter(|c| c.node == candidate.node).count();
            let visible = candidate.visible;
            return Err(TrainError::environment(
                format!(
                    "{on_node} ranks on node {} share {visible} GPU{}",
                    candidate.node,
                    if visible == 1 { "" } else { "s" }
                ),
                format!("start one rank per GPU, `-n {visible}` on one node, or use `trainer.device=cpu`"),
            ));
        }
    }
    Ok(Some("one GPU per rank".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(node: usize, gpu: Option<u8>, visible: usize) -> Candidate {
        let gpu = gpu.map(|id| [id; 16]).ok_or_else(|| "libcuda.so was not found".to_owned());
        Candidate { node, gpu, visible, host_id: None }
    }

    fn decided(
        choice: DeviceChoice,
        candidates: &[Candidate],
    ) -> Result<Option<String>, (String, Option<String>)> {
        decide(choice, candidates).map_err(|e| (e.to_string(), e.hint()))
    }

    #[test]
    fn one_gpu_per_rank_or_none_at_all() {
        let two = [candidate(0, Some(1), 2), candidate(0, Some(2), 2)];
        assert!(decided(DeviceChoice::Auto, &two).unwrap().is_some());
        let none = [candidate(0, None, 0), candidate(1, None, 0)];
        assert_eq!(decided(DeviceChoice::Auto, &none), Ok(None));
        let (message, hint) = decided(DeviceChoice::Cuda, &none).unwrap_err();
        assert_eq!(message, "`trainer.device` is cuda, but there is no GPU: libcuda.so was not found");
        assert!(hint.unwrap().contains("trainer.device=cpu"));
    }

    #[test]
    fn kinds_are_never_mixed() {
        let mixed = [candidate(0, Some(1), 1), candidate(1, None, 0)];
        for choice in [DeviceChoice::Auto, DeviceChoice::Cuda] {
            let (message, _) = decided(choice, &mixed).unwrap_err();
            assert_eq!(message, "rank 0 has a GPU, but rank 1 has none: libcuda.so was not found");
        }
    }

    #[test]
    fn more_ranks_than_gpus_are_refused_unless_each_has_a_host_id() {
        let mut ranks: Vec<Candidate> = (0..4).map(|rank| candidate(0, Some(rank % 2), 2)).collect();
        let (message, hint) = decided(DeviceChoice::Auto, &ranks).unwrap_err();
        assert_eq!(message, "4 ranks on node 0 share 2 GPUs");
        assert_eq!(hint.unwrap(), "start one rank per GPU, `-n 2` on one node, or use `trainer.device=cpu`");
        for (rank, candidate) in ranks.iter_mut().enumerate() {
            candidate.host_id = Some(format!("rank-{rank}"));
        }
        assert!(decided(DeviceChoice::Auto, &ranks).unwrap().is_some());
        // SLURM may show every task its own GPU as the only one; other nodes may have GPUs of any identity.
        let apart = [candidate(0, Some(1), 1), candidate(0, Some(2), 1), candidate(1, Some(1), 1)];
        assert!(decided(DeviceChoice::Auto, &apart).unwrap().is_some());
    }
}
