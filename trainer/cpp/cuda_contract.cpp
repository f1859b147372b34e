#include "cuda_contract.h"
#include "guarded.h"

#include <ATen/core/ivalue.h>
#include <ATen/record_function.h>

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

// libtorch tells an observer of every operator with its arguments, whoever calls it: C++ of this folder, tch, or backward.
// The rules are those of libtorch 2.11's CUDA kernels, named where they stand (aten/src/ATen/native/cuda).
namespace {

using at::Tensor;

struct Watch {
  at::CallbackHandle handle;
  // How often each operator was called, and the rules that a call has broken.
  std::map<std::string, size_t> operators;
  std::set<std::string> broken;
};

thread_local std::unique_ptr<Watch> watch;

// The arguments of one call, in the order of the operator's schema.
struct Call {
  const char *name;
  c10::ArrayRef<const c10::IValue> inputs;

  // Undefined where there is none.
  Tensor tensor(size_t index) const {
    return index < inputs.size() && inputs[index].isTensor() ? inputs[index].toTensor() : Tensor();
  }
  std::vector<Tensor> tensors(size_t index) const {
    return index < inputs.size() && inputs[index].isTensorList() ? inputs[index].toTensorVector() : std::vector<Tensor>();
  }
  bool flag(size_t index) const { return index < inputs.size() && inputs[index].isBool() && inputs[index].toBool(); }
  double number(size_t index) const {
    return index < inputs.size() && inputs[index].isDouble() ? inputs[index].toDouble() : 0.0;
  }

  template <typename... Words> void require(bool kept, const Words &...words) const {
    if (kept)
      return;
    std::ostringstream text;
    text << name << ": ";
    (text << ... << words);
    watch->broken.insert(text.str());
  }
};

// The type in which a CUDA kernel adds up numbers of this one; a CPU's adds 32-bit floats up in 64.
at::ScalarType sum_type(at::ScalarType type) { return type == at::kHalf || type == at::kBFloat16 ? at::kFloat : type; }

void per_channel(const Call &call, const char *what, const Tensor &tensor, const Tensor &input) {
  if (!tensor.defined())
    return;
  call.require(tensor.dim() == 1 && tensor.size(0) == input.size(1) && tensor.is_contiguous(),
               what, " has to be a row of one number per channel, not ", tensor.sizes());
  call.require(tensor.device() == input.device(), what, " has to be on the device of the input");
}

// Normalization.cu and .cuh: rows of the input's type, or of the sums' type, and all of one.
void weight_and_bias(const Call &call, const Tensor &input, const Tensor &weight, const Tensor &bias) {
  per_channel(call, "weight", weight, input);
  per_channel(call, "bias", bias, input);
  for (const auto &tensor : {weight, bias})
    if (tensor.defined())
      call.require(tensor.scalar_type() == input.scalar_type() || tensor.scalar_type() == sum_type(input.scalar_type()),
                   "weights of ", tensor.scalar_type(), " do not go with an input of ", input.scalar_type());
  if (weight.defined() && bias.defined())
    call.require(weight.scalar_type() == bias.scalar_type(), "weight and bias have to be of one type");
}

void running(const Call &call, const Tensor &input, const Tensor &mean, const Tensor &var) {
  per_channel(call, "running mean", mean, input);
  per_channel(call, "running variance", var, input);
  call.require(mean.defined() == var.defined(), "running mean and variance have to be given together");
}

// Kernels are launched for as many blocks as there are elements: none is an error of the launch.
void rows(const Call &call, const Tensor &input) {
  call.require(input.numel() > 0, "an input without elements launches no kernel");
}

void native_batch_norm(const Call &call) {
  const auto input = call.tensor(0);
  rows(call, input);
  weight_and_bias(call, input, call.tensor(1), call.tensor(2));
  running(call, input, call.tensor(3), call.tensor(4));
  call.require(call.flag(5) || call.tensor(3).defined(), "evaluation needs the running statistics");
}

// Normalization.cu, batch_norm_backward_cuda.
void native_batch_norm_backward(const Call &call) {
  const auto grad = call.tensor(0), input = call.tensor(1), weight = call.tensor(2), mean = call.tensor(5),
             invstd = call.tensor(6);
  const bool train = call.flag(7);
  rows(call, input);
  call.require(grad.defined() && grad.sizes() == input.sizes() && grad.scalar_type() == input.scalar_type(),
               "the gradient has to be of the shape and type of the input");
  weight_and_bias(call, input, weight, {});
  running(call, input, call.tensor(3), call.tensor(4));
  for (const auto &saved : {mean, invstd}) {
    call.require(saved.defined(), "save_mean and save_invstd have to be defined");
    if (!saved.defined())
      continue;
    call.require(saved.numel() == 0 || saved.scalar_type() == sum_type(input.scalar_type()),
                 "saved statistics have to be of the type of sums");
    call.require(saved.numel() != 0 || (!train && call.tensor(3).defined()),
                 "empty saved statistics are for evaluation, by running ones");
  }
}

void batch_norm_update_stats(const Call &call) {
  rows(call, call.tensor(0));
  running(call, call.tensor(0), call.tensor(1), call.tensor(2));
}

// ForeachUtils.h, check_fast_path_restrictions; MultiTensorApply.cuh launches nothing more once it meets an empty last
// tensor.
void alike(const Call &call, std::initializer_list<size_t> lists) {
  const auto first = call.tensors(*lists.begin());
  if (first.empty())
    return;
  for (const auto index : lists) {
    const auto tensors = call.tensors(index);
    call.require(tensors.size() == first.size(), "lists have to be of one length");
    for (size_t i = 0; i < std::min(tensors.size(), first.size()); ++i) {
      call.require(tensors[i].sizes() == first[i].sizes() && tensors[i].strides() == first[i].strides() &&
                       tensors[i].is_non_overlapping_and_dense(),
                   "tensors of one place have to lie alike in memory, without gaps");
      call.require(tensors[i].scalar_type() == first[0].scalar_type() && tensors[i].device() == first[0].device(),
                   "all tensors have to be of one type and device");
      call.require(tensors[i].numel() > 0, "tensors must not be empty");
    }
  }
}

// Kernels read these through a pointer to a 32-bit float on the device.
void one_float(const Call &call, const char *what, const Tensor &tensor, c10::Device device) {
  if (tensor.defined())
    call.require(tensor.numel() == 1 && tensor.scalar_type() == at::kFloat && tensor.device() == device, what,
                 " has to be one 32-bit float on the device");
}

// FusedAdamKernel.cu, FusedAdamWKernel.cu.
void fused_adam(const Call &call) {
  alike(call, {0, 1, 2, 3});
  const auto weights = call.tensors(0);
  if (weights.empty())
    return;
  const auto steps = call.tensors(5);
  call.require(steps.size() == weights.size(), "each tensor has to have its number of steps");
  for (const auto &step : steps)
    one_float(call, "a number of steps", step, weights[0].device());
  one_float(call, "grad_scale", call.tensor(13), weights[0].device());
  one_float(call, "found_inf", call.tensor(14), weights[0].device());
}

// FusedSgdKernel.cu.
void fused_sgd(const Call &call) {
  const auto weights = call.tensors(0);
  if (weights.empty())
    return;
  const bool with_momentum = !call.tensors(2).empty();
  if (with_momentum)
    alike(call, {0, 1, 2});
  else
    alike(call, {0, 1});
  call.require((call.number(4) > 0.0) == with_momentum, "buffers of momentum go with a momentum above zero");
  one_float(call, "grad_scale", call.tensor(10), weights[0].device());
  one_float(call, "found_inf", call.tensor(11), weights[0].device());
}

// Sums in an order that threads decide: Context::alertNotDeterministic is called for these, and there is no other kernel.
void not_deterministic(const Call &call) { call.require(false, "not deterministic on a GPU"); }

using Rule = void (*)(const Call &);

Rule rule_for(std::string_view name) {
  static const std::map<std::string_view, Rule> rules{
      {"aten::native_batch_norm", native_batch_norm},
      {"aten::native_batch_norm_backward", native_batch_norm_backward},
      {"aten::batch_norm_update_stats", batch_norm_update_stats},
      {"aten::_fused_adam_", fused_adam},
      {"aten::_fused_adamw_", fused_adam},
      {"aten::_fused_sgd_", fused_sgd},
      {"aten::_adaptive_avg_pool2d_backward", not_deterministic},
      {"aten::_adaptive_avg_pool3d_backward", not_deterministic},
      {"aten::adaptive_max_pool2d_backward", not_deterministic},
      {"aten::adaptive_max_pool3d_backward", not_deterministic},
      {"aten::avg_pool3d_backward", not_deterministic},
      {"aten::max_pool3d_with_indices_backward", not_deterministic},
      {"aten::fractional_max_pool2d_backward", not_deterministic},
      {"aten::fractional_max_pool3d_backward", not_deterministic},
      {"aten::grid_sampler_2d_backward", not_deterministic},
      {"aten::grid_sampler_3d_backward", not_deterministic},
      {"aten::reflection_pad1d_backward", not_deterministic},
      {"aten::reflection_pad3d_backward", not_deterministic},
      {"aten::replication_pad1d_backward", not_deterministic},
      {"aten::replication_pad2d_backward", not_deterministic},
      {"aten::replication_pad3d_backward", not_deterministic},
      {"aten::upsample_bicubic2d_backward", not_deterministic},
      {"aten::upsample_linear1d_backward", not_deterministic},
      {"aten::upsample_trilinear3d_backward", not_deterministic},
      {"aten::nll_loss2d_forward", not_deterministic},
      {"aten::_ctc_loss_backward", not_deterministic},
      {"aten::cumsum", not_deterministic},
      {"aten::cumsum_", not_deterministic},
      {"aten::kthvalue", not_deterministic},
      {"aten::scatter_reduce", not_deterministic},
      {"aten::put_", not_deterministic},
  };
  const auto found = rules.find(name);
  return found == rules.end() ? nullptr : found->second;
}

std::unique_ptr<at::ObserverContext> observe(const at::RecordFunction &function) {
  if (watch == nullptr)
    return nullptr;
  ++watch->operators[function.name()];
  const auto rule = rule_for(function.name());
  if (rule == nullptr)
    return nullptr;
  const Call call{function.name(), function.inputs()};
  try {
    rule(call);
  } catch (const std::exception &error) {
    // libtorch would only write that an observer has thrown.
    call.require(false, error.what());
  }
  return nullptr;
}

char *new_message(const std::string &text) {
  auto *message = strdup(text.c_str());
  TORCH_CHECK(message != nullptr, "no memory for a message");
  return message;
}

} // namespace

bool computes_as_on_cuda() noexcept { return watch != nullptr; }

bool dtrain_computes_as_on_cuda() noexcept { return computes_as_on_cuda(); }

char *dtrain_cuda_contract_begin() {
  return guarded([] {
    TORCH_CHECK(watch == nullptr, "this thread computes as on a GPU already");
    auto begun = std::make_unique<Watch>();
    auto callback = at::RecordFunctionCallback(observe).needsInputs(true).scopes({at::RecordScope::FUNCTION});
    begun->handle = at::addThreadLocalCallback(std::move(callback));
    watch = std::move(begun);
  });
}

char *dtrain_cuda_contract_end(char **broken, char **operators) {
  return guarded([&] {
    TORCH_CHECK(watch != nullptr, "this thread does not compute as on a GPU");
    const auto ended = std::move(watch);
    at::removeCallback(ended->handle);
    std::ostringstream rules, names;
    for (const auto &rule : ended->broken)
      rules << rule << '\n';
    for (const auto &[name, count] : ended->operators)
      names << name << ' ' << count << '\n';
    *broken = new_message(rules.str());
    *operators = new_message(names.str());
  });
}
