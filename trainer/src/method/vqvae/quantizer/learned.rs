//! Codes that gradients move: each by itself (van den Oord et al. 2017, arXiv 1711.00937, equation 3), or all at once by one
//! linear map of random vectors that stay (SimVQ, Zhu et al. 2024, arXiv 2411.02038).

use dtrain_configs::schema::{CodebookConfig, CodebookKind};
use tch::{TchError, Tensor};

use super::kmeans::kmeans;
use super::nearest::nearest;
use super::{Codebook, Quantized};
use crate::model::parameters::{Init, Parameters, Role};

/// See the module.
pub struct Learned {
    config: CodebookConfig,
    bound: Option<f64>,
    /// `[K, D]`.
    vectors: Tensor,
    /// `[D, D]` of SimVQ.
    map: Option<Tensor>,
}

impl Learned {
    /// Registers `entries`, or `map` of SimVQ, in the current scope of `parameters`. Codes are not decayed.
    pub fn build(config: &CodebookConfig, bound: Option<f64>, parameters: &mut Parameters) -> Self {
        let (num_codes, dim) = (config.num_codes as i64, config.dim as i64);
        let shape = [num_codes, dim];
        let (vectors, map) = if config.kind == CodebookKind::Simvq {
            // Official code: normal vectors of variance 1 / D, and a linear layer as PyTorch draws it.
            let std = 1.0 / (dim as f64).sqrt();
            let vectors = parameters
                .constant(|scope| scope.parameter("vectors", &shape, Init::Normal { std }, Role::Bias));
            let map = parameters.parameter("map", &[dim, dim], Init::Uniform { bound: std }, Role::Weight);
            (vectors, Some(map))
        } else {
            let init = Init::Uniform { bound: 1.0 / num_codes as f64 };
            (parameters.parameter("entries", &shape, init, Role::Bias), None)
        };
        Self { config: config.clone(), bound, vectors, map }
    }

    fn codes(&self) -> Result<Tensor, TchError> {
        let entries = match &self.map {
            Some(map) => self.vectors.f_linear(map, None::<&Tensor>)?,
            None => self.vectors.shallow_clone(),
        };
        match self.bound {
            Some(bound) => entries.f_clamp(-bound, bound),
            None => Ok(entries),
        }
    }
}

impl Codebook for Learned {
    fn entries(&self) -> Result<Option<Tensor>, TchError> {
        Ok(Some(self.codes()?.detach()))
    }

    fn quantize(&self, latents: &Tensor) -> Result<Quantized, TchError> {
        let entries = self.codes()?;
        let codes = nearest(latents, &entries)?;
        let vectors = entries.f_index_select(0, &codes)?;
        Ok(Quantized { latents: latents.shallow_clone(), codes, vectors })
    }

    fn lookup(&self, codes: &Tensor) -> Result<Tensor, TchError> {
        self.codes()?.f_index_select(0, codes)
    }

    fn is_trained(&self) -> bool {
        true
    }

    fn begin(&mut self, rows: &Tensor, seed: u64) -> Result<(), TchError> {
        let found = kmeans(rows, self.config.num_codes as i64, self.config.kmeans_iterations, seed)?.means;
        let count = found.size()[0];
        self.vectors.f_narrow(0, 0, count)?.f_copy_(&found)
    }
}
