//! Dropout (Srivastava et al. 2014) whose masks are a function of seed, step, sample and view: the same whatever the
//! number of ranks and micro-batches, in both passes of a contrastive step, and after a resume.

use std::ops::Range;
use std::sync::Arc;

use dtrain_data::rng::{Purpose, stream};
use tch::{TchError, Tensor};

use super::ForwardContext;

/// The names of the random numbers of one forward pass.
#[derive(Debug, Clone)]
pub struct Noise {
    /// Seed of the run.
    pub seed: u64,
    /// Optimizer step.
    pub step: u64,
    /// Sample and view of each row.
    pub rows: Arc<[(u32, u32)]>,
}

impl Noise {
    /// Of rows that lie view by view: all samples `sample_ids` in the first of `views`, then in the next one.
    pub fn new(seed: u64, step: u64, sample_ids: &[i64], views: Range<u32>) -> Self {
        let of_view = |view| sample_ids.iter().map(move |&id| (id as u32, view));
        Self { seed, step, rows: views.flat_map(of_view).collect() }
    }
}

/// Sets a share of the features to zero in training and scales the others up, so that their expected sum stays.
#[derive(Debug, Clone, Copy)]
pub struct Dropout {
    /// The share, in 0..1.
    pub share: f64,
    /// Tells the layers of a network apart.
    pub layer: u64,
}

impl Dropout {
    /// Drops features; a pass without [`Noise`], as for evaluation and measurements, drops none.
    ///
    /// # Shapes
    /// (N, D) to the same.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn forward(&self, input: &Tensor, pass: &ForwardContext) -> Result<Tensor, TchError> {
        let Some(noise) = pass.noise.as_ref().filter(|_| pass.train && self.share > 0.0) else {
            return Ok(input.shallow_clone());
        };
        let width = input.size().get(1).copied().unwrap_or(0) as usize;
        let mask = Tensor::from_slice(&self.mask(noise, width))
            .f_view([noise.rows.len() as i64, width as i64])?
            .f_to_device(input.device())?
            .f_to_kind(input.kind())?;
        input.f_mul(&mask)
    }

    /// Drops rows whole: in a residual block, whose input goes on all the same, the sample skips it (stochastic depth, Huang et
    /// al. 2016, arXiv 1603.09382; timm's `DropPath`).
    ///
    /// # Shapes
    /// (N, ...) to the same.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn forward_rows(&self, input: &Tensor, pass: &ForwardContext) -> Result<Tensor, TchError> {
        let Some(noise) = pass.noise.as_ref().filter(|_| pass.train && self.share > 0.0) else {
            return Ok(input.shallow_clone());
        };
        let mut shape = vec![1; input.dim()];
        if let Some(rows) = shape.first_mut() {
            *rows = noise.rows.len() as i64;
        }
        let mask = Tensor::from_slice(&self.mask(noise, 1)).f_view(shape.as_slice())?;
        input.f_mul(&mask.f_to_device(input.device())?.f_to_kind(input.kind())?)
    }

    /// Factors of all rows: 0 or 1 / (1 - share).
    fn mask(&self, noise: &Noise, width: usize) -> Vec<f32> {
        let kept = (1.0 / (1.0 - self.share)) as f32;
        let limit = (self.share * 2f64.powi(32)) as u32;
        let seed = noise.seed ^ self.layer.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut mask = Vec::with_capacity(noise.rows.len() * width);
        for &(sample, view) in noise.rows.iter() {
            let mut random = stream(seed, noise.step, sample, view, Purpose::Dropout);
            mask.extend((0..width).map(|_| if random.next_u32() < limit { 0.0 } else { kept }));
        }
        mask
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    const LAYER: Dropout = Dropout { share: 0.25, layer: 1 };

    fn pass(samples: &[i64], step: u64) -> ForwardContext {
        ForwardContext { noise: Some(Noise::new(7, step, samples, 0..2)), ..ForwardContext::train(None) }
    }

    fn dropped(samples: &[i64], step: u64) -> Tensor {
        let ones = Tensor::ones([2 * samples.len() as i64, 400], (Kind::Double, Device::Cpu));
        LAYER.forward(&ones, &pass(samples, step)).unwrap()
    }

    #[test]
    fn a_share_is_zero_and_the_rest_is_scaled() {
        let out = dropped(&(0..50).collect::<Vec<_>>(), 3);
        let zeros = out.eq(0.0).to_kind(Kind::Double).mean(Kind::Double).double_value(&[]);
        assert!((zeros - 0.25).abs() < 0.01, "{zeros}");
        assert!((out.max().double_value(&[]) - 4.0 / 3.0).abs() < 1e-6);
        assert!((out.mean(Kind::Double).double_value(&[]) - 1.0).abs() < 0.02);
    }

    #[test]
    fn a_row_depends_on_its_sample_view_and_step_and_on_nothing_else() {
        let whole = dropped(&[0, 1, 2, 3], 3);
        let part = dropped(&[2, 3], 3);
        assert_eq!(whole.narrow(0, 2, 2), part.narrow(0, 0, 2));
        assert_eq!(whole.narrow(0, 6, 2), part.narrow(0, 2, 2));
        assert_ne!(whole.narrow(0, 0, 4), whole.narrow(0, 4, 4));
        assert_ne!(whole, dropped(&[0, 1, 2, 3], 4));
        let other = Dropout { layer: 2, ..LAYER };
        let ones = Tensor::ones([8, 400], (Kind::Double, Device::Cpu));
        assert_ne!(whole, other.forward(&ones, &pass(&[0, 1, 2, 3], 3)).unwrap());
    }

    #[test]
    fn rows_are_dropped_whole() {
        let samples: Vec<i64> = (0..400).collect();
        let ones = Tensor::ones([800, 3, 2], (Kind::Double, Device::Cpu));
        let out = LAYER.forward_rows(&ones, &pass(&samples, 3)).unwrap();
        let of_row = out.view([800, 6]).mean_dim([1_i64].as_slice(), false, Kind::Double);
        for factor in Vec::<f64>::try_from(&of_row).unwrap() {
            assert!(factor == 0.0 || (factor - 4.0 / 3.0).abs() < 1e-6, "{factor}");
        }
        let zeros = of_row.eq(0.0).to_kind(Kind::Double).mean(Kind::Double).double_value(&[]);
        assert!((zeros - 0.25).abs() < 0.05, "{zeros}");
        assert_eq!(LAYER.forward_rows(&ones, &ForwardContext::train(None)).unwrap(), ones);
    }

    #[test]
    fn evaluation_drops_nothing() {
        let ones = Tensor::ones([2, 5], (Kind::Float, Device::Cpu));
        for pass in [ForwardContext::eval(), ForwardContext::train(None)] {
            assert_eq!(LAYER.forward(&ones, &pass).unwrap(), ones);
        }
    }
}
