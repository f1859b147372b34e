// What the two forms of batch norm in training mode share.
#pragma once

#include "guarded.h"

#include <ATen/core/Tensor.h>

#include <optional>

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

// Mean and biased variance of each channel, f64.
struct Moments {
  at::Tensor mean, var;
};

// Of `input` (N, C, ...), N at least 1, in one pass over memory: on a CPU, channels last; nothing elsewhere.
std::optional<Moments> moments(const at::Tensor &input);

// The statistics of `input` (N, C, ...), N may be 0, over all ranks; the running ones, where defined, learn them.
Statistics global_statistics(const at::Tensor &input, const at::Tensor &weight, const SumCallback &all_ranks,
                             const at::Tensor &running_mean, const at::Tensor &running_var, double momentum);

// Batch norm is slope * x + offset per channel, in the type of the weight.
struct Normalization {
  at::Tensor slope, offset;
};

Normalization normalization(const at::Tensor &weight, const at::Tensor &bias, const Statistics &statistics,
                            double epsilon);

// dx = of_grad * dy + of_input * x + constant per channel, in the type of the weight.
struct InputGradient {
  at::Tensor of_grad, of_input, constant;
};

// Gradients of weight and bias, in their type, sums over this rank's samples.
struct OwnGradients {
  at::Tensor weight, bias;
};

// `sums` holds this rank's sum(dy) and sum(dy (x - mean)) of each channel, f64; it becomes sum(dy) and sum(dy x^) over all
// ranks.
OwnGradients sums_over_ranks(at::Tensor *sums, const at::Tensor &var, double epsilon, const at::Tensor &weight,
                             const SumCallback &all_ranks);

// `sums` holds sum(dy) and sum(dy x^) of each channel over all ranks, f64.
InputGradient input_gradient(const at::Tensor &sums, const at::Tensor &weight, const at::Tensor &mean,
                             const at::Tensor &var, const at::Tensor &count, double epsilon);

// Whether relu(batch norm (+ shortcut)) can be computed in the passes of fused_norm.cpp: on a CPU, channels last.
bool can_fuse(const at::Tensor &input, const at::Tensor &weight, const at::Tensor &shortcut);

// relu(batch norm of `input` by `statistics` + `shortcut`), the shortcut being undefined or of the shape of `input`.
at::Tensor fused_norm_relu(const at::Tensor &input, const at::Tensor &weight, const at::Tensor &bias,
                           const at::Tensor &shortcut, const Statistics &statistics, double epsilon,
                           const c10::intrusive_ptr<SumCallback> &all_ranks);

// Whether max-pooling by windows of 2x2 after relu(batch norm) can be computed in the passes of pooled_norm.cpp: on a CPU,
// channels last.
bool can_pool(const at::Tensor &input, const at::Tensor &weight);

// The largest element of each 2x2 window of relu(batch norm of `input` by `statistics`): (N, C, H, W) to (N, C, H/2, W/2),
// rounded down.
at::Tensor pooled_norm_relu(const at::Tensor &input, const at::Tensor &weight, const at::Tensor &bias,
                            const Statistics &statistics, double epsilon,
                            const c10::intrusive_ptr<SumCallback> &all_ranks);
