//! The small network of lightning-hydra-template (`SimpleCNN`), for small images.

use serde::{Deserialize, Serialize};

use super::{NetworkFacts, NetworkSettings, NetworkVariant};
use crate::checks::{Checks, MAX_DIM};

/// Two blocks of convolution, normalization, ReLU and 2x2 max-pooling, pooling to a square, and a hidden layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SimpleCnnConfig {
    /// Channels of the first convolution.
    pub conv1_channels: usize,
    /// Channels of the second convolution.
    pub conv2_channels: usize,
    /// Rows and columns after pooling.
    pub pool_size: usize,
    /// Width of the hidden layer, which is the embedding.
    pub fc_hidden: usize,
    /// Share of the embedding that is set to zero in training.
    pub dropout: f64,
}

impl Default for SimpleCnnConfig {
    fn default() -> Self {
        Self { conv1_channels: 32, conv2_channels: 64, pool_size: 7, fc_hidden: 128, dropout: 0.25 }
    }
}

impl NetworkSettings for SimpleCnnConfig {
    fn facts(&self) -> NetworkFacts {
        NetworkFacts { min_side: 4, num_features: self.fc_hidden, one_size: false, is_large: false }
    }

    fn num_parameters(&self, [in_channels, ..]: [u64; 3]) -> u64 {
        let [first, second, hidden] =
            [self.conv1_channels, self.conv2_channels, self.fc_hidden].map(|width| width as u64);
        let positions = (self.pool_size * self.pool_size) as u64;
        let convolutions = 9 * first * (in_channels + second) + 2 * (first + second);
        convolutions + (second * positions + 1) * hidden
    }

    fn check(&self, checks: &mut Checks) {
        for (key, width) in [
            ("model.conv1_channels", self.conv1_channels),
            ("model.conv2_channels", self.conv2_channels),
            ("model.fc_hidden", self.fc_hidden),
        ] {
            checks.count(key, width as u64, 1, MAX_DIM);
        }
        checks.count("model.pool_size", self.pool_size as u64, 1, 256);
        checks.below_one("model.dropout", self.dropout);
    }

    /// Without dropout; windows of pooling overlap.
    fn variants(&self) -> Vec<NetworkVariant> {
        let network = Self { dropout: 0.0, ..self.clone() }.into();
        vec![NetworkVariant { network, words: "", side: 32 }]
    }
}
