//! The small network for CPUs, which has no settings of its own.

use serde::{Deserialize, Serialize};

use super::{NetworkFacts, NetworkSettings, NetworkVariant};
use crate::checks::Checks;

/// Output channels of the blocks.
const CHANNELS: [usize; 4] = [32, 64, 128, 256];

/// Four blocks of convolution, normalization, ReLU and 2x2 max-pooling.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CnnSmallConfig {}

impl CnnSmallConfig {
    /// Output channels of the blocks.
    pub fn channels(&self) -> [usize; 4] {
        CHANNELS
    }
}

impl NetworkSettings for CnnSmallConfig {
    fn facts(&self) -> NetworkFacts {
        let [.., num_features] = CHANNELS;
        NetworkFacts { min_side: 1 << CHANNELS.len(), num_features, one_size: false, is_large: false }
    }

    fn num_parameters(&self, [in_channels, ..]: [u64; 3]) -> u64 {
        let outputs = CHANNELS.map(|channels| channels as u64);
        let inputs = std::iter::once(in_channels).chain(outputs);
        inputs.zip(outputs).map(|(input, output)| 9 * input * output + 2 * output).sum()
    }

    fn check(&self, _checks: &mut Checks) {}

    fn variants(&self) -> Vec<NetworkVariant> {
        vec![NetworkVariant { network: self.clone().into(), words: "", side: 32 }]
    }
}
