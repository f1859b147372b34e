//! Self-attention of several heads (Vaswani et al. 2017, arXiv 1706.03762).

use tch::{Kind, TchError, Tensor};

use crate::model::ForwardContext;
use crate::model::layers::Linear;
use crate::model::parameters::{Init, Parameters};

/// Each token as a mean of all, weighted by how well they fit it.
#[derive(Debug)]
pub struct Attention {
    /// Queries, keys and values, one below the other.
    qkv: Linear,
    proj: Linear,
    num_heads: i64,
}

impl Attention {
    /// Registers `qkv` and `proj`.
    pub fn new(dim: i64, num_heads: i64, init: Init, parameters: &mut Parameters) -> Self {
        Self {
            qkv: Linear::drawn("qkv", (dim, 3 * dim), init, true, parameters),
            proj: Linear::drawn("proj", (dim, dim), init, true, parameters),
            num_heads,
        }
    }

    /// Attends.
    ///
    /// # Shapes
    /// (N, T, D) to the same; N may be 0.
    ///
    /// # Errors
    /// When the shape does not fit or memory runs out.
    pub fn forward(&self, input: &Tensor, pass: &ForwardContext) -> Result<Tensor, TchError> {
        let (n, tokens, dim) = input.size3()?;
        let of_heads = [n, tokens, 3, self.num_heads, dim / self.num_heads];
        let qkv = self.qkv.forward(input)?.f_reshape(of_heads)?.f_permute([2, 0, 3, 1, 4])?;
        let [query, key, value] = [qkv.f_select(0, 0)?, qkv.f_select(0, 1)?, qkv.f_select(0, 2)?];
        // The fused operation has a first derivative only, and not every one of its kernels takes an empty batch.
        let attended = match pass.differentiable_twice || n == 0 {
            true => by_operations(&query, &key, &value)?,
            false => {
                let no_mask = None::<&Tensor>;
                Tensor::f_scaled_dot_product_attention(
                    &query, &key, &value, no_mask, 0.0, false, None, false,
                )?
            }
        };
        self.proj.forward(&attended.f_transpose(1, 2)?.f_reshape([n, tokens, dim])?)
    }
}

/// `softmax(q k^T / sqrt(d)) v` for (N, heads, T, d).
fn by_operations(query: &Tensor, key: &Tensor, value: &Tensor) -> Result<Tensor, TchError> {
    let scale = (query.size().last().copied().unwrap_or(1) as f64).sqrt();
    let fit = query.f_div_scalar(scale)?.f_matmul(&key.f_transpose(-2, -1)?)?;
    fit.f_softmax(-1, None::<Kind>)?.f_matmul(value)
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    #[test]
    fn both_ways_are_the_formula() {
        let mut parameters = Parameters::new(Device::Cpu, Kind::Double, 2);
        let attention = Attention::new(6, 2, Init::Normal { std: 0.5 }, &mut parameters);
        let input = (Tensor::arange(2 * 5 * 6, (Kind::Double, Device::Cpu)) * 0.731).sin().view([2, 5, 6]);
        let pass = ForwardContext::eval();
        let fused = attention.forward(&input, &pass).unwrap();
        let plain = attention.forward(&input, &pass.twice(true)).unwrap();
        assert!(fused.allclose(&plain, 1e-12, 1e-12, false));
        // Row by row in plain arithmetic.
        let all = |name: &str| -> Vec<f64> {
            let found = parameters.parameters().iter().find(|p| p.name == name).unwrap();
            Vec::try_from(found.tensor.detach().flatten(0, -1)).unwrap()
        };
        let (qkv, proj) = (all("qkv.weight"), all("proj.weight"));
        let row = |n: i64, t: i64| -> Vec<f64> { Vec::try_from(input.get(n).get(t)).unwrap() };
        let part = |n: i64, t: i64, which: usize, head: usize| -> Vec<f64> {
            let input = row(n, t);
            let of = |d: usize| (0..6).map(|i| qkv[(which * 6 + head * 3 + d) * 6 + i] * input[i]).sum();
            (0..3).map(of).collect()
        };
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        for (n, t) in [(0, 0), (1, 3)] {
            let mut attended = vec![0.0; 6];
            for head in 0..2 {
                let query = part(n, t, 0, head);
                let fits: Vec<f64> =
                    (0..5).map(|s| (dot(&query, &part(n, s, 1, head)) / 3f64.sqrt()).exp()).collect();
                let total: f64 = fits.iter().sum();
                for s in 0..5 {
                    for (d, value) in part(n, s, 2, head).into_iter().enumerate() {
                        attended[head * 3 + d] += fits[s as usize] / total * value;
                    }
                }
            }
            for d in 0..6 {
                let expected = dot(&proj[d * 6..(d + 1) * 6], &attended);
                let found = fused.double_value(&[n, t, d as i64]);
                assert!((found - expected).abs() < 1e-12, "{found} and {expected}");
            }
        }
    }
}
