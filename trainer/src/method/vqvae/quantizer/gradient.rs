//! How gradients pass a rounding, which has none of its own.

use dtrain_configs::schema::QuantizerGradient;
use tch::{Kind, TchError, Tensor};

/// The codes in value, with a gradient for the latents.
///
/// # Shapes
/// `latents` and `codes` `[m, D]`; the result is alike, and no gradient reaches `codes`.
///
/// # Errors
/// When memory runs out.
pub fn passed(how: QuantizerGradient, latents: &Tensor, codes: &Tensor) -> Result<Tensor, TchError> {
    let codes = codes.detach();
    match how {
        QuantizerGradient::StraightThrough => latents.f_add(&codes.f_sub(&latents.detach())?),
        QuantizerGradient::Rotation => rotated(latents, &codes),
    }
}

/// `s R z`, where the rotation R turns z to the direction of its code q, and s = |q| / |z|; both are taken as constant.
/// With unit vectors e of z and c of q, and the unit vector r of e + c: `R = 1 - 2 r r' + 2 c e'` (Fifty et al. 2024, arXiv
/// 2410.06424, section 4.2).
fn rotated(latents: &Tensor, codes: &Tensor) -> Result<Tensor, TchError> {
    let length = |x: &Tensor| x.f_norm_scalaropt_dim(2, [1], true)?.f_clamp_min(1e-6);
    let dot = |x: &Tensor, y: &Tensor| x.f_mul(y)?.f_sum_dim_intlist(1, true, None::<Kind>);
    let constant = latents.detach();
    let (of_latent, of_code) = (length(&constant)?, length(codes)?);
    let (e, c) = (constant.f_div(&of_latent)?, codes.f_div(&of_code)?);
    let sum = e.f_add(&c)?;
    let r = sum.f_div(&length(&sum)?)?;
    let turned = latents
        .f_sub(&r.f_mul(&dot(latents, &r)?)?.f_mul_scalar(2.0)?)?
        .f_add(&c.f_mul(&dot(latents, &e)?)?.f_mul_scalar(2.0)?)?;
    turned.f_mul(&of_code.f_div(&of_latent)?)
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    fn wave(frequency: f64) -> Tensor {
        (Tensor::arange(20, (Kind::Double, Device::Cpu)) * frequency).sin().view([5, 4]) + 0.3
    }

    fn passed_and_gradient(how: QuantizerGradient, of_output: &Tensor) -> (Tensor, Tensor) {
        let latents = wave(0.7).set_requires_grad(true);
        let output = passed(how, &latents, &wave(1.3)).unwrap();
        (&output * of_output).sum(Kind::Double).backward();
        (output.detach(), latents.grad())
    }

    #[test]
    fn values_are_those_of_the_codes() {
        for how in [QuantizerGradient::StraightThrough, QuantizerGradient::Rotation] {
            let (output, _) = passed_and_gradient(how, &wave(0.4));
            assert!(output.allclose(&wave(1.3), 1e-12, 1e-12, false), "{how:?}");
        }
    }

    #[test]
    fn straight_through_leaves_the_gradient_and_a_rotation_turns_it_back() {
        let of_output = wave(0.4);
        let (_, straight) = passed_and_gradient(QuantizerGradient::StraightThrough, &of_output);
        assert_eq!(straight, of_output);
        // Angles between gradient and code are those between the turned gradient and the latent.
        let (_, turned) = passed_and_gradient(QuantizerGradient::Rotation, &of_output);
        let length = |x: &Tensor| x.norm_scalaropt_dim(2, [1], true);
        let angle =
            |x: &Tensor, y: &Tensor| (x * y).sum_dim_intlist(1, true, None::<Kind>) / length(x) / length(y);
        let (latents, codes) = (wave(0.7), wave(1.3));
        assert!(angle(&turned, &latents).allclose(&angle(&of_output, &codes), 1e-10, 1e-10, false));
        let stretched = length(&turned) / length(&of_output);
        assert!(stretched.allclose(&(length(&codes) / length(&latents)), 1e-10, 1e-10, false));
    }
}
