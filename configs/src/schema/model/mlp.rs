//! A network of linear layers.

use serde::{Deserialize, Serialize};

use super::{NetworkFacts, NetworkSettings, NetworkVariant};
use crate::checks::{Checks, MAX_DIM};

/// Linear layers with ReLU, over all values of a view; without normalization.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MlpConfig {
    /// Width of each layer; that of the last is the number of features.
    pub hidden: Vec<usize>,
    /// Standard deviation of the normal distribution that weights and biases start from; `null`: as `torch.nn.Linear` starts.
    pub init_std: Option<f64>,
}

impl Default for MlpConfig {
    fn default() -> Self {
        Self { hidden: vec![50, 30], init_std: None }
    }
}

impl NetworkSettings for MlpConfig {
    fn facts(&self) -> NetworkFacts {
        NetworkFacts {
            min_side: 1,
            num_features: self.hidden.last().copied().unwrap_or(1),
            one_size: true,
            is_large: false,
        }
    }

    fn num_parameters(&self, input: [u64; 3]) -> u64 {
        let outputs = self.hidden.iter().map(|&width| width as u64);
        let inputs = std::iter::once(input.iter().product()).chain(outputs.clone());
        inputs.zip(outputs).map(|(input, output)| input * output + output).sum()
    }

    fn check(&self, checks: &mut Checks) {
        checks.require(
            !self.hidden.is_empty(),
            ["model.hidden"],
            || "`model.hidden` names no layer".into(),
            "`'model.hidden=[50, 30]'` has two",
        );
        for &width in &self.hidden {
            checks.count("model.hidden", width as u64, 1, MAX_DIM);
        }
        if let Some(std) = self.init_std {
            checks.positive("model.init_std", std);
        }
    }

    fn variants(&self) -> Vec<NetworkVariant> {
        vec![NetworkVariant { network: self.clone().into(), words: "", side: 16 }]
    }
}
