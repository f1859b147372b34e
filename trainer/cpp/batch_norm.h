// What the two forms of batch norm in training mode share.
#pragma once

#include "guarded.h"

#include <ATen/core/Tensor.h>

using SumCallback = Shared<dtrain_sum_callback>;

// In place; nothing where there is one rank.
inline void sum_over_ranks(const SumCallback &all_ranks, at::Tensor *sums) {
  if (all_ranks.callback.call != nullptr)
    all_ranks.call(sums);
}

// Statistics over all ranks, f64. `count` has one element and is at least 1.
struct Statistics {
  at::Tensor count, mean, var;
};

// The statistics of `input` (N, C, ...), N may be 0, over all ranks; the running ones, where defined, learn them.
Statistics global_statistics(const at::Tensor &input, const at::Tensor &weight, const SumCallback &all_ranks,
                             const at::Tensor &running_mean, const at::Tensor &running_var, double momentum);

// dx = of_grad * dy + of_input * x + constant per channel, in the type of the weight.
struct InputGradient {
  at::Tensor of_grad, of_input, constant;
};

// `sums` holds sum(dy) and sum(dy x^) of each channel over all ranks, f64.
InputGradient input_gradient(const at::Tensor &sums, const at::Tensor &weight, const at::Tensor &mean,
                             const at::Tensor &var, const at::Tensor &count, double epsilon);

// Whether relu(batch norm (+ shortcut)) can be computed in the passes of fused_norm.cpp: on a CPU, channels last.
bool can_fuse(const at::Tensor &input, const at::Tensor &weight, const at::Tensor &shortcut);

// relu(batch norm of `input` by `statistics` + `shortcut`), the shortcut being undefined or of the shape of `input`.
at::Tensor fused_norm_relu(const at::Tensor &input, const at::Tensor &weight, const at::Tensor &bias,
                           const at::Tensor &shortcut, const Statistics &statistics, double epsilon,
                           const c10::intrusive_ptr<SumCallback> &all_ranks);
