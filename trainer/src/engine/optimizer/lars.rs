//! LARS (You et al. 2017, arXiv 1708.03888) in the form of SimCLR's reference code and of optax: with gradient g, weight
//! decay d, trust coefficient c and momentum m, for each layer
//!
//! ```text
//! g <- g + d w;   r = c |w| / |g|;   v <- m v + lr r g;   w <- w - v
//! ```
//!
//! Biases and norm parameters have d = 0 and r = 1; so has a layer with |w| = 0 or |g| = 0 an r of 1, so that what starts
//! at zero can move.
//!
//! Departures: the paper divides by |g| + d |w| rather than by |g + d w|. The PyTorch codes of BYOL and Barlow Twins keep
//! lr out of v (`w <- w - lr v`), which differs only while lr changes: there a new rate rescales old gradients too.

use dtrain_configs::schema::LarsConfig;
use tch::{Kind, Tensor};

use super::{Optimizer, Rates, Update};
use crate::engine::flat::{ActiveSet, Flat, part, squared_norm};
use crate::engine::shard::{Run, Shard};
use crate::error::TrainError;
use crate::model::parameters::Role;

/// Layer-wise adaptive rates with momentum.
#[derive(Debug)]
pub struct Lars {
    trust_coefficient: f64,
    /// v of every parameter.
    momentum: Tensor,
}

/// What is treated alike.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Treatment {
    /// Number of the weight, for its norms; `None` of biases and norm parameters.
    layer: Option<usize>,
    /// Of its rates.
    place: usize,
}

fn rates(run: &Run<Treatment>, update: &Update<'_>) -> Rates {
    let none = Rates { lr: 0.0, weight_decay: 0.0, momentum: 0.0 };
    update.rates.get(run.treatment.place).copied().unwrap_or(none)
}

/// g + d w of a part of a layer.
fn decayed(flat: &Flat, run: &Run<Treatment>, update: &Update<'_>) -> Tensor {
    let weight_decay = rates(run, update).weight_decay;
    part(flat.gradients(), &run.flat) + part(flat.parameters(), &run.flat) * weight_decay
}

impl Lars {
    /// Without any momentum gathered yet.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn new(config: &LarsConfig, flat: &Flat, shard: &Shard) -> Result<Self, TrainError> {
        let momentum = shard.zeros(flat.parameters())?;
        Ok(Self { trust_coefficient: config.trust_coefficient, momentum })
    }

    /// r of each layer, `[layers]`, f64; stays on the device. The parts of a layer may lie on several ranks.
    fn trust_ratios(
        &self,
        flat: &Flat,
        runs: &[Run<Treatment>],
        num_layers: usize,
        update: &Update<'_>,
    ) -> Result<Tensor, TrainError> {
        let mut squares = Tensor::zeros([2 * num_layers as i64], (Kind::Double, flat.parameters().device()));
        for run in runs.iter().filter(|run| run.counts) {
            let Some(layer) = run.treatment.layer else { continue };
            let decayed = decayed(flat, run, update);
            for (moment, values) in [(0, part(flat.parameters(), &run.flat)), (1, decayed)] {
                let at = (moment * num_layers + layer) as i64;
                let _ = squares.narrow(0, at, 1).g_add_(&squared_norm(&values));
            }
        }
        if !update.shard.is_whole() {
            update.ranks.sum_f64(&mut squares)?;
        }
        let norms = squares.sqrt_();
        let (weights, gradients) =
            (norms.narrow(0, 0, num_layers as i64), norms.narrow(0, num_layers as i64, num_layers as i64));
        let both = weights.gt(0.0).logical_and(&gradients.gt(0.0));
        Ok((&weights * self.trust_coefficient / gradients).where_self(&both, &weights.ones_like()))
    }
}

impl Optimizer for Lars {
    fn step(&mut self, flat: &Flat, active: &ActiveSet, update: &Update<'_>) -> Result<(), TrainError> {
        // A weight is a run of its own, for its norms; neighbouring biases and norm parameters are one.
        let mut num_layers = 0;
        let layers: Vec<usize> = flat
            .segments()
            .iter()
            .map(|segment| {
                let layer = num_layers;
                num_layers += usize::from(segment.role == Role::Weight);
                layer
            })
            .collect();
        let runs = flat.runs(|index, segment| {
            let layer = layers.get(index).copied().filter(|_| segment.role == Role::Weight);
            active.contains(index).then_some(Treatment { layer, place: update.place(index) })
        });
        let runs = update.shard.runs(update.ranks.world().rank, &runs);
        let ratios = self.trust_ratios(flat, &runs, num_layers, update)?.to_kind(flat.parameters().kind());
        for run in &runs {
            let mut weights = part(flat.parameters(), &run.flat);
            let Rates { lr, momentum, .. } = rates(run, update);
            let mut gradient = match run.treatment.layer {
                Some(layer) => decayed(flat, run, update).g_mul_(&ratios.get(layer as i64)),
                None => part(flat.gradients(), &run.flat).copy(),
            };
            let mut velocity = part(&self.momentum, &run.local);
            match update.skip {
                None => {
                    let _ = velocity.g_mul_scalar_(momentum).g_add_(&gradient.g_mul_scalar_(lr));
                    let _ = weights.g_sub_(&velocity);
                }
                Some(skip) => {
                    let skip = skip.gt(0.0);
                    let moved = &velocity * momentum + gradient.g_mul_scalar_(lr);
                    let target = &weights - &moved;
                    velocity.copy_(&velocity.where_self(&skip, &moved));
                    weights.copy_(&weights.where_self(&skip, &target));
                }
            }
        }
        Ok(())
    }

    fn moments(&self) -> Vec<(&'static str, &Tensor)> {
        vec![("momentum", &self.momentum)]
    }

    fn steps(&self) -> &[u64] {
        &[]
    }

    fn set_steps(&mut self, _: &[u64]) {}
}
