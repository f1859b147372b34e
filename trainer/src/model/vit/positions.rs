//! What a vision transformer adds to its tokens to tell where they are, and the same for views of other shapes.
//!
//! As in DINO's official code the positions of the built shape are taken for an image, and interpolated bicubically for other
//! grids of patches (without antialiasing). Here that is a product with constant matrices, one for each axis, since the backward
//! pass of libtorch's operator adds up in any order on a GPU. Departure: coordinates follow from the sizes; the official code
//! gives a factor that is a little larger, against a rounding error of early versions of PyTorch.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use tch::{Kind, TchError, Tensor};

/// PyTorch's coefficient of the cubic kernel (Keys 1981).
const A: f64 = -0.75;

/// Learned positions of a class token, if any, and of a grid of patches.
#[derive(Debug)]
pub struct Positions {
    /// [1, tokens, D].
    weight: Tensor,
    grid: [i64; 2],
    /// For other grids: what takes rows and columns of the own one to them.
    matrices: RefCell<BTreeMap<[i64; 2], [Tensor; 2]>>,
}

impl Positions {
    /// Of `weight` [1, tokens, D] whose last tokens are those of `grid`, rows and columns of patches.
    pub fn new(weight: Tensor, grid: [i64; 2]) -> Self {
        Self { weight, grid, matrices: RefCell::default() }
    }

    /// Positions for a grid of patches, behind that of the class token where there is one: [1, tokens, D].
    ///
    /// # Errors
    /// When memory runs out.
    pub fn of(&self, grid: [i64; 2], has_token: bool) -> Result<Tensor, TchError> {
        if grid == self.grid {
            return Ok(self.weight.shallow_clone());
        }
        let tokens = i64::from(has_token);
        let patches = self.weight.f_narrow(1, tokens, self.grid[0] * self.grid[1])?;
        // [rows, columns, D]. Products and sums and no matrix products, which autocast would round to 16 bits.
        let own = patches.f_squeeze_dim(0)?.f_unflatten(0, self.grid)?;
        let mut matrices = self.matrices.borrow_mut();
        let [rows, columns] = match matrices.entry(grid) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                let of_axis = |axis: usize| {
                    let matrix = matrix(self.grid[axis], grid[axis]).f_to_kind(self.weight.kind())?;
                    matrix.f_to_device(self.weight.device())
                };
                place.insert([of_axis(0)?, of_axis(1)?])
            }
        };
        let of_rows = rows.f_unsqueeze(-1)?.f_unsqueeze(-1)?.f_mul(&own.f_unsqueeze(0)?)?;
        let of_rows = of_rows.f_sum_dim_intlist(1, false, None::<Kind>)?;
        let of_both = columns.f_unsqueeze(-1)?.f_mul(&of_rows.f_unsqueeze(1)?)?;
        let of_both = of_both.f_sum_dim_intlist(2, false, None::<Kind>)?;
        let patches = of_both.f_flatten(0, 1)?.f_unsqueeze(0)?;
        match has_token {
            false => Ok(patches),
            true => Tensor::f_cat(&[self.weight.f_narrow(1, 0, 1)?, patches], 1),
        }
    }
}

/// What takes `from` values to `to`, [to, from], f64: bicubic, as `torch.nn.functional.interpolate` with
/// `align_corners=False`. Beyond the border stands the value at it.
fn matrix(from: i64, to: i64) -> Tensor {
    let mut values = vec![0.0; (from * to) as usize];
    for (row, target) in values.chunks_exact_mut(from.max(1) as usize).zip(0..to) {
        let source = (target as f64 + 0.5) * from as f64 / to as f64 - 0.5;
        let first = source.floor();
        for offset in -1..=2_i64 {
            let place = (first as i64 + offset).clamp(0, from - 1);
            if let Some(weight) = row.get_mut(place as usize) {
                *weight += cubic((source - first - offset as f64).abs());
            }
        }
    }
    Tensor::from_slice(&values).view([to, from])
}

/// Weight of a value at this distance, below 2.
fn cubic(x: f64) -> f64 {
    match x <= 1.0 {
        true => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
        false => ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A,
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    #[test]
    fn other_grids_are_those_of_bicubic_interpolation() {
        for (own, other) in [([14, 14], [6, 6]), ([4, 6], [4, 3]), ([3, 5], [7, 11]), ([2, 1], [1, 3])] {
            for has_token in [false, true] {
                let tokens = own[0] * own[1] + i64::from(has_token);
                let weight = (Tensor::arange(tokens * 8, (Kind::Double, Device::Cpu)) * 0.731)
                    .sin()
                    .view([1, tokens, 8])
                    .set_requires_grad(true);
                let positions = Positions::new(weight.shallow_clone(), own);
                assert_eq!(positions.of(own, has_token).unwrap(), weight);
                let map = weight.narrow(1, i64::from(has_token), own[0] * own[1]);
                let map = map.transpose(1, 2).reshape([1, 8, own[0], own[1]]);
                let expected = map.upsample_bicubic2d(other, false, None, None).flatten(2, 3).transpose(1, 2);
                for _ in 0..2 {
                    let found = positions.of(other, has_token).unwrap();
                    let patches = found.narrow(1, i64::from(has_token), other[0] * other[1]);
                    assert!(patches.allclose(&expected, 1e-12, 1e-12, false), "{own:?} to {other:?}");
                    if has_token {
                        assert_eq!(found.narrow(1, 0, 1), weight.narrow(1, 0, 1));
                    }
                    let gradient = |output: &Tensor| {
                        let loss = (output * output.cos()).sum(Kind::Double);
                        Tensor::run_backward(&[loss], &[&weight], false, false).remove(0)
                    };
                    assert!(gradient(&patches).allclose(&gradient(&expected), 1e-11, 1e-11, false));
                }
            }
        }
    }
}
