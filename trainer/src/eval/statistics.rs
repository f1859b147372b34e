//! Batch-norm statistics for an evaluation, estimated under the weights as they are: "precise batch norm" of Wu & Johnson
//! 2021, "Rethinking Batch in BatchNorm" (arXiv 2105.07576), section 3. Running statistics are a mean over steps in which the
//! weights moved, and after t steps they still hold 0.9^t of their start, mean 0 and variance 1.
//!
//! Training samples go through the network in training mode, unaugmented as evaluations see theirs, in batches over all ranks. With mean m_B and variance v_B of
//! each, weighted by their samples, the estimates are `mean = E[m_B]` and `var = E[v_B] + E[m_B^2] - mean^2`. Departures:
//! v_B is the unbiased variance, as running statistics hold it; dropout is off, since an evaluation has none. Batches are
//! a function of the settings alone: the sums over ranks of a batch are those of training, and everything else is
//! computed on each rank alike.

use dtrain_comm::CollectiveExt;
use dtrain_data::columns::NONE;
use dtrain_data::progress::Work;
use dtrain_data::{BatchRequest, Draw, share, spread};
use tch::{Device, Kind, TchError, Tensor, no_grad};

use super::Reading;
use crate::batch::{Batch, start_loader, upload};
use crate::engine::{Engine, KeptStatistics};
use crate::error::TrainError;
use crate::method::{LocalBatch, Targets};

/// A running variance that is off by more than this factor is no estimate of the variance.
const FAR: f64 = 2.0;

/// Statistics that were measured and are in force.
#[derive(Debug)]
pub struct Measured {
    /// The running ones, which training goes on with.
    kept: KeptStatistics,
    /// Samples that they were estimated from.
    pub samples: u64,
    /// Share of the channels whose running variance is off by more than a factor of two.
    pub far: f64,
}

/// Sums over the batches of one layer, on the host.
struct Sums {
    before: i64,
    mean: Tensor,
    square: Tensor,
    var: Tensor,
}

impl Measured {
    /// The running statistics again.
    pub fn put_back(self, engine: &Engine) {
        engine.put_back_statistics(&self.kept);
    }
}

/// Measures the statistics on at most `most` of `ids`, evenly chosen, and puts them in the place of the running ones. `None`
/// where no layer would learn any, or no two samples could be read.
///
/// # Errors
/// When memory runs out or the ranks cannot talk.
pub fn measure_statistics(
    engine: &Engine,
    reading: &Reading,
    ids: &[u32],
    most: usize,
) -> Result<Option<Measured>, TrainError> {
    let layers = engine.norm_statistics();
    let chosen = spread(ids, most);
    if layers.is_empty() || chosen.len() < 2 {
        return Ok(None);
    }
    let kept = engine.keep_statistics();
    let mut sums: Vec<Sums> = Vec::with_capacity(layers.len());
    for layer in &layers {
        let zeros = || Tensor::f_zeros(layer.mean.size(), (Kind::Double, Device::Cpu));
        let before = layer.num_batches.int64_value(&[]);
        sums.push(Sums { before, mean: zeros()?, square: zeros()?, var: zeros()? });
    }
    let loader =
        start_loader(&reading.maker, requests(engine, reading, &chosen), reading.options, engine.device())?;
    let work = Work::begin("measuring batch-norm statistics", "samples", chosen.len() as u64);
    let mut samples = 0.0;
    while let Some(batch) = loader.next().transpose()? {
        let weight = samples_of_all_ranks(engine, &batch)?;
        let views = upload(&batch, engine.device())?.arrived(engine.kind())?;
        engine.take_statistics(&LocalBatch::of_groups(views, unlabelled(engine, &batch)?)?)?;
        // One sample may say nothing about a variance.
        if weight >= 2.0 {
            samples += weight;
            for (layer, sums) in layers.iter().zip(&mut sums) {
                let [mean, var] =
                    [&layer.mean, &layer.var].map(|t| t.f_to_device(Device::Cpu)?.f_to_kind(Kind::Double));
                let (mean, var) = (mean?, var?);
                sums.square += mean.square() * weight;
                sums.mean += mean * weight;
                sums.var += var * weight;
            }
        }
        work.add(weight as u64);
    }
    let learned: Vec<bool> = layers
        .iter()
        .zip(&sums)
        .map(|(layer, sums)| layer.num_batches.int64_value(&[]) != sums.before)
        .collect();
    engine.put_back_statistics(&kept);
    if samples == 0.0 || !learned.contains(&true) {
        return Ok(None);
    }
    let (mut far, mut channels) = (0.0, 0.0);
    for ((layer, sums), _) in layers.iter().zip(sums).zip(learned).filter(|(_, learned)| *learned) {
        let mean = sums.mean / samples;
        let var = sums.var / samples + sums.square / samples - mean.square();
        let ratio =
            (layer.var.to_device(Device::Cpu).to_kind(Kind::Double) / var.clamp_min(f64::MIN_POSITIVE)).log();
        far += ratio.abs().gt(FAR.ln()).sum(Kind::Double).double_value(&[]);
        channels += mean.numel() as f64;
        no_grad(|| {
            layer.mean.shallow_clone().copy_(&mean);
            layer.var.shallow_clone().copy_(&var);
        });
    }
    Ok(Some(Measured { kept, samples: samples as u64, far: far / channels }))
}

/// This rank's share of each batch. Ids follow paths, and so classes: a batch takes every m-th one, so that each is a
/// sample of all; they differ in size by one at most.
fn requests(
    engine: &Engine,
    reading: &Reading,
    ids: &[u32],
) -> impl Iterator<Item = BatchRequest> + Send + use<> {
    let groups = engine.method().view_groups();
    let num_views = engine.method().num_views().max(1);
    let largest = (reading.batch_size / num_views as usize).max(2);
    let num_batches = ids.len().div_ceil(largest).min(ids.len() / 2).max(1);
    let world = engine.collective().world().clone();
    let ids = ids.to_vec();
    (0..num_batches).map(move |batch| {
        let global: Vec<u32> = ids.iter().skip(batch).step_by(num_batches).copied().collect();
        let own = global.get(share(global.len(), world.world_size, world.rank)).unwrap_or_default();
        let draws = own.iter().copied().map(Draw::first).collect();
        BatchRequest { epoch: 0, step: batch as u64, draws, groups: groups.clone(), augment: false }
    })
}

fn samples_of_all_ranks(engine: &Engine, batch: &Batch) -> Result<f64, TrainError> {
    let mut sum = [batch.kept.len() as f64];
    engine.collective().sum_f64(&mut sum)?;
    Ok(sum[0])
}

/// The objective is computed and not used, so that nothing need be known of the samples.
fn unlabelled(engine: &Engine, batch: &Batch) -> Result<Targets, TchError> {
    let sample_ids: Vec<i64> = batch.kept_ids().map(i64::from).collect();
    let (num_samples, heads) = (sample_ids.len(), engine.method().heads());
    let none = vec![vec![NONE; num_samples]; heads.len()];
    Targets::new(sample_ids, num_samples as u64)?.with_labels(heads, none)
}
