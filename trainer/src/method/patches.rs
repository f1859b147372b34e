//! Patches: equal pieces of a view along time, which a network sees one by one. They are cut behind the loader, so that all of
//! them share what was drawn for their view, and a view stays what a batch consists of.

use std::sync::Arc;

use tch::{Kind, TchError, Tensor};

use crate::model::dropout::Noise;
use crate::model::{ForwardContext, InputShape};

/// How views are cut.
#[derive(Debug, Clone, Copy)]
pub struct Patches {
    count: i64,
}

impl Patches {
    /// `count` patches of each view.
    pub fn of(count: u32) -> Self {
        Self { count: i64::from(count.max(1)) }
    }

    /// Patches of a view.
    pub fn count(self) -> i64 {
        self.count
    }

    /// Shape of a patch of a view of `shape`: columns that are left over belong to none.
    pub fn shape(self, shape: InputShape) -> InputShape {
        InputShape { width: shape.width / self.count, ..shape }
    }

    /// # Shapes
    /// (N, C, H, W) to (N * count, C, H, W / count), the patches of a view one after the other; N may be 0.
    ///
    /// # Errors
    /// When the shape does not fit or memory runs out.
    pub fn cut(self, views: &Tensor) -> Result<Tensor, TchError> {
        let [n, c, h, w] = dimensions(views)?;
        if self.count == 1 {
            return Ok(views.shallow_clone());
        }
        let width = w / self.count;
        let whole = views.f_narrow(3, 0, width * self.count)?;
        let pieces = whole.f_reshape([n, c, h, self.count, width])?.f_permute([0, 3, 1, 2, 4])?;
        pieces.f_reshape([n * self.count, c, h, width])
    }

    /// The other way round: what [`Patches::cut`] made, side by side.
    ///
    /// # Errors
    /// As [`Patches::cut`].
    pub fn join(self, patches: &Tensor) -> Result<Tensor, TchError> {
        let [n, c, h, w] = dimensions(patches)?;
        let views = n / self.count;
        let pieces = patches.f_reshape([views, self.count, c, h, w])?.f_permute([0, 2, 3, 1, 4])?;
        pieces.f_reshape([views, c, h, self.count * w])
    }

    /// Mean over the patches of each view.
    ///
    /// # Shapes
    /// (N * count, D) to (N, D).
    ///
    /// # Errors
    /// As [`Patches::cut`].
    pub fn mean(self, rows: &Tensor) -> Result<Tensor, TchError> {
        let [n, d] =
            <[i64; 2]>::try_from(rows.size()).map_err(|_| TchError::Shape("rows of patches".into()))?;
        rows.f_reshape([n / self.count, self.count, d])?.f_mean_dim([1_i64].as_slice(), false, None::<Kind>)
    }

    /// How layers behave on patches: each has random numbers of its own.
    pub fn pass(self, pass: &ForwardContext) -> ForwardContext {
        let of_patches = |noise: &Noise| {
            let count = self.count as u32;
            let of_view =
                |&(sample, view): &(u32, u32)| (0..count).map(move |patch| (sample, view * count + patch));
            let rows: Arc<[(u32, u32)]> = noise.rows.iter().flat_map(of_view).collect();
            Noise { rows, ..noise.clone() }
        };
        ForwardContext { noise: pass.noise.as_ref().map(of_patches), ..pass.clone() }
    }
}

fn dimensions(views: &Tensor) -> Result<[i64; 4], TchError> {
    <[i64; 4]>::try_from(views.size())
        .map_err(|_| TchError::Shape(format!("views of shape {:?}", views.size())))
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    #[test]
    fn patches_follow_one_another_and_join_again() {
        let views = Tensor::arange(2 * 3 * 2 * 7, (Kind::Float, Device::Cpu)).view([2, 3, 2, 7]);
        let patches = Patches::of(3);
        let cut = patches.cut(&views).unwrap();
        assert_eq!(cut.size(), [6, 3, 2, 2]);
        for (row, (view, first)) in [(0, (0, 0)), (2, (0, 4)), (4, (1, 2))] {
            assert_eq!(cut.get(row), views.get(view).narrow(2, first, 2));
        }
        assert_eq!(patches.join(&cut).unwrap(), views.narrow(3, 0, 6));
        let mean = patches.mean(&cut.flatten(1, -1)).unwrap();
        assert_eq!(
            mean.get(1),
            cut.narrow(0, 3, 3).flatten(1, -1).mean_dim([0_i64].as_slice(), false, None::<Kind>)
        );
        assert_eq!(patches.cut(&views.narrow(0, 0, 0)).unwrap().size(), [0, 3, 2, 2]);
        let shape = patches.shape(InputShape { channels: 3, height: 2, width: 7 });
        assert_eq!(shape, InputShape { channels: 3, height: 2, width: 2 });
    }

    #[test]
    fn each_patch_has_random_numbers_of_its_own() {
        let noise = Noise::new(1, 2, &[10, 11], 0..2);
        let pass = ForwardContext { noise: Some(noise), ..ForwardContext::train(None) };
        let rows = Patches::of(2).pass(&pass).noise.unwrap().rows;
        assert_eq!(*rows, [(10, 0), (10, 1), (11, 0), (11, 1), (10, 2), (10, 3), (11, 2), (11, 3)]);
    }
}
