//! Batch norm by the statistics of all ranks from operations that have derivatives of every order. The passes of
//! [`crate::torch_extra::batch_norm`] compute the same in fewer, and have a first derivative only.

use tch::{Kind, TchError, Tensor};

use crate::torch_extra::{BatchNormTensors, SyncStatistics};

/// Batch norm in training mode over the samples of all ranks, as if they were one batch. Gradients of weight and bias are this
/// rank's share of the sum. The running statistics learn the global mean and the unbiased global variance; nothing from fewer
/// than two values. Statistics are f64.
///
/// # Shapes
/// `input` (N, C, ...) and the result are alike; N may be 0 on some or all ranks.
///
/// # Errors
/// When the shape does not fit, memory runs out, or `all_ranks` fails, here or later in backward.
pub(super) fn batch_norm(
    input: &Tensor,
    tensors: BatchNormTensors<'_>,
    (momentum, epsilon): (f64, f64),
    all_ranks: &SyncStatistics,
) -> Result<Tensor, TchError> {
    let Statistics { total, mean, var } = statistics(input, all_ranks)?;
    if let Some(running) = tensors.running {
        tch::no_grad(|| learn(running, momentum, &total, &mean, &var))?;
    }
    let mut per_channel = vec![1; input.dim()];
    if let Some(channels) = per_channel.get_mut(1) {
        *channels = -1;
    }
    let of_channels = |tensor: &Tensor| tensor.f_to_kind(input.kind())?.f_view(per_channel.as_slice());
    let slope = tensors.weight.f_to_kind(Kind::Double)?.f_mul(&var.f_add_scalar(epsilon)?.f_rsqrt()?)?;
    let centered = input.f_sub(&of_channels(&mean)?)?;
    centered.f_mul(&of_channels(&slope)?)?.f_add(&of_channels(tensors.bias)?)
}

/// Over all ranks, f64.
struct Statistics {
    /// Values of a channel, `[1]`.
    total: Tensor,
    /// `[C]`; 0 where there is no value.
    mean: Tensor,
    /// Biased, `[C]`.
    var: Tensor,
}

fn statistics(input: &Tensor, all_ranks: &SyncStatistics) -> Result<Statistics, TchError> {
    let size = input.size();
    let channels = size.get(1).copied().unwrap_or(0);
    let others: Vec<i64> = (0..size.len() as i64).filter(|&axis| axis != 1).collect();
    let values = size.iter().product::<i64>() as f64 / channels.max(1) as f64;
    let x = input.f_to_kind(Kind::Double)?;
    let sum = |of: &Tensor| of.f_sum_dim_intlist(others.as_slice(), false, None::<Kind>);
    let count = Tensor::from_slice(&[values]).f_to_device(input.device())?;
    let sums = all_ranks.sum(&Tensor::f_cat(&[count, sum(&x)?, sum(&x.f_square()?)?], 0)?)?;

    let total = sums.f_narrow(0, 0, 1)?.detach();
    let count = total.f_clamp_min(1.0)?;
    let mean = sums.f_narrow(0, 1, channels)?.f_div(&count)?;
    let squares = sums.f_narrow(0, 1 + channels, channels)?.f_div(&count)?;
    let var = squares.f_sub(&mean.f_square()?)?.f_clamp_min(0.0)?;
    Ok(Statistics { total, mean, var })
}

/// As `global_statistics` in `cpp/batch_norm.cpp`.
fn learn(
    (running_mean, running_var): (&Tensor, &Tensor),
    momentum: f64,
    total: &Tensor,
    mean: &Tensor,
    var: &Tensor,
) -> Result<(), TchError> {
    let share = total.f_gt(1.0)?.f_to_kind(Kind::Double)?.f_mul_scalar(momentum)?;
    let correction = total.f_clamp_min(1.0)?.f_div(&total.f_sub_scalar(1.0)?.f_clamp_min(1.0)?)?;
    for (running, new) in [(running_mean, mean.shallow_clone()), (running_var, var.f_mul(&correction)?)] {
        let learned = running.f_to_kind(Kind::Double)?.f_lerp_tensor(&new, &share)?;
        running.shallow_clone().f_copy_(&learned)?;
    }
    Ok(())
}
