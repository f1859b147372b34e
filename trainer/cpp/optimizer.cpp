#include "guarded.h"
#include "operators.h"

#include <initializer_list>
#include <optional>
#include <vector>

namespace {

using at::Tensor;

// The fused kernels look at the length of the first tensor alone.
void check_alike(const Tensor &weights, std::initializer_list<const Tensor *> others) {
  for (const auto *other : others)
    TORCH_CHECK(other->sizes() == weights.sizes() && other->options().type_equal(weights.options()) &&
                    other->device() == weights.device() && other->is_contiguous() && weights.is_contiguous(),
                "an optimizer step takes contiguous tensors of one shape, type and device: ", weights.sizes(), " ",
                weights.toString(), ", not ", other->sizes(), " ", other->toString());
}

// One scalar per run on the device, without a copy from the host, which would wait for the device.
std::vector<Tensor> step_counts(const dtrain_adam_run *runs, size_t num_runs, c10::Device device) {
  std::vector<Tensor> counts;
  for (size_t run = 0; run < num_runs; ++run) {
    if (run > 0 && runs[run].steps == runs[run - 1].steps)
      counts.push_back(counts.back());
    else
      counts.push_back(at::full({}, runs[run].steps, at::device(device).dtype(at::kFloat)));
  }
  return counts;
}

// The kernels compare with 1; a flag that has been summed over the ranks may be more.
std::optional<Tensor> as_flag(const Tensor *skip, c10::Device device) {
  if (skip == nullptr)
    return std::nullopt;
  TORCH_CHECK(skip->numel() == 1 && skip->device() == device,
              "an optimizer step is skipped by one element on the device of the weights, not by ", skip->sizes());
  return skip->ne(0).to(at::kFloat);
}

} // namespace

char *dtrain_fused_adam(const dtrain_adam_run *runs, size_t num_runs, double lr, double beta1, double beta2,
                        double weight_decay, bool decoupled, double epsilon, const Tensor *skip) {
  return guarded([&] {
    if (num_runs == 0)
      return;
    std::vector<Tensor> weights, gradients, first, second;
    for (const auto *run = runs; run != runs + num_runs; ++run) {
      check_alike(*run->weights, {run->gradients, run->first, run->second});
      weights.push_back(*run->weights);
      gradients.push_back(*run->gradients);
      first.push_back(*run->first);
      second.push_back(*run->second);
    }
    const auto steps = step_counts(runs, num_runs, weights.front().device());
    const auto step = decoupled ? at::_ops::_fused_adamw_::call : at::_ops::_fused_adam_::call;
    step(weights, gradients, first, second, {}, steps, lr, beta1, beta2, weight_decay, epsilon, /*amsgrad=*/false,
         /*maximize=*/false, /*grad_scale=*/{}, as_flag(skip, weights.front().device()));
  });
}

char *dtrain_fused_sgd(const dtrain_sgd_run *runs, size_t num_runs, double lr, double momentum, double weight_decay,
                       bool nesterov, const Tensor *skip) {
  return guarded([&] {
    if (num_runs == 0)
      return;
    std::vector<Tensor> weights, gradients, buffers;
    for (const auto *run = runs; run != runs + num_runs; ++run) {
      check_alike(*run->weights, {run->gradients, run->momentum != nullptr ? run->momentum : run->weights});
      weights.push_back(*run->weights);
      gradients.push_back(*run->gradients);
      if (run->momentum != nullptr)
        buffers.push_back(*run->momentum);
    }
    at::_fused_sgd_(weights, gradients, buffers, weight_decay, momentum, lr, /*dampening=*/0.0, nesterov,
                    /*maximize=*/false, /*is_first_step=*/false, /*grad_scale=*/{},
                    as_flag(skip, weights.front().device()));
  });
}
