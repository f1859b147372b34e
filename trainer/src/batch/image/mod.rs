//! Views of images that are made where the network computes: in whole batches, of bytes and of what the loader drew. The same
//! views as the loader's (`dtrain_data::augment::image`) within a rounding.
//!
//! Resizing and blurring are products with a matrix for each view and direction, which the device builds from a few numbers;
//! everything else is arithmetic over whole tensors. A change is made of the rows only that drew it: the loader's numbers are
//! looked at on the host, so that nobody waits for the device.

mod blur;
mod changed;
mod colour;
mod resample;
#[cfg(test)]
mod tests;

use dtrain_data::ImageRecipe;
use dtrain_data::augment::image::{DrawnCrop, ImageChange, ImageCrop};
use tch::{Device, Kind, TchError, Tensor};

pub(super) use changed::ChangedRows;

/// Makes views of slots, `words` of [n, slot] as [`ImageRecipe`] says, on the device where they are. `changed` tells which rows
/// drew what.
///
/// # Shapes
/// [n, C, H, W], 32-bit floats, normalized.
///
/// # Errors
/// When memory runs out or the device has failed.
pub(super) fn views(recipe: &ImageRecipe, words: &Tensor, changed: &ChangedRows) -> Result<Tensor, TchError> {
    let num_rows = words.size().first().copied().unwrap_or(0);
    let [c, h, w] = recipe.shape.map(|size| size as i64);
    let out = Tensor::f_empty([num_rows, c, h, w], (Kind::Float, words.device()))?;
    for chunk in changed.chunks() {
        let (begin, len) = (chunk.rows.start as i64, chunk.rows.len() as i64);
        let words = words.f_narrow(0, begin, len)?;
        let parameters = words.f_narrow(1, 0, recipe.num_parameters() as i64)?;
        let mut pixels = cropped(recipe, &stored(recipe, &words)?, &parameters)?;
        let mut offset = DrawnCrop::NUM_PARAMETERS;
        let mut lists = chunk.lists.iter();
        for change in &recipe.augmentations.of_view {
            for part in changed::parts(change) {
                let Some(rows) = lists.next().filter(|rows| !rows.is_empty()) else { continue };
                let rows = changed.rows(rows)?;
                let of_rows = pixels.f_index_select(0, &rows)?;
                let number = parameters.f_narrow(1, (offset + part.parameter) as i64, 1)?;
                let number = number.f_index_select(0, &rows)?.f_view([-1, 1, 1, 1])?;
                let of_rows = made(change, part.number, &of_rows, &number)?;
                let _ = pixels.f_index_copy_(0, &rows, &of_rows)?;
            }
            offset += change.num_parameters();
        }
        out.f_narrow(0, begin, len)?.f_copy_(&normalized(recipe, &pixels)?)?;
    }
    Ok(out)
}

/// The images of slots, [n, C, H, W], as numbers from 0 to 255.
fn stored(recipe: &ImageRecipe, words: &Tensor) -> Result<Tensor, TchError> {
    let num_parameters = recipe.num_parameters() as i64;
    let bytes = words.f_narrow(1, num_parameters, recipe.num_words() as i64 - num_parameters)?;
    let bytes = bytes.f_view_dtype(Kind::Uint8)?.f_narrow(1, 0, recipe.num_bytes() as i64)?;
    let [c, h, w] = recipe.stored.map(|size| size as i64);
    bytes.f_to_kind(Kind::Float)?.f_reshape([-1, c, h, w])
}

/// What views show of their images, with pixels from 0 to 1.
fn cropped(recipe: &ImageRecipe, images: &Tensor, parameters: &Tensor) -> Result<Tensor, TchError> {
    let [_, height, width] = recipe.shape;
    let is_image = recipe.augmentations.crop == ImageCrop::Whole && recipe.stored == recipe.shape;
    // Whole numbers up to 255 come through a product with 0 and 1 as they are, whatever a GPU rounds factors to.
    let pixels = match is_image {
        true => images.shallow_clone(),
        false => resample::crop(images, parameters, [height, width], recipe.augmentations.interpolation)?,
    };
    (pixels * (1.0 / 255.0)).f_clamp(0.0, 1.0)
}

/// Views [m, C, H, W] that all drew `change`, its part `number`, with what each drew for it, [m, 1, 1, 1].
fn made(change: &ImageChange, number: usize, views: &Tensor, drawn: &Tensor) -> Result<Tensor, TchError> {
    match change {
        ImageChange::Flip(_) => views.f_flip([-1]),
        ImageChange::Jitter(_) => colour::jitter(views, number, drawn),
        ImageChange::Grayscale(_) => colour::grayscale(views),
        ImageChange::Blur(change) => blur::blur(views, drawn, change.radius),
        ImageChange::Solarize(change) => {
            let is_bright = views.f_ge(f64::from(change.threshold))?;
            (1.0_f64 - views).f_where_self(&is_bright, views)
        }
    }
}

fn normalized(recipe: &ImageRecipe, pixels: &Tensor) -> Result<Tensor, TchError> {
    let of_channels = |values: &[f32]| {
        Tensor::f_from_slice(values)?.f_to_device(pixels.device())?.f_view([1, values.len() as i64, 1, 1])
    };
    pixels.f_sub(&of_channels(&recipe.mean)?)?.f_div(&of_channels(&recipe.std)?)
}

/// Positions 0 to `len` along one axis of three: [1, len, 1] or [1, 1, len].
fn positions(len: usize, shape: [i64; 3], device: Device) -> Result<Tensor, TchError> {
    Tensor::f_arange(len as i64, (Kind::Float, device))?.f_view(shape)
}

/// Products of images [n, C, H, W] with matrices of each, [n, H', H] from the left and [n, W', W] transposed from the right:
/// [n, C, H', W'].
fn in_both_directions(images: &Tensor, of_rows: &Tensor, of_columns: &Tensor) -> Result<Tensor, TchError> {
    let across = images.f_matmul(&of_columns.f_transpose(1, 2)?.f_unsqueeze(1)?)?;
    of_rows.f_unsqueeze(1)?.f_matmul(&across)
}
