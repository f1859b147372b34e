//! Weights of another shape that can be made to fit, where that is asked for: a first convolution for more channels, and
//! positions of a vision transformer for other patches.

use dtrain_configs::schema::InitConfig;
use tch::{Kind, TchError, Tensor};

use crate::model::vit::resized_positions;

/// How a tensor of a file becomes one of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    /// It has the shape.
    Same,
    /// Summed over its channels.
    SumChannels,
    /// Interpolated from one grid of patches to another, behind the position of a class token.
    Positions { from: [i64; 2], to: [i64; 2], has_token: bool },
}

/// What of the network decides whether weights fit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub settings: &'a InitConfig,
    /// Rows and columns of patches, of a network that has positions.
    pub grid: Option<[i64; 2]>,
}

impl Wanted<'_> {
    /// How the tensor `name` of the backbone, of `shape` in the file, becomes one of `target`.
    ///
    /// # Errors
    /// What to do about it, if there is something.
    pub fn fit(&self, name: &str, shape: &[i64], target: &[i64]) -> Result<Fit, Option<String>> {
        if shape == target {
            return Ok(Fit::Same);
        }
        match (shape, target) {
            (&[outputs, _, ref kernel @ ..], &[wanted, 1, ref other @ ..])
                if kernel.len() == 2 && outputs == wanted && kernel == other =>
            {
                match self.settings.sum_channels {
                    true => Ok(Fit::SumChannels),
                    false => Err(Some(
                        "`init.sum_channels=true` sums the weights of the file over its channels".into(),
                    )),
                }
            }
            (&[1, tokens, dim], &[1, wanted, other]) if name.ends_with("pos_embed") && dim == other => {
                self.positions(tokens, wanted)
            }
            _ => Err(None),
        }
    }

    fn positions(&self, tokens: i64, wanted: i64) -> Result<Fit, Option<String>> {
        let Some(to @ [rows, columns]) = self.grid else { return Err(None) };
        let extra = wanted - rows * columns;
        let side = ((tokens - extra).max(0) as f64).sqrt().round() as i64;
        if !(0..=1).contains(&extra) || side == 0 || side * side + extra != tokens {
            let what = "its positions are those of no square of patches";
            return Err(Some(format!(
                "{what}: choose the `model` and `data` that the weights were trained with"
            )));
        }
        match self.settings.resize_positions {
            true => Ok(Fit::Positions { from: [side, side], to, has_token: extra == 1 }),
            false => Err(Some("`init.resize_positions=true` interpolates the positions of the file".into())),
        }
    }
}

impl Fit {
    /// Makes it so.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn apply(self, tensor: Tensor) -> Result<Tensor, TchError> {
        match self {
            Self::Same => Ok(tensor),
            Self::SumChannels => tensor.f_sum_dim_intlist([1_i64].as_slice(), true, None::<Kind>),
            Self::Positions { from, to, has_token } => {
                resized_positions(tensor.f_to_kind(Kind::Float)?, from, to, has_token)
            }
        }
    }

    /// What is said about it.
    pub fn described(self) -> Option<String> {
        match self {
            Self::Same => None,
            Self::SumChannels => Some("summed over its channels".into()),
            Self::Positions { from: [a, b], to: [c, d], .. } => {
                Some(format!("interpolated from {a}x{b} to {c}x{d} patches"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    fn settings(sum_channels: bool, resize_positions: bool) -> InitConfig {
        InitConfig { network: None, sum_channels, resize_positions }
    }

    fn fit(settings: &InitConfig, name: &str, shape: &[i64], target: &[i64]) -> Result<Fit, Option<String>> {
        Wanted { settings, grid: Some([2, 4]) }.fit(name, shape, target)
    }

    #[test]
    fn a_first_convolution_is_summed_over_its_channels_on_request() {
        let (color, grey) = ([4, 3, 7, 7], [4, 1, 7, 7]);
        let name = "backbone.conv1.weight";
        assert_eq!(fit(&settings(true, false), name, &color, &grey), Ok(Fit::SumChannels));
        let hint = fit(&settings(false, true), name, &color, &grey).unwrap_err().unwrap();
        assert!(hint.starts_with("`init.sum_channels=true` sums"), "{hint}");
        for other in [[4, 1, 3, 3], [5, 1, 7, 7], [4, 2, 7, 7]] {
            assert_eq!(fit(&settings(true, true), name, &color, &other), Err(None), "{other:?}");
        }
        let weight = Tensor::arange(4 * 3 * 49, (Kind::Float, Device::Cpu)).view([4, 3, 7, 7]);
        let image = Tensor::ones([1, 1, 9, 9], (Kind::Float, Device::Cpu)).cumsum(3, Kind::Float);
        let summed = Fit::SumChannels.apply(weight.shallow_clone()).unwrap();
        assert_eq!(summed.size(), grey);
        // A grey image as three equal channels gives the same.
        let convolved = |image: &Tensor, weight: &Tensor| image.conv2d::<Tensor>(weight, None, 1, 0, 1, 1);
        let expected = convolved(&image.expand([1, 3, 9, 9], false), &weight);
        assert!(convolved(&image, &summed).allclose(&expected, 1e-5, 1e-2, false));
    }

    #[test]
    fn positions_of_a_square_are_interpolated_on_request() {
        let name = "backbone.pos_embed";
        for (extra, has_token) in [(1, true), (0, false)] {
            let (shape, target) = ([1, 9 + extra, 6], [1, 8 + extra, 6]);
            let found = fit(&settings(false, true), name, &shape, &target).unwrap();
            assert_eq!(found, Fit::Positions { from: [3, 3], to: [2, 4], has_token });
            assert_eq!(found.described().unwrap(), "interpolated from 3x3 to 2x4 patches");
            let weight = Tensor::rand(shape, (Kind::Half, Device::Cpu));
            let resized = found.apply(weight.shallow_clone()).unwrap();
            assert_eq!(resized.size(), target);
            let weight = weight.to_kind(Kind::Float);
            assert_eq!(resized.narrow(1, 0, extra), weight.narrow(1, 0, extra));
            let map = weight.narrow(1, extra, 9).transpose(1, 2).reshape([1, 6, 3, 3]);
            let expected = map.upsample_bicubic2d([2, 4], false, None, None).flatten(2, 3).transpose(1, 2);
            assert!(resized.narrow(1, extra, 8).allclose(&expected, 1e-5, 1e-6, false));
            let hint = fit(&settings(true, false), name, &shape, &target).unwrap_err().unwrap();
            assert!(hint.starts_with("`init.resize_positions=true` interpolates"), "{hint}");
        }
        let hint = fit(&settings(true, true), name, &[1, 8, 6], &[1, 9, 6]).unwrap_err().unwrap();
        assert!(hint.starts_with("its positions are those of no square of patches: "), "{hint}");
        assert_eq!(fit(&settings(true, true), name, &[1, 10, 5], &[1, 9, 6]), Err(None));
    }
}
