//! Crops that are resized, with antialiasing: the filters of `dtrain_data::augment::image::resize` as matrices.

use dtrain_configs::schema::Interpolation;
use tch::{Kind, TchError, Tensor};

use super::{in_both_directions, positions};

/// Crops of images [n, C, H, W], resized to `to` rows and columns. The first four `parameters` of a row are those of
/// `DrawnCrop::numbers`: first row, first column, rows, columns. What lies outside of an image is 0.
pub(super) fn crop(
    images: &Tensor,
    parameters: &Tensor,
    to: [usize; 2],
    interpolation: Interpolation,
) -> Result<Tensor, TchError> {
    let (_, _, height, width) = images.size4()?;
    let number = |at: i64| parameters.f_narrow(1, at, 1)?.f_view([-1, 1, 1]);
    let of_rows = weights(&number(0)?, &number(2)?, height as usize, to[0], interpolation)?;
    let of_columns = weights(&number(1)?, &number(3)?, width as usize, to[1], interpolation)?;
    in_both_directions(images, &of_rows, &of_columns)
}

/// Shares of `from` pixels of a line in `to` pixels of the result, which `len` pixels from `first` on become.
///
/// # Shapes
/// `first`, `len`: [n, 1, 1]; the result: [n, to, from].
fn weights(
    first: &Tensor,
    len: &Tensor,
    from: usize,
    to: usize,
    interpolation: Interpolation,
) -> Result<Tensor, TchError> {
    let device = first.device();
    let scale = len.f_div_scalar(to as f64)?;
    let centre = (positions(to, [1, -1, 1], device)? + 0.5) * &scale;
    let at = positions(from, [1, 1, -1], device)?.f_sub(first)?;
    let is_part = at.f_ge(0.0)?.f_logical_and(&at.f_lt_tensor(len)?)?;
    let distance = (&at + 0.5).f_sub(&centre)?.f_div(&scale.f_clamp_min(1.0)?)?.f_abs()?;
    let weights = filter(&distance, interpolation)? * is_part.f_to_kind(Kind::Float)?;
    // Nothing of the image is below the filter where all is border.
    let total =
        weights.f_sum_dim_intlist(2, true, None::<Kind>)?.f_clamp_min(f64::from(f32::MIN_POSITIVE))?;
    weights.f_div(&total)
}

/// A triangle, or Keys's cubic with a = -1/2, at distances from the centre.
fn filter(x: &Tensor, interpolation: Interpolation) -> Result<Tensor, TchError> {
    match interpolation {
        Interpolation::Bilinear => (1.0_f64 - x).f_clamp_min(0.0),
        Interpolation::Bicubic => {
            let near = (1.5_f64 * x - 2.5) * x * x + 1.0;
            let far = ((-0.5_f64 * x + 2.5) * x - 4.0) * x + 2.0;
            let far = far * x.f_lt(2.0)?.f_to_kind(Kind::Float)?;
            near.f_where_self(&x.f_lt(1.0)?, &far)
        }
    }
}
