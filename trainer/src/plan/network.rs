//! How long collectives take: a model with few constants, either measured on this machine or published.
//!
//! For NCCL it is NCCL's own: the tuner (`src/graph/tuning.cc`, read at commit `01afd20a`) estimates each pair of algorithm
//! (ring, tree) and protocol (LL, LL128, Simple) as latency plus bytes over bandwidth and takes the fastest, and so does
//! [`Network::all_reduce_secs`]. Rings and trees are hierarchical by themselves: most hops stay within a node, and
//! between nodes every network card carries its own part.

use serde::{Deserialize, Serialize};

/// How the ranks pass parts of a message on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// Parts go round all ranks twice: 2 (W - 1) hops, and 2 (W - 1) / W of the bytes cross every link.
    Ring,
    /// A chain within each node and two complementary binary trees over the nodes, up and down: few hops, and twice the
    /// bytes cross every link.
    Tree,
}

/// One way to do a collective.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Protocol {
    /// For people.
    pub name: String,
    /// How parts are passed on.
    pub algorithm: Algorithm,
    /// Seconds of the shortest operation without any hop: the launch.
    pub base_secs: f64,
    /// Seconds of a hop within a node.
    pub hop_within_secs: f64,
    /// Seconds of a hop between nodes.
    pub hop_between_secs: f64,
    /// Part of the bus bandwidth that the protocol reaches; the rest is flags and waiting.
    pub bandwidth_share: f64,
}

/// Links between ranks, and the ways to use them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// For people.
    pub name: String,
    /// Where the constants come from.
    pub source: String,
    /// Ranks of a node; the last node may have fewer.
    pub ranks_per_node: usize,
    /// Bus bandwidth within a node in bytes per second, as nccl-tests defines it.
    pub bus_within: f64,
    /// Bus bandwidth between nodes in bytes per second, all network cards of a node together.
    pub bus_between: f64,
    /// The fastest is taken.
    pub protocols: Vec<Protocol>,
}

impl Network {
    /// One measured pair of latency and bus bandwidth for all ranks, which sit on one host.
    pub fn measured(name: &str, source: &str, latency_secs: f64, bus_bytes_per_sec: f64) -> Self {
        Self {
            name: name.into(),
            source: source.into(),
            ranks_per_node: usize::MAX,
            bus_within: bus_bytes_per_sec,
            bus_between: bus_bytes_per_sec,
            protocols: vec![Protocol {
                name: "measured".into(),
                algorithm: Algorithm::Ring,
                base_secs: latency_secs,
                hop_within_secs: 0.0,
                hop_between_secs: 0.0,
                bandwidth_share: 1.0,
            }],
        }
    }

    /// Nodes that `world` ranks fill.
    pub fn num_nodes(&self, world: usize) -> usize {
        world.div_ceil(self.ranks_per_node.max(1)).max(1)
    }

    /// Seconds of an all-reduce of `bytes` over `world` ranks; 0 for one rank.
    pub fn all_reduce_secs(&self, world: usize, bytes: f64) -> f64 {
        self.fastest(world, |protocol| self.secs(protocol, world, bytes, 2.0))
    }

    /// Seconds of an all-gather after which every rank holds `bytes`, of which each has brought an equal part. A
    /// reduce-scatter of `bytes` takes as long.
    pub fn all_gather_secs(&self, world: usize, bytes: f64) -> f64 {
        self.fastest(world, |protocol| match protocol.algorithm {
            Algorithm::Ring => self.secs(protocol, world, bytes, 1.0),
            Algorithm::Tree => f64::INFINITY,
        })
    }

    /// `rounds` is 2 for an all-reduce, 1 for one of its halves.
    fn secs(&self, protocol: &Protocol, world: usize, bytes: f64, rounds: f64) -> f64 {
        let nodes = self.num_nodes(world);
        let bus = if nodes > 1 { self.bus_within.min(self.bus_between) } else { self.bus_within };
        let bandwidth = bus * protocol.bandwidth_share;
        let num_ranks = world as f64;
        let (hops_within, hops_between, crossing) = match protocol.algorithm {
            Algorithm::Ring => {
                let between = if nodes > 1 { rounds * (nodes as f64 - 1.0) } else { 0.0 };
                let all = rounds * (num_ranks - 1.0);
                (all - between, between, all / num_ranks)
            }
            Algorithm::Tree => {
                let chain = world.div_ceil(nodes).saturating_sub(1) as f64;
                (2.0 * chain, 2.0 * (nodes as f64).log2(), 2.0)
            }
        };
        let latency = protocol.base_secs
            + hops_within * protocol.hop_within_secs
            + hops_between * protocol.hop_between_secs;
        latency + bytes * crossing / bandwidth
    }

    fn fastest(&self, world: usize, secs: impl Fn(&Protocol) -> f64) -> f64 {
        if world <= 1 {
            return 0.0;
        }
        self.protocols.iter().map(secs).fold(f64::INFINITY, f64::min)
    }
}

/// Bytes that each rank sends in a ring all-reduce of `bytes`; it receives as many.
pub fn all_reduce_wire_bytes(world: usize, bytes: f64) -> f64 {
    if world <= 1 { 0.0 } else { 2.0 * (world as f64 - 1.0) / world as f64 * bytes }
}

/// Bytes that each rank receives in an all-gather of `bytes` in all.
pub fn all_gather_wire_bytes(world: usize, bytes: f64) -> f64 {
    all_reduce_wire_bytes(world, bytes) / 2.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::hardware::{A100, H100, Hardware};
    use super::*;

    #[test]
    fn large_messages_run_at_the_published_bus_bandwidth() {
        for hardware in [A100, H100] {
            let network = hardware.network();
            let bytes = 8e9;
            let bus = bytes * 2.0 * 7.0 / 8.0 / network.all_reduce_secs(8, bytes);
            assert!((bus / network.bus_within - 1.0).abs() < 0.01, "{}: {bus:e}", network.name);
            let bus = bytes * 2.0 * 15.0 / 16.0 / network.all_reduce_secs(16, bytes);
            assert!((bus / network.bus_between - 1.0).abs() < 0.01, "{}: {bus:e}", network.name);
        }
    }

    #[test]
    fn the_ring_formula_is_the_one_of_the_tuner() {
        // NCCL's tuner for the ring with Simple: base + (nsteps - nInterSteps) * intra + nInterSteps * inter.
        let mut network = H100.network();
        network.protocols.retain(|p| p.name == "ring Simple");
        let expected = 1e-6 * (8.4 + (30.0 - 2.0) * 3.4 + 2.0 * 9.6);
        assert!((network.all_reduce_secs(16, 0.0) - expected).abs() < 1e-12);
        let expected = 1e-6 * (8.4 + (15.0 - 1.0) * 3.4 + 9.6);
        assert!((network.all_gather_secs(16, 0.0) - expected).abs() < 1e-12);
    }

    #[test]
    fn trees_make_small_messages_scale_with_the_logarithm() {
        let network = H100.network();
        let [small, large] = [64, 1024].map(|world| network.all_reduce_secs(world, 4096.0));
        assert!(small < large && large < 4.0 * small, "{small:e} {large:e}");
        assert!(large < 300e-6, "{large:e}");
    }

    #[test]
    fn two_halves_take_at_least_as_long_as_the_whole() {
        let mut network = A100.network();
        network.protocols.retain(|p| p.name == "ring Simple");
        let halves = 2.0 * network.all_gather_secs(24, 1e8);
        assert!(halves >= network.all_reduce_secs(24, 1e8));
    }

    fn hardware() -> impl Strategy<Value = Hardware> {
        prop_oneof![Just(A100), Just(H100)]
    }

    proptest! {
        #[test]
        fn one_rank_needs_nobody(hardware in hardware(), bytes in 0.0..1e10) {
            let network = hardware.network();
            prop_assert_eq!(network.all_reduce_secs(1, bytes), 0.0);
            prop_assert_eq!(network.all_gather_secs(1, bytes), 0.0);
            prop_assert_eq!(all_reduce_wire_bytes(1, bytes), 0.0);
        }

        #[test]
        fn more_bytes_take_longer_and_more_bandwidth_less(
            hardware in hardware(), world in 2_usize..3000, bytes in 0.0..1e10, factor in 1.0..10.0,
        ) {
            let network = hardware.network();
            let secs = network.all_reduce_secs(world, bytes);
            prop_assert!(secs > 0.0 && secs.is_finite());
            prop_assert!(network.all_reduce_secs(world, bytes * factor) >= secs);
            prop_assert!(network.all_gather_secs(world, bytes * factor) >= network.all_gather_secs(world, bytes));
            let mut wider = network.clone();
            wider.bus_within *= factor;
            wider.bus_between *= factor;
            prop_assert!(wider.all_reduce_secs(world, bytes) <= secs);
        }

        #[test]
        fn whole_nodes_more_never_make_it_faster(
            hardware in hardware(), nodes in 1_usize..200, more in 1_usize..50, bytes in 0.0..1e9,
        ) {
            let network = hardware.network();
            let [few, many] = [nodes, nodes + more].map(|n| network.all_reduce_secs(8 * n, bytes));
            prop_assert!(many >= few, "{few:e} {many:e}");
        }
    }
}
