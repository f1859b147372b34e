//! Published figures of machines, each with its source, for plans about machines that are not at hand.
//!
//! They are figures of others, from well-configured clusters: what a plan computes from them is a prediction.

use serde::{Deserialize, Serialize};

use super::network::{Algorithm, Network, Protocol};

/// A kind of node: GPUs, the links between them and the network to other nodes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Hardware {
    /// For people.
    pub name: &'static str,
    /// GPUs of a node.
    pub gpus_per_node: usize,
    /// Memory of a GPU in bytes.
    pub gpu_bytes: u64,
    /// Bus bandwidth of a large all-reduce within a node, bytes per second.
    pub bus_within: f64,
    /// Its source.
    pub bus_within_source: &'static str,
    /// Bus bandwidth of a large all-reduce between nodes, bytes per second.
    pub bus_between: f64,
    /// Its source.
    pub bus_between_source: &'static str,
    /// Images per second and GPU of ResNet-50 at 224 x 224 in mixed precision, forward, backward and update.
    pub resnet50_images_per_sec: f64,
    /// Its source.
    pub resnet50_source: &'static str,
    /// fp32 operations per second outside the matrix units, for the loss.
    pub fp32_flops: f64,
    /// Bytes per second of the GPU's memory.
    pub memory_bytes_per_sec: f64,
}

/// Share of a network card's bandwidth that a large all-reduce over all cards was seen to reach: 86 of 96 GB/s
/// (NVIDIA/nccl#1048) and 91 of 100 (NVIDIA/nccl-tests#100).
const CARDS_SHARE: f64 = 0.9;

/// 8 x A100 SXM4 80 GB, one 200 Gb/s card per GPU.
pub const A100: Hardware = Hardware {
    name: "8 x A100 per node, 8 x 200 Gb/s",
    gpus_per_node: 8,
    gpu_bytes: 80 << 30,
    bus_within: 232.5e9,
    bus_within_source: "232.5 GB/s measured on one node (NVIDIA/nccl#1048)",
    bus_between: 8.0 * 24e9 * CARDS_SHARE,
    bus_between_source: "8 x 24 GB/s per 200 Gb/s card, of which 0.9 are reached (NVIDIA/nccl#1048, nccl-tests#100)",
    resnet50_images_per_sec: 2470.0,
    resnet50_source: "NVIDIA DeepLearningExamples, ResNet-50 v1.5, mixed precision, one A100 80 GB",
    fp32_flops: 19.5e12,
    memory_bytes_per_sec: 2.04e12,
};

/// 8 x H100 SXM5 80 GB, one 400 Gb/s card per GPU.
pub const H100: Hardware = Hardware {
    name: "8 x H100 per node, 8 x 400 Gb/s",
    gpus_per_node: 8,
    gpu_bytes: 80 << 30,
    bus_within: 370e9,
    bus_within_source: "370 GB/s with rings; 475 with NVLink SHARP, which is not counted on (nccl-tests#212, #272)",
    bus_between: 8.0 * 47e9 * CARDS_SHARE,
    bus_between_source: "8 x 46 to 48 GB/s per 400 Gb/s card (nccl-tests#290), of which 0.9 are reached (nccl#1048)",
    resnet50_images_per_sec: 2470.0 * 3.35 / 2.04,
    resnet50_source: "the A100's figure times the ratio of the memory bandwidths: derived, not published",
    fp32_flops: 67e12,
    memory_bytes_per_sec: 3.35e12,
};

impl Hardware {
    /// The preset whose GPU has this name, as the driver gives it; GPUs of the same family count as the same.
    pub fn of_gpu(name: &str) -> Option<Self> {
        let upper = name.to_uppercase();
        let any = |names: &[&str]| names.iter().any(|n| upper.contains(n));
        match () {
            () if any(&["H100", "H200", "H800", "GH200"]) => Some(H100),
            () if any(&["A100", "A800"]) => Some(A100),
            () => None,
        }
    }

    /// The links, with the latencies and shares of NCCL's tuner.
    pub fn network(&self) -> Network {
        Network {
            name: self.name.into(),
            source: format!(
                "published: within a node {}; between nodes {}; latencies of NCCL's tuner (tuning.cc)",
                self.bus_within_source, self.bus_between_source
            ),
            ranks_per_node: self.gpus_per_node,
            bus_within: self.bus_within,
            bus_between: self.bus_between,
            protocols: nccl_protocols(),
        }
    }

    /// Seconds that the exact contrastive loss takes per ordered pair of rows of width `dim`: a bound from both sides of
    /// the roofline, added. Pass 1 computes s_ij (2 D operations), pass 2 computes it again and multiplies twice by
    /// rows (4 D); each pass writes and reads its tile about four times in fp32 (product, exponential, weight, sum).
    pub fn secs_per_pair(&self, dim: usize) -> f64 {
        let flops = 6.0 * dim as f64;
        let bytes = 2.0 * 4.0 * 2.0 * 4.0;
        flops / self.fp32_flops + bytes / self.memory_bytes_per_sec
    }
}

/// Microseconds and shares of NCCL's tuner (`baseLat`, `hwLat` for NVLink and network, and the factors below them).
///
/// Left out: the corrections for trees of medium size, and Simple on trees, whose latency stands for a 256 kB chunk.
fn nccl_protocols() -> Vec<Protocol> {
    let table = [
        ("ring LL", Algorithm::Ring, [3.6, 0.47 * 1.8, 2.7], 1.0 / 4.0),
        ("ring LL128", Algorithm::Ring, [10.0, 1.9, 4.0], 0.92),
        ("ring Simple", Algorithm::Ring, [8.4, 3.4, 9.6], 1.0),
        ("tree LL", Algorithm::Tree, [4.4, 0.52 * 1.8, 5.0], 0.9 / 3.8),
        ("tree LL128", Algorithm::Tree, [4.4, 1.2, 8.5], 0.9 * 0.915),
    ];
    table
        .into_iter()
        .map(|(name, algorithm, [base, within, between], bandwidth_share)| Protocol {
            name: name.into(),
            algorithm,
            base_secs: base * 1e-6,
            hop_within_secs: within * 1e-6,
            hop_between_secs: between * 1e-6,
            bandwidth_share,
        })
        .collect()
}

/// CPU hosts with one 25 Gb/s card: line rate less a tenth, and 30 microseconds per hop through the kernel. Assumed.
pub fn ethernet_hosts(ranks_per_node: usize) -> Network {
    Network {
        name: format!("{} per host, 25 Gb/s between hosts", count(ranks_per_node)),
        source: "assumed: 25 Gb/s less 10 %, 30 us per hop between hosts, 1 us within".into(),
        ranks_per_node: ranks_per_node.max(1),
        bus_within: 5e9,
        bus_between: 25e9 / 8.0 * 0.9,
        protocols: [("ring", Algorithm::Ring), ("tree", Algorithm::Tree)]
            .map(|(name, algorithm)| Protocol {
                name: name.into(),
                algorithm,
                base_secs: 5e-6,
                hop_within_secs: 1e-6,
                hop_between_secs: 30e-6,
                bandwidth_share: 1.0,
            })
            .into(),
    }
}

fn count(ranks: usize) -> String {
    format!("{ranks} rank{}", if ranks == 1 { "" } else { "s" })
}

/// Presets that can be asked for by a short name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// [`A100`].
    A100,
    /// [`H100`].
    H100,
}

impl Preset {
    /// Its figures.
    pub fn hardware(self) -> Hardware {
        match self {
            Self::A100 => A100,
            Self::H100 => H100,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_are_known_by_the_drivers_names() {
        assert_eq!(Hardware::of_gpu("NVIDIA H100 80GB HBM3"), Some(H100));
        assert_eq!(Hardware::of_gpu("NVIDIA H200"), Some(H100));
        assert_eq!(Hardware::of_gpu("NVIDIA A100-SXM4-80GB"), Some(A100));
        assert_eq!(Hardware::of_gpu("NVIDIA GeForce RTX 3090"), None);
    }

    #[test]
    fn the_loss_is_far_below_a_cpu_core() {
        // A core takes 6 ns a pair; a GPU must be hundreds of times faster, and not faster than its memory.
        for hardware in [A100, H100] {
            let secs = hardware.secs_per_pair(128);
            assert!((10e-12..200e-12).contains(&secs), "{secs:e}");
        }
    }
}
