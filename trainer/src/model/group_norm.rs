//! Group norm (Wu & He 2018, arXiv 1803.08494): each sample is normalized by itself, so that it does not matter which
//! others are in its batch, or in how many micro-batches the batch is computed.

use tch::{TchError, Tensor};

use super::parameters::{Init, Parameters, Role};

/// Added to variances (PyTorch's default).
const EPSILON: f64 = 1e-5;

/// Normalizes groups of channels, then scales and shifts each channel.
#[derive(Debug)]
pub struct GroupNorm {
    weight: Tensor,
    bias: Tensor,
    num_groups: i64,
}

impl GroupNorm {
    /// Registers `name.weight` (1) and `name.bias` (0), of shape (`channels`). The number of groups is the largest
    /// divisor of `channels` up to `max_groups`.
    pub fn new(name: &str, channels: i64, max_groups: i64, parameters: &mut Parameters) -> Self {
        parameters.scope(name, |scope| Self {
            weight: scope.parameter("weight", &[channels], Init::Constant(1.0), Role::Norm),
            bias: scope.parameter("bias", &[channels], Init::Constant(0.0), Role::Norm),
            num_groups: num_groups(channels, max_groups),
        })
    }

    /// Normalizes.
    ///
    /// # Shapes
    /// `input` (N, C, ...) and the result are alike; N may be 0.
    ///
    /// # Errors
    /// When the shape does not fit or memory runs out.
    pub fn forward(&self, input: &Tensor) -> Result<Tensor, TchError> {
        if input.numel() == 0 {
            // libtorch's kernel refuses these; the graph is kept, so that weights get a gradient of zero.
            let affine = (&self.weight + &self.bias).f_sum(input.kind())?;
            return input.f_mul(&affine);
        }
        input.f_group_norm(self.num_groups, Some(&self.weight), Some(&self.bias), EPSILON, true)
    }
}

/// The largest divisor of `channels` up to `max_groups`.
fn num_groups(channels: i64, max_groups: i64) -> i64 {
    (1..=max_groups.min(channels)).rev().find(|groups| channels % groups == 0).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, no_grad};

    use super::*;

    #[test]
    fn groups_divide_the_channels() {
        let cases = [(64, 32, 32), (48, 32, 24), (7, 32, 7), (7, 6, 1), (512, 1, 1), (1, 32, 1), (0, 32, 1)];
        for (channels, max_groups, expected) in cases {
            assert_eq!(num_groups(channels, max_groups), expected, "{channels} {max_groups}");
        }
    }

    /// The paper's formula in plain operations.
    fn formula(layer: &GroupNorm, input: &Tensor) -> Tensor {
        let size = input.size();
        let grouped = input.reshape([size[0], layer.num_groups, -1]);
        let mean = grouped.mean_dim([2].as_slice(), true, input.kind());
        let centered = grouped - mean;
        let variance = centered.square().mean_dim([2].as_slice(), true, input.kind());
        let normalized = (centered / (variance + EPSILON).sqrt()).reshape(&size);
        let mut per_channel = vec![1; size.len()];
        per_channel[1] = size[1];
        normalized * layer.weight.view(&*per_channel) + layer.bias.view(&*per_channel)
    }

    #[test]
    fn layers_follow_the_formula() {
        let wave = |shape: &[i64], frequency: f64| {
            let count = shape.iter().product::<i64>();
            (Tensor::arange(count, (Kind::Double, Device::Cpu)) * frequency).sin().reshape(shape)
        };
        for (shape, channels_last) in
            [(&[5, 12][..], false), (&[5, 12, 7], false), (&[3, 12, 4, 5], false), (&[3, 12, 4, 5], true)]
        {
            let mut parameters = Parameters::new(Device::Cpu, Kind::Double, 0);
            let layer = GroupNorm::new("gn", 12, 8, &mut parameters);
            assert_eq!(layer.num_groups, 6);
            no_grad(|| {
                layer.weight.shallow_clone().copy_(&(wave(&[12], 0.3) + 1.0));
                layer.bias.shallow_clone().copy_(&wave(&[12], 0.7));
            });
            let outcome = |forward: &dyn Fn(&Tensor) -> Tensor| {
                let mut input = wave(shape, 0.731) * 2.0 + 0.7;
                if channels_last {
                    input = input.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2]);
                }
                let input = input.set_requires_grad(true);
                let output = forward(&input);
                let loss = (output.tanh() * wave(shape, 1.177)).sum(Kind::Double);
                let gradients =
                    Tensor::run_backward(&[loss], &[&input, &layer.weight, &layer.bias], false, false);
                std::iter::once(output.detach()).chain(gradients).collect::<Vec<_>>()
            };
            let actual = outcome(&|input| layer.forward(input).unwrap());
            let expected = outcome(&|input| formula(&layer, input));
            for (index, (actual, expected)) in actual.iter().zip(&expected).enumerate() {
                let error = ((actual - expected).norm() / expected.norm()).double_value(&[]);
                assert!(error < 1e-12, "{shape:?}: tensor {index} differs by {error:e}");
            }
        }
    }

    #[test]
    fn a_bf16_input_is_normalized_in_f32() {
        let mut parameters = Parameters::new(Device::Cpu, Kind::Float, 0);
        let layer = GroupNorm::new("gn", 8, 4, &mut parameters);
        let exact = (Tensor::arange(8 * 9 * 50, (Kind::Double, Device::Cpu)) * 0.731).sin() + 30.0;
        let input = exact.reshape([50, 8, 9]).to_kind(Kind::BFloat16);
        let output = layer.forward(&input).unwrap();
        assert_eq!(output.kind(), Kind::BFloat16);
        let expected = formula(&layer, &input.to_kind(Kind::Double));
        assert!(output.to_kind(Kind::Double).allclose(&expected, 1e-2, 1e-2, false));
    }
}
