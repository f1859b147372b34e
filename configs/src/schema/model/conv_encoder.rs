//! A stack of strided convolutions, whose feature maps keep many positions: what a decoder can start from.

use serde::{Deserialize, Serialize};

use super::{NetworkFacts, NetworkSettings, NetworkVariant};
use crate::checks::{Checks, MAX_DIM};

/// Most layers: each halves rows and columns.
const MAX_LAYERS: u64 = 8;

/// Convolutions of stride 2, each with normalization and ReLU, and one of stride 1 behind them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConvEncoderConfig {
    /// Output channels of the convolutions of stride 2, each of which halves rows and columns, rounded up. The last one's are
    /// those of the feature maps.
    pub channels: Vec<usize>,
}

impl Default for ConvEncoderConfig {
    fn default() -> Self {
        Self { channels: vec![32, 64] }
    }
}

impl NetworkSettings for ConvEncoderConfig {
    fn facts(&self) -> NetworkFacts {
        // A position of the feature maps sees one of the view at least.
        NetworkFacts {
            min_side: 1 << self.channels.len().min(MAX_LAYERS as usize),
            num_features: self.channels.last().copied().unwrap_or_default(),
            one_size: false,
            is_large: false,
        }
    }

    fn num_parameters(&self, [in_channels, ..]: [u64; 3]) -> u64 {
        let outputs: Vec<u64> = self.channels.iter().map(|&channels| channels as u64).collect();
        let last = outputs.last().copied().unwrap_or_default();
        let inputs = std::iter::once(in_channels).chain(outputs.iter().copied());
        let layers = inputs.zip(outputs.iter().copied().chain([last]));
        layers.map(|(input, output)| 9 * input * output + 2 * output).sum()
    }

    fn check(&self, checks: &mut Checks) {
        checks.count("model.channels", self.channels.len() as u64, 1, MAX_LAYERS);
        for &channels in &self.channels {
            checks.count("model.channels", channels as u64, 1, MAX_DIM);
        }
    }

    fn variants(&self) -> Vec<NetworkVariant> {
        vec![NetworkVariant { network: self.clone().into(), words: "", side: 16 }]
    }
}
