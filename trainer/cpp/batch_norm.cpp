#include "affine.h"
#include "autocast.h"
#include "batch_norm.h"
#include "operators.h"

#include <torch/csrc/autograd/custom_function.h>

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

Moments own_moments(const Tensor &input, const Tensor &weight) {
  if (auto found = moments(input))
    return *std::move(found);
  // Running statistics of the weight's type make libtorch return that type for bf16 and fp16 inputs too.
  const auto [mean, var] = at::batch_norm_update_stats(input, at::zeros_like(weight), at::zeros_like(weight), 0.0);
  return {mean.to(at::kDouble), var.to(at::kDouble)};
}

} // namespace

Statistics global_statistics(const Tensor &input, const Tensor &weight, const SumCallback &all_ranks,
                             const Tensor &running_mean, const Tensor &running_var, double momentum) {
  at::NoGradGuard no_grad;
  const auto channels = input.size(1);
  auto sums = at::zeros({1 + 2 * channels}, input.options().dtype(at::kDouble));
  if (input.numel() > 0) {
    const double count = static_cast<double>(input.numel() / channels);
    const auto [mean, var] = own_moments(input, weight);
    sums.narrow(0, 0, 1).fill_(count);
    sums.narrow(0, 1, channels).copy_(mean).mul_(count);
    sums.narrow(0, 1 + channels, channels).copy_(var).addcmul_(mean, mean).mul_(count);
  }
  sum_over_ranks(all_ranks, &sums);

  const auto total = sums.narrow(0, 0, 1);
  const auto count = total.clamp_min(1);
  const auto mean = sums.narrow(0, 1, channels) / count;
  const auto var = (sums.narrow(0, 1 + channels, channels) / count - mean * mean).clamp_min(0);
  if (running_mean.defined()) {
    // One value says nothing about a variance (libtorch would store NaN, torch.nn refuses): nothing is learned then.
    const auto share = (total > 1).to(at::kDouble) * momentum;
    running_mean.copy_(running_mean.to(at::kDouble).lerp(mean, share));
    const auto unbiased = var * (count / (count - 1).clamp_min(1));
    running_var.copy_(running_var.to(at::kDouble).lerp(unbiased, share));
  }
  return {count, mean, var};
}

Normalization normalization(const Tensor &weight, const Tensor &bias, const Statistics &statistics, double epsilon) {
  const auto type = weight.scalar_type();
  const auto slope = weight.to(at::kDouble) * (statistics.var + epsilon).rsqrt();
  return {slope.to(type), (bias.to(at::kDouble) - slope * statistics.mean).to(type)};
}

OwnGradients sums_over_ranks(Tensor *sums, const Tensor &var, double epsilon, const Tensor &weight,
                             const SumCallback &all_ranks) {
  const auto channels = weight.size(0);
  sums->narrow(0, channels, channels).mul_((var + epsilon).rsqrt());
  // Copies: the sums of this rank become those of all ranks.
  const auto own = [&](int64_t part) {
    return sums->narrow(0, part * channels, channels)
        .to(weight.scalar_type(), /*non_blocking=*/false, /*copy=*/true);
  };
  const OwnGradients gradients{own(1), own(0)};
  sum_over_ranks(all_ranks, sums);
  return gradients;
}

// With x^ = (x - mean) / sigma and sums over the samples of all ranks,
//   dx = weight / sigma * (dy - sum(dy) / count - x^ * sum(dy x^) / count).
InputGradient input_gradient(const Tensor &sums, const Tensor &weight, const Tensor &mean, const Tensor &var,
                             const Tensor &count, double epsilon) {
  const auto channels = weight.size(0);
  const auto inverse = (var.to(at::kDouble) + epsilon).rsqrt();
  const auto slope = weight.to(at::kDouble) * inverse;
  const auto of_input = -slope * inverse * sums.narrow(0, channels, channels) / count;
  const auto constant = -slope * sums.narrow(0, 0, channels) / count - of_input * mean;
  const auto type = weight.scalar_type();
  return {slope.to(type), of_input.to(type), constant.to(type)};
}

namespace {

// libtorch's batch norm in evaluation mode, the fused kernel for one affine map per channel.
Tensor normalize(const Tensor &input, const Tensor &weight, const Tensor &bias, const Tensor &mean, const Tensor &var,
                 double epsilon) {
  if (input.numel() == 0)
    return at::empty_like(input);
  return std::get<0>(at::native_batch_norm(input, weight, bias, mean, var, /*training=*/false, 0.0, epsilon));
}

struct BatchNorm : torch::autograd::Function<BatchNorm> {
  static Tensor forward(AutogradContext *context, const Tensor &input, const Tensor &weight, const Tensor &bias,
                        const Statistics &statistics, double epsilon, c10::intrusive_ptr<SumCallback> all_ranks) {
    const auto mean = statistics.mean.to(weight.scalar_type());
    const auto var = statistics.var.to(weight.scalar_type());
    context->save_for_backward({input, weight, mean, var, statistics.count});
    context->saved_data["epsilon"] = epsilon;
    context->saved_data["all_ranks"] = c10::IValue::make_capsule(std::move(all_ranks));
    return normalize(input, weight, bias, mean, var, epsilon);
  }

  // The gradients of weight and bias stay sums over this rank's samples.
  static variable_list backward(AutogradContext *context, const variable_list &gradients) {
    TORCH_CHECK(!at::GradMode::is_enabled(), "synchronized batch norm has no second derivative");
    const NoAutocast no_autocast(c10::autocast_dispatch_keyset);
    const auto saved = context->get_saved_variables();
    const Tensor &input = saved[0], &weight = saved[1], &mean = saved[2], &var = saved[3], &count = saved[4];
    const double epsilon = context->saved_data["epsilon"].toDouble();
    const auto capsule = context->saved_data["all_ranks"].toCapsule();
    const auto &all_ranks = static_cast<const SumCallback &>(*capsule);
    const auto grad = gradients[0].to(input.scalar_type()).contiguous(input.suggest_memory_format());

    auto grad_weight = at::zeros_like(weight), grad_bias = at::zeros_like(weight);
    if (input.numel() > 0) {
      // Empty and not undefined: the CUDA kernel asserts that they are there, and takes the given statistics instead.
      const auto unsaved = at::empty({0}, mean.options());
      std::tie(std::ignore, grad_weight, grad_bias) = at::native_batch_norm_backward(
          grad, input, weight, mean, var, unsaved, unsaved, /*train=*/false, epsilon, {false, true, true});
    }
    auto sums = at::cat({grad_bias.to(at::kDouble), grad_weight.to(at::kDouble)});
    sum_over_ranks(all_ranks, &sums);

    Tensor grad_input;
    if (input.numel() == 0) {
      grad_input = at::zeros_like(input);
    } else if (context->needs_input_grad(0)) {
      const auto affine = input_gradient(sums, weight, mean, var, count, epsilon);
      grad_input = affine_of_two(grad, input, affine.of_grad, affine.of_input, affine.constant);
    }
    return {grad_input, grad_weight, grad_bias, Tensor(), Tensor(), Tensor()};
  }
};

} // namespace

char *dtrain_batch_norm(const Tensor *input, const Tensor *weight, const Tensor *bias, const Tensor *running_mean,
                        const Tensor *running_var, double momentum, double epsilon, dtrain_epilogue epilogue,
                        const Tensor *shortcut, dtrain_sum_callback callback, Tensor **output) {
  return guarded([&] {
    const auto all_ranks = c10::make_intrusive<SumCallback>(callback);
    TORCH_CHECK(input->dim() >= 2, "batch norm takes (N, C, ...), not ", input->sizes());
    for (const auto *tensor : {weight, bias, running_mean, running_var})
      TORCH_CHECK(tensor == nullptr || tensor->sizes() == at::IntArrayRef(input->size(1)),
                  "batch norm of ", input->sizes(), " has tensors of one element per channel, not ", tensor->sizes());
    // Statistics keep their type also where a pass runs under autocast.
    const NoAutocast no_autocast(c10::autocast_dispatch_keyset);
    const auto statistics =
        global_statistics(*input, *weight, *all_ranks, running_mean != nullptr ? *running_mean : Tensor(),
                          running_var != nullptr ? *running_var : Tensor(), momentum);
    const auto added = shortcut != nullptr ? *shortcut : Tensor();
    const auto finished = [&]() -> Tensor {
      if (epilogue == DTRAIN_EPILOGUE_RELU_POOL && can_pool(*input, *weight))
        return pooled_norm_relu(*input, *weight, *bias, statistics, epsilon, all_ranks);
      if (epilogue == DTRAIN_EPILOGUE_RELU && can_fuse(*input, *weight, added))
        return fused_norm_relu(*input, *weight, *bias, added, statistics, epsilon, all_ranks);
      auto result = BatchNorm::apply(*input, *weight, *bias, statistics, epsilon, all_ranks);
      if (epilogue == DTRAIN_EPILOGUE_NOTHING)
        return result;
      result = (added.defined() ? result.add_(added) : result).relu_();
      return epilogue == DTRAIN_EPILOGUE_RELU_POOL ? at::max_pool2d(result, {2, 2}) : result;
    };
    *output = new Tensor(finished());
  });
}
