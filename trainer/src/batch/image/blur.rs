//! Gaussian blur: `dtrain_data::augment::image::blur` as a product with a matrix for each direction.

use tch::{Kind, TchError, Tensor};

use super::{in_both_directions, positions};

/// Blurs views [m, C, H, W] with Gaussians of standard deviations `sigma`, [m, 1, 1, 1], cut off after `radius` pixels. Borders
/// are reflected.
pub(super) fn blur(views: &Tensor, sigma: &Tensor, radius: usize) -> Result<Tensor, TchError> {
    let (_, _, height, width) = views.size4()?;
    let sigma = sigma.f_view([-1, 1, 1])?;
    let of_rows = weights(&sigma, radius, height as usize)?;
    let of_columns = weights(&sigma, radius, width as usize)?;
    in_both_directions(views, &of_rows, &of_columns)
}

/// Shares of the pixels of a line of `len` in those of the blurred line: [m, len, len]. A pixel counts where it lies, and where
/// a border shows it again; the border itself is not repeated, and none is seen twice, since `radius` is less than `len`.
fn weights(sigma: &Tensor, radius: usize, len: usize) -> Result<Tensor, TchError> {
    let device = sigma.device();
    let (to, from) = (positions(len, [1, -1, 1], device)?, positions(len, [1, 1, -1], device)?);
    let last = len as f64 - 1.0;
    let gauss = |distance: &Tensor| {
        let within = distance.f_abs()?.f_le(radius as f64)?.f_to_kind(Kind::Float)?;
        (distance.f_div(sigma)?.f_square()? * -0.5).f_exp()?.f_mul(&within)
    };
    let before = gauss(&(&from + &to))? * from.f_gt(0.0)?.f_to_kind(Kind::Float)?;
    let behind = gauss(&(2.0 * last - &from - &to))? * from.f_lt(last)?.f_to_kind(Kind::Float)?;
    let kernel = gauss(&(positions(2 * radius + 1, [1, 1, -1], device)? - radius as f64))?;
    let total = kernel.f_sum_dim_intlist(2, true, None::<Kind>)?;
    (gauss(&(&from - &to))? + before + behind).f_div(&total)
}
