//! What an answer depends on: the gradient of its log-probabilities with respect to the input.

use tch::{Kind, TchError, Tensor};

use super::widened;

/// The gradient of sum_k log p_k, where p is the softmax of `scores`, with respect to `inputs` (Ross et al. 2017, equation 1). It
/// carries a graph if `differentiable`, so that a loss may hold it.
///
/// # Shapes
/// `scores` [n, K], whose graph leads to `inputs` [n, ...], which require a gradient; the result is as `inputs`. Without batch
/// statistics the row of a sample depends on no other.
///
/// # Errors
/// When memory runs out, or a layer has no second derivative.
pub fn input_gradient(scores: &Tensor, inputs: &Tensor, differentiable: bool) -> Result<Tensor, TchError> {
    let sum = widened(scores).f_log_softmax(-1, None::<Kind>)?.f_sum(None::<Kind>)?;
    let gradients = Tensor::f_run_backward(&[&sum], &[inputs], true, differentiable)?;
    gradients.into_iter().next().ok_or_else(|| TchError::Torch("no gradient of the inputs".into()))
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    /// Of a linear layer it is sum_k (w_k - sum_j p_j w_j), as one writes it down.
    #[test]
    fn of_a_linear_layer_it_is_the_formula() {
        tch::manual_seed(3);
        let inputs = Tensor::randn([4, 5], (Kind::Double, Device::Cpu)).set_requires_grad(true);
        let weight = Tensor::randn([3, 5], (Kind::Double, Device::Cpu));
        let scores = inputs.matmul(&weight.tr());
        let found = input_gradient(&scores, &inputs, false).unwrap();
        let mean = scores.softmax(-1, None::<Kind>).matmul(&weight);
        let expected = weight.sum_dim_intlist([0i64].as_slice(), true, None::<Kind>) - mean * 3.0;
        assert!(f64::try_from((found - expected).abs().max()).unwrap() < 1e-12);
    }
}
