//! Replicas must stay equal: every rank hashes what it holds, and a rank that differs is named.

use std::collections::BTreeMap;

use dtrain_comm::CollectiveExt;
use tch::{Device, Kind, Tensor};
use xxhash_rust::xxh3::Xxh3;

use super::Engine;
use crate::error::TrainError;
use crate::model::parameters::Moved;
use crate::state::bytes_of;

/// Sums that a tensor on a GPU is reduced to before it goes to the host.
const GPU_SUMS: i64 = 256;

impl Engine {
    /// Hash of everything that must be equal on all ranks: weights, a teacher's too, moments unless they are sharded, what the
    /// method moves after each step, and running statistics if they are those of all ranks.
    ///
    /// # Errors
    /// When a GPU fails.
    pub fn fingerprint(&self) -> Result<u64, TrainError> {
        let mut hash = Xxh3::new();
        let mut add = |tensor: &Tensor| -> Result<(), TrainError> {
            hash.update(bytes_of(&condensed(tensor)?));
            Ok(())
        };
        add(self.flat.parameters())?;
        self.teacher.iter().try_for_each(|teacher| add(teacher.weights()))?;
        if self.shard.is_whole() {
            self.optimizer.moments().into_iter().try_for_each(|(_, moment)| add(moment))?;
        }
        let buffers = self.parameters.buffers().iter();
        buffers
            .filter(|buffer| buffer.moved == Moved::AfterStep)
            .try_for_each(|buffer| add(&buffer.tensor.f_flatten(0, -1)?))?;
        if self.sync.is_some() {
            self.buffers.flats().iter().try_for_each(add)?;
        }
        Ok(hash.digest())
    }

    /// Compares the fingerprints of all ranks; all ranks call it.
    ///
    /// # Errors
    /// The same on all ranks, naming those that differ from the others.
    pub fn check_replicas(&self, step: u64) -> Result<(), TrainError> {
        let own = self.fingerprint()?;
        let hashes = self.ranks.timed(|| self.ranks.control().all_gather_usize(own as usize))?;
        let odd = odd_ones(&hashes);
        if odd.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = odd.iter().map(usize::to_string).collect();
        Err(TrainError::run(
            format!(
                "after step {step} the weights, moments or statistics of rank {} differ from those of the other ranks",
                names.join(", ")
            ),
            "look for failing memory or another library version on that machine, then go on from the last checkpoint",
        )
        .known_to_all())
    }
}

/// What is hashed of a tensor: itself, or on a GPU sums of its bits, so that few bytes travel.
fn condensed(tensor: &Tensor) -> Result<Tensor, TrainError> {
    if tensor.device() == Device::Cpu {
        return Ok(tensor.f_contiguous()?);
    }
    let bits = tensor.f_view_dtype(Kind::Int)?;
    let len = bits.numel() as i64;
    let even = len - len % GPU_SUMS;
    // Integer sums wrap and do not depend on their order.
    let sums = bits.narrow(0, 0, even).view([-1, GPU_SUMS]).f_sum_dim_intlist(0, false, Kind::Int64)?;
    let rest = bits.narrow(0, even, len - even).f_to_kind(Kind::Int64)?;
    Ok(Tensor::f_cat(&[sums, rest], 0)?.f_to_device(Device::Cpu)?)
}

/// Ranks whose hash is not the most frequent one; the lowest rank's among equally frequent ones.
fn odd_ones(hashes: &[usize]) -> Vec<usize> {
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    for hash in hashes {
        *counts.entry(*hash).or_default() += 1;
    }
    let most = counts.values().max().copied().unwrap_or(0);
    let usual = hashes.iter().find(|hash| counts.get(hash) == Some(&most));
    (0..hashes.len()).filter(|&rank| hashes.get(rank) != usual).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_differ_from_the_majority_are_odd() {
        assert_eq!(odd_ones(&[7, 7, 7]), [0_usize; 0]);
        assert_eq!(odd_ones(&[7, 9, 7, 7]), [1]);
        assert_eq!(odd_ones(&[9, 7, 7]), [0]);
        assert_eq!(odd_ones(&[7, 9]), [1]);
        assert_eq!(odd_ones(&[1, 2, 2, 3]), [0, 3]);
    }
}
