//! Colours: `dtrain_data::augment::image::colour` over whole tensors.
//!
//! # Shapes
//! Views are [m, C, H, W], with pixels from 0 to 1; RGB is C = 3. What was drawn for each is [m, 1, 1, 1].

use tch::{Kind, TchError, Tensor};

/// The change of a jitter of this number (`Change::numbered`), by the factors or shifts `drawn`.
pub(super) fn jitter(views: &Tensor, number: usize, drawn: &Tensor) -> Result<Tensor, TchError> {
    let is_rgb = is_rgb(views);
    match number {
        0 => views.f_mul(drawn)?.f_clamp(0.0, 1.0),
        1 => {
            let grey = if is_rgb { luminance(views)? } else { views.shallow_clone() };
            let mean = grey.f_mean_dim([1_i64, 2, 3].as_slice(), true, None::<Kind>)?;
            blend(views, &mean, drawn)
        }
        2 if is_rgb => blend(views, &luminance(views)?, drawn),
        3 if is_rgb => shift_hue(views, drawn),
        // Grey has neither.
        _ => Ok(views.shallow_clone()),
    }
}

/// Luminance in all channels of RGB views; others are left as they are.
pub(super) fn grayscale(views: &Tensor) -> Result<Tensor, TchError> {
    match is_rgb(views) {
        true => luminance(views)?.f_expand_as(views),
        false => Ok(views.shallow_clone()),
    }
}

fn is_rgb(views: &Tensor) -> bool {
    views.size().get(1) == Some(&3)
}

/// Each of the three channels, [m, 1, H, W].
fn channels(views: &Tensor) -> Result<[Tensor; 3], TchError> {
    Ok([views.f_narrow(1, 0, 1)?, views.f_narrow(1, 1, 1)?, views.f_narrow(1, 2, 1)?])
}

fn luminance(views: &Tensor) -> Result<Tensor, TchError> {
    let [red, green, blue] = channels(views)?;
    Ok(red * 0.2989 + green * 0.587 + blue * 0.114)
}

/// `factor` times views and the rest of others.
fn blend(views: &Tensor, others: &Tensor, factor: &Tensor) -> Result<Tensor, TchError> {
    (views.f_mul(factor)? + others.f_mul(&(1.0 - factor))?).f_clamp(0.0, 1.0)
}

/// From RGB to hue, saturation and value, and back with a hue that is `turns` further around the circle of colours.
fn shift_hue(views: &Tensor, turns: &Tensor) -> Result<Tensor, TchError> {
    let [red, green, blue] = channels(views)?;
    let value = views.f_amax([1_i64].as_slice(), true)?;
    let range = &value - views.f_amin([1_i64].as_slice(), true)?;
    // Greys have hue 0 and saturation 0.
    let divisor = range.f_ones_like()?.f_where_self(&range.f_eq(0.0)?, &range)?;
    let of_red = (&green - &blue) / &divisor;
    let of_green = (&blue - &red) / &divisor + 2.0;
    let of_blue = (&red - &green) / &divisor + 4.0;
    let sixths = of_green.f_where_self(&value.f_eq_tensor(&green)?, &of_blue)?;
    let sixths = of_red.f_where_self(&value.f_eq_tensor(&red)?, &sixths)?;
    let shifted = around(&(sixths + turns * 6.0))?;
    // Of red, green and blue: how far the value falls towards that of grey, by their distance on the circle.
    let of_channel = |offset: f64| {
        let at = around(&(&shifted + offset))?;
        let falls = at.f_minimum(&(4.0 - &at))?.f_clamp(0.0, 1.0)?;
        (&value - &range * falls).f_clamp(0.0, 1.0)
    };
    Tensor::f_cat(&[of_channel(5.0)?, of_channel(3.0)?, of_channel(1.0)?], 1)
}

/// A number of sixths, from 0 up to 6.
fn around(sixths: &Tensor) -> Result<Tensor, TchError> {
    let turns = (sixths * (1.0 / 6.0)).f_floor()?;
    Ok(sixths - turns * 6.0)
}
