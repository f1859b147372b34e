//! From feature maps back to views: the mirror image of an encoder of strided convolutions (van den Oord et al. 2017, arXiv
//! 1711.00937, section 4.1, without its residual blocks), with normalization before each ReLU. Rows and columns are doubled by
//! repetition, which unlike transposed convolutions leaves no checkerboard (Odena et al. 2016).

use tch::{TchError, Tensor};

use super::layers::{Conv2d, ConvNorm, Pointwise};
use super::norm::{NormConfig, NormLayer};
use super::parameters::Parameters;
use super::{ForwardContext, InputShape};

/// Fewest channels of a layer.
const LEAST_CHANNELS: i64 = 16;

/// Convolutions, each behind a doubling of rows and columns but the first, and one to the channels of a view.
#[derive(Debug)]
pub struct Decoder {
    first: ConvNorm,
    /// Rows and columns before each.
    doubled: Vec<([i64; 2], ConvNorm)>,
    last: Pointwise,
}

impl Decoder {
    /// From maps of `from` (channels, rows, columns) to views of `to`, with `channels` behind the first layer and half as many
    /// behind each doubling. Registers `conv1.weight`, `bn1.weight`, ... and `out` in the current scope of `parameters`.
    pub fn build(
        from: [i64; 3],
        to: InputShape,
        channels: i64,
        norm: NormConfig,
        parameters: &mut Parameters,
    ) -> Self {
        // Maps of a view that is too small for its encoder have no position; whoever builds networks refuses it.
        let [mut before, height, width] = [from[0], from[1].max(1), from[2].max(1)];
        let mut layer = |index: usize, outputs: i64| {
            let between = (std::mem::replace(&mut before, outputs), outputs);
            ConvNorm {
                conv: Conv2d::new(&format!("conv{index}"), between, 3, 1, parameters),
                norm: NormLayer::new(&format!("bn{index}"), outputs, norm, parameters),
            }
        };
        let first = layer(1, channels);
        // Doublings that reach the view along the axis that needs more of them.
        let count =
            (0..).find(|&count| height << count >= to.height && width << count >= to.width).unwrap_or(0);
        let doubled: Vec<([i64; 2], ConvNorm)> = (1..=count)
            .map(|doubling| {
                let side = |size: i64| (size + (1 << (count - doubling)) - 1) >> (count - doubling);
                let outputs = (channels >> doubling).max(LEAST_CHANNELS);
                ([side(to.height), side(to.width)], layer(doubling + 1, outputs))
            })
            .collect();
        let last = Pointwise::new("out", (before, to.channels), parameters);
        Self { first, doubled, last }
    }

    /// # Shapes
    /// (N, C, h, w) of the maps it was built for to (N, channels, rows, columns) of a view; N may be 0.
    ///
    /// # Errors
    /// When the shape does not fit, memory runs out, or the ranks fail to exchange statistics.
    pub fn forward(&self, maps: &Tensor, pass: &ForwardContext) -> Result<Tensor, TchError> {
        let mut hidden = self.first.forward_relu(maps, None, pass)?;
        for (sides, layer) in &self.doubled {
            hidden = layer.forward_relu(&enlarge(&hidden, *sides)?, None, pass)?;
        }
        self.last.forward(&hidden)
    }
}

/// Repeats rows and columns, to `sides` of at most twice as many; an axis that has them already stays as it is.
fn enlarge(maps: &Tensor, sides: [i64; 2]) -> Result<Tensor, TchError> {
    let mut maps = maps.shallow_clone();
    for (axis, side) in [(2_i64, sides[0]), (3, sides[1])] {
        let mut shape = maps.size();
        let own = shape[axis as usize];
        if own < side {
            let repeated = maps.f_unsqueeze(axis + 1)?;
            let mut twice = repeated.size();
            twice[axis as usize + 1] = 2;
            shape[axis as usize] = 2 * own;
            maps = repeated.f_expand(twice, false)?.f_reshape(shape)?;
        }
        maps = maps.f_narrow(axis, 0, side.min(maps.size()[axis as usize]))?;
    }
    Ok(maps)
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn maps_without_a_position_do_not_hang_it() {
        let mut parameters = Parameters::new(Device::Cpu, Kind::Double, 1);
        let decoder =
            Decoder::build([6, 2, 0], [1, 32, 12].into(), 32, NormConfig::default(), &mut parameters);
        assert_eq!(decoder.doubled.len(), 4);
    }

    #[test]
    fn views_of_any_size_come_back_in_it() {
        for (from, to) in [
            ([6, 4, 2], [1, 16, 7]),
            ([6, 3, 3], [3, 9, 12]),
            ([6, 5, 1], [1, 5, 1]),
            ([6, 1, 1], [2, 16, 5]),
            ([6, 8, 2], [1, 8, 8]),
        ] {
            let mut parameters = Parameters::new(Device::Cpu, Kind::Double, 1);
            let decoder = Decoder::build(from, to.into(), 32, NormConfig::default(), &mut parameters);
            for rows in [0, 3] {
                let maps = Tensor::ones([rows, from[0], from[1], from[2]], (Kind::Double, Device::Cpu));
                let views = decoder.forward(&maps, &ForwardContext::eval()).unwrap();
                assert_eq!(views.size(), [rows, to[0], to[1], to[2]], "{from:?} to {to:?}");
            }
        }
    }

    #[test]
    fn rows_and_columns_are_repeated() {
        let maps = Tensor::from_slice(&[1.0_f32, 2.0, 3.0, 4.0]).view([1, 1, 2, 2]);
        let large = enlarge(&maps, [3, 4]).unwrap();
        let expected = [1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0];
        assert_eq!(Vec::<f32>::try_from(large.flatten(0, -1)).unwrap(), expected);
    }
}
