//! Running statistics and counters in two flat tensors, one of floats and one of integers, so that a step can remember
//! and restore all of them in a few operations.

use tch::{Kind, TchError, Tensor};

use crate::model::parameters::{Moved, Parameters};

/// What a step may change without anyone knowing yet whether the step counts.
#[derive(Debug)]
pub struct Buffers {
    flats: Vec<Tensor>,
}

/// The values of [`Buffers`] at some time.
#[derive(Debug)]
pub struct Snapshot(Vec<Tensor>);

impl Buffers {
    /// Moves all buffers that a forward pass may change into flat tensors; layers see the same storage from now on.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn new(parameters: &Parameters) -> Result<Self, TchError> {
        let mut flats = Vec::new();
        for kind in [parameters.kind(), Kind::Int64] {
            let tensors: Vec<&Tensor> = parameters
                .buffers()
                .iter()
                .filter(|buffer| buffer.moved == Moved::Forward && buffer.tensor.kind() == kind)
                .map(|buffer| &buffer.tensor)
                .collect();
            let len: usize = tensors.iter().map(|tensor| tensor.numel()).sum();
            if len == 0 {
                continue;
            }
            let flat = Tensor::f_zeros([len as i64], (kind, parameters.device()))?;
            let mut offset = 0;
            tch::no_grad(|| {
                tensors.into_iter().try_for_each(|tensor| {
                    let size = tensor.numel() as i64;
                    let mut view = flat.narrow(0, offset, size).view(tensor.size().as_slice());
                    offset += size;
                    view.f_copy_(tensor)?;
                    tensor.shallow_clone().f_set_data(&view)
                })
            })?;
            flats.push(flat);
        }
        Ok(Self { flats })
    }

    /// The values now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(self.flats.iter().map(Tensor::copy).collect())
    }

    /// The flat tensors, floats first.
    pub fn flats(&self) -> &[Tensor] {
        &self.flats
    }

    /// The values of `earlier` again.
    pub fn restore(&self, earlier: &Snapshot) {
        for (flat, earlier) in self.flats.iter().zip(&earlier.0) {
            flat.shallow_clone().copy_(earlier);
        }
    }

    /// The values of `earlier` again where `skipped`, 0-dimensional and boolean, says so; without waiting for it.
    pub fn restore_where(&self, skipped: &Tensor, earlier: &Snapshot) {
        for (flat, earlier) in self.flats.iter().zip(&earlier.0) {
            flat.shallow_clone().copy_(&earlier.where_self(skipped, flat));
        }
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    #[test]
    fn layers_and_snapshots_see_the_same_values() {
        let mut parameters = Parameters::new(Device::Cpu, Kind::Float, 0);
        let mean = parameters.buffer("mean", &[3], 0.5);
        let queue = parameters.after_step(|parameters| parameters.buffer("queue", &[5], 0.25));
        let var = parameters.buffer("var", &[2, 2], 1.0);
        let counter = parameters.counter("batches");
        let buffers = Buffers::new(&parameters).unwrap();
        assert_eq!(buffers.flats().iter().map(Tensor::numel).collect::<Vec<_>>(), [7, 1]);

        let change = || {
            let _ = mean.shallow_clone().fill_(7.0);
            let _ = var.shallow_clone().fill_(f64::NAN);
            let _ = counter.shallow_clone().f_add_scalar_(1).unwrap();
        };
        let sums = || {
            (
                mean.sum(Kind::Double).double_value(&[]),
                var.sum(Kind::Double).double_value(&[]),
                counter.int64_value(&[]),
            )
        };
        let earlier = buffers.snapshot();
        change();
        buffers.restore(&earlier);
        assert_eq!(sums(), (1.5, 4.0, 0));
        change();
        buffers.restore_where(&Tensor::from(true), &earlier);
        assert_eq!(sums(), (1.5, 4.0, 0));
        let _ = mean.shallow_clone().fill_(7.0);
        buffers.restore_where(&Tensor::from(false), &earlier);
        assert_eq!(sums(), (21.0, 4.0, 0));
        assert_eq!(queue.max().double_value(&[]), 0.25);
        assert_eq!(parameters.buffers()[2].tensor.size(), [2, 2]);
    }
}
