#include "affine.h"
#include "autocast.h"
#include "batch_norm.h"
#include "cuda_contract.h"
#include "elements.h"
#include "operators.h"
#include "rows.h"

#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

// Batch norm, the sum with a residual block's shortcut, and ReLU, in one pass over memory after the statistics; backward in
// two. As operations of their own they take 13 reads and writes of the activations without a shortcut and 17 with one; here
// 8 and 11.
namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

template <typename Element, typename Sum>
DTRAIN_INLINE void forward_row(Element *__restrict out, const Element *__restrict x, const Element *__restrict shortcut,
                               const Sum *__restrict slope, const Sum *__restrict offset, int64_t channels) {
  for (int64_t c = 0; c < channels; ++c) {
    Sum value = slope[c] * load(x + c) + offset[c];
    if (shortcut != nullptr)
      value += load(shortcut + c);
    store(out + c, value > 0 || value != value ? value : Sum(0));
  }
}

// The gradient before ReLU. With a shortcut the output tells where ReLU was open, and the gradient is stored, which is also
// the shortcut's; without one it follows from the input, which has to be read anyway.
template <typename Element, typename Sum>
DTRAIN_INLINE Sum open_gradient(const Element *grad, const Element *x, const Element *output, Sum slope, Sum offset) {
  const Sum before = output != nullptr ? Sum(load(output)) : slope * load(x) + offset;
  return before > 0 || before != before ? Sum(load(grad)) : Sum(0);
}

template <typename Element, typename Sum>
DTRAIN_INLINE void sums_row(Sum *__restrict of_grad, Sum *__restrict of_product, Element *__restrict opened,
                            const Element *__restrict grad, const Element *__restrict x,
                            const Element *__restrict output, const Sum *__restrict slope,
                            const Sum *__restrict offset, const Sum *__restrict mean, int64_t channels) {
  for (int64_t c = 0; c < channels; ++c) {
    const Sum delta =
        open_gradient<Element, Sum>(grad + c, x + c, output != nullptr ? output + c : nullptr, slope[c], offset[c]);
    if (opened != nullptr)
      store(opened + c, delta);
    of_grad[c] += delta;
    of_product[c] += delta * (Sum(load(x + c)) - mean[c]);
  }
}

template <typename Element, typename Sum>
DTRAIN_INLINE void input_row(Element *__restrict out, const Element *__restrict grad, const Element *__restrict x,
                             const Sum *__restrict slope, const Sum *__restrict offset, const Sum *__restrict of_grad,
                             const Sum *__restrict of_input, const Sum *__restrict constant, int64_t channels) {
  for (int64_t c = 0; c < channels; ++c) {
    const Sum delta = open_gradient<Element, Sum>(grad + c, x + c, nullptr, slope[c], offset[c]);
    store(out + c, of_grad[c] * delta + (of_input[c] * load(x + c) + constant[c]));
  }
}

// All three over several rows, for one pair of types; each case of a pointer that may be null has a loop of its own.
#define DTRAIN_ROWS(suffix, Element, Sum)                                                                              \
  DTRAIN_VECTORIZED void forward_##suffix(void *out, const void *x, const void *shortcut, const void *slope,           \
                                          const void *offset, int64_t rows, int64_t channels) {                        \
    auto *to = static_cast<Element *>(out);                                                                            \
    const auto *from = static_cast<const Element *>(x), *other = static_cast<const Element *>(shortcut);               \
    const auto *a = static_cast<const Sum *>(slope), *b = static_cast<const Sum *>(offset);                            \
    if (other == nullptr)                                                                                              \
      for (int64_t row = 0; row < rows; ++row, to += channels, from += channels)                                       \
        forward_row<Element, Sum>(to, from, nullptr, a, b, channels);                                                  \
    else                                                                                                               \
      for (int64_t row = 0; row < rows; ++row, to += channels, from += channels, other += channels)                    \
        forward_row<Element, Sum>(to, from, other, a, b, channels);                                                    \
  }                                                                                                                    \
  DTRAIN_VECTORIZED void sums_##suffix(void *of_grad, void *of_product, void *opened, const void *grad, const void *x, \
                                       const void *output, const void *slope, const void *offset, const void *mean,    \
                                       int64_t rows, int64_t channels) {                                               \
    auto *first = static_cast<Sum *>(of_grad), *second = static_cast<Sum *>(of_product);                               \
    const auto *dy = static_cast<const Element *>(grad), *from = static_cast<const Element *>(x);                      \
    const auto *a = static_cast<const Sum *>(slope), *b = static_cast<const Sum *>(offset),                            \
               *m = static_cast<const Sum *>(mean);                                                                    \
    auto *to = static_cast<Element *>(opened);                                                                         \
    const auto *y = static_cast<const Element *>(output);                                                              \
    if (y == nullptr)                                                                                                  \
      for (int64_t row = 0; row < rows; ++row, dy += channels, from += channels)                                       \
        sums_row<Element, Sum>(first, second, nullptr, dy, from, nullptr, a, b, m, channels);                          \
    else                                                                                                               \
      for (int64_t row = 0; row < rows; ++row, to += channels, dy += channels, from += channels, y += channels)        \
        sums_row<Element, Sum>(first, second, to, dy, from, y, a, b, m, channels);                                     \
  }                                                                                                                    \
  DTRAIN_VECTORIZED void input_##suffix(void *out, const void *grad, const void *x, const void *slope,                 \
                                        const void *offset, const void *of_grad, const void *of_input,                 \
                                        const void *constant, int64_t rows, int64_t channels) {                        \
    auto *to = static_cast<Element *>(out);                                                                            \
    const auto *dy = static_cast<const Element *>(grad), *from = static_cast<const Element *>(x);                      \
    const auto *a = static_cast<const Sum *>(slope), *b = static_cast<const Sum *>(offset);                            \
    const auto *g = static_cast<const Sum *>(of_grad), *i = static_cast<const Sum *>(of_input),                        \
               *k = static_cast<const Sum *>(constant);                                                                \
    for (int64_t row = 0; row < rows; ++row, to += channels, dy += channels, from += channels)                         \
      input_row<Element, Sum>(to, dy, from, a, b, g, i, k, channels);                                                  \
  }
DTRAIN_ROWS(bf16, uint16_t, float)
DTRAIN_ROWS(f32, float, float)
DTRAIN_ROWS(f64, double, double)
#undef DTRAIN_ROWS

struct Kernels {
  decltype(&forward_f32) forward;
  decltype(&sums_f32) sums;
  decltype(&input_f32) input;
};

// Null where there is none for the types.
const Kernels *kernels_for(at::ScalarType element, at::ScalarType sum) {
  static const Kernels bf16{&forward_bf16, &sums_bf16, &input_bf16}, f32{&forward_f32, &sums_f32, &input_f32},
      f64{&forward_f64, &sums_f64, &input_f64};
  return kernel_for(element, sum, bf16, f32, f64);
}

// Sums over this rank's rows, f64: of the gradient before ReLU and of its product with the centred input. `opened`
// receives that gradient where there was a shortcut.
Tensor gradient_sums(const Kernels &kernels, const Tensor &opened, const Tensor &grad, const Tensor &input,
                     const Tensor &output, const Tensor &slope, const Tensor &offset, const Tensor &mean) {
  const auto rows = rows_of(input);
  const auto channels = rows.channels;
  auto totals = at::zeros({num_chunks(rows.rows, channels), 2, channels}, input.options().dtype(at::kDouble));
  for_chunks(rows.rows, rows.channels, [&](int64_t chunk, int64_t begin, int64_t end) {
    auto block = at::zeros({2, channels}, slope.options());
    auto total = totals[chunk];
    for (auto row = begin; row < end; row += kBlockRows) {
      block.zero_();
      kernels.sums(at_row(block, 0, channels), at_row(block, 1, channels), at_row(opened, row, channels),
                   at_row(grad, row, channels), at_row(input, row, channels), at_row(output, row, channels),
                   slope.data_ptr(), offset.data_ptr(), mean.data_ptr(), std::min(kBlockRows, end - row), channels);
      total.add_(block);
    }
  });
  return totals.sum(0).view({2 * channels});
}

struct FusedNormRelu : torch::autograd::Function<FusedNormRelu> {
  static Tensor forward(AutogradContext *context, const Tensor &input, const Tensor &weight, const Tensor &bias,
                        const std::optional<Tensor> &added, const Statistics &statistics, double epsilon,
                        const c10::intrusive_ptr<SumCallback> &all_ranks) {
    const auto shortcut = added.value_or(Tensor());
    const auto map = normalization(weight, bias, statistics, epsilon);
    auto output = at::empty_like(input);
    const auto rows = rows_of(input);
    const auto &kernels = *kernels_for(input.scalar_type(), weight.scalar_type());
    for_chunks(rows.rows, rows.channels, [&](int64_t, int64_t begin, int64_t end) {
      kernels.forward(at_row(output, begin, rows.channels), at_row(input, begin, rows.channels),
                      at_row(shortcut, begin, rows.channels), map.slope.data_ptr(), map.offset.data_ptr(), end - begin,
                      rows.channels);
    });
    context->save_for_backward({input, weight, statistics.mean, statistics.var, statistics.count, map.slope, map.offset,
                                shortcut.defined() ? output : Tensor()});
    context->saved_data["epsilon"] = epsilon;
    context->saved_data["all_ranks"] = c10::IValue::make_capsule(all_ranks);
    return output;
  }

  static variable_list backward(AutogradContext *context, const variable_list &gradients) {
    TORCH_CHECK(!at::GradMode::is_enabled(), "fused batch norm has no second derivative");
    const NoAutocast no_autocast(c10::autocast_dispatch_keyset);
    const auto saved = context->get_saved_variables();
    const Tensor &input = saved[0], &weight = saved[1], &mean = saved[2], &var = saved[3], &count = saved[4],
                 &slope = saved[5], &offset = saved[6], &output = saved[7];
    const double epsilon = context->saved_data["epsilon"].toDouble();
    const auto capsule = context->saved_data["all_ranks"].toCapsule();
    const auto &kernels = *kernels_for(input.scalar_type(), weight.scalar_type());
    const auto grad = gradients[0].to(input.scalar_type()).contiguous(input.suggest_memory_format());
    const auto rows = rows_of(input);

    const auto opened = output.defined() ? at::empty_like(input) : Tensor();
    auto sums = gradient_sums(kernels, opened, grad, input, output, slope, offset, mean.to(slope.scalar_type()));
    const auto own = sums_over_ranks(&sums, var, epsilon, weight, static_cast<const SumCallback &>(*capsule));

    Tensor grad_input;
    if (context->needs_input_grad(0)) {
      const auto affine = input_gradient(sums, weight, mean, var, count, epsilon);
      if (opened.defined()) {
        grad_input = affine_of_two(opened, input, affine.of_grad, affine.of_input, affine.constant);
      } else {
        grad_input = at::empty_like(input);
        for_chunks(rows.rows, rows.channels, [&](int64_t, int64_t begin, int64_t end) {
          kernels.input(at_row(grad_input, begin, rows.channels), at_row(grad, begin, rows.channels),
                        at_row(input, begin, rows.channels), slope.data_ptr(), offset.data_ptr(),
                        affine.of_grad.data_ptr(), affine.of_input.data_ptr(), affine.constant.data_ptr(),
                        end - begin, rows.channels);
        });
      }
    }
    return {grad_input, own.weight, own.bias, opened, Tensor(), Tensor(), Tensor()};
  }
};

} // namespace

bool can_fuse(const Tensor &input, const Tensor &weight, const Tensor &shortcut) {
  const auto fits = [&](const Tensor &tensor) {
    return has_own_kernels(tensor) && is_channels_last(tensor) && tensor.scalar_type() == input.scalar_type() &&
           tensor.sizes() == input.sizes();
  };
  return fits(input) && (!shortcut.defined() || fits(shortcut)) &&
         kernels_for(input.scalar_type(), weight.scalar_type()) != nullptr;
}

Tensor fused_norm_relu(const Tensor &input, const Tensor &weight, const Tensor &bias, const Tensor &shortcut,
                       const Statistics &statistics, double epsilon,
                       const c10::intrusive_ptr<SumCallback> &all_ranks) {
  // An argument that is no tensor has to say so.
  const auto added = shortcut.defined() ? std::make_optional(shortcut) : std::nullopt;
  return FusedNormRelu::apply(input, weight, bias, added, statistics, epsilon, all_ranks);
}
