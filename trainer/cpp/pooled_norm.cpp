#include "autocast.h"
#include "batch_norm.h"
#include "cuda_contract.h"
#include "elements.h"
#include "operators.h"
#include "rows.h"

#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <array>
#include <cstdint>

// Batch norm, ReLU, and the maximum of each 2x2 window, in one pass over memory after the statistics; backward in two, of
// which the first reads what the windows chose. libtorch's max-pooling keeps an index of 8 bytes a window, zeroes a
// gradient of the input's size, and copies channels-last tensors to another layout and back in backward.
namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// A window where ReLU is closed; else the number of its largest element, row by row, the first among equals.
constexpr uint8_t kClosed = 4;

// A line of windows lies over two lines of the input. A line or a column that is left over belongs to no window.
struct Windows {
  int64_t samples, height, width, channels;

  int64_t lines() const { return samples * (height / 2); }
  int64_t columns() const { return width / 2; }
  // The row of the input's rows where the two lines of a line of windows begin.
  int64_t input_row(int64_t line) const { return (line / (height / 2) * height + line % (height / 2) * 2) * width; }
  int64_t output_row(int64_t line) const { return line * columns(); }
  // Elements of the input below a line of windows.
  int64_t line_size() const { return 2 * width * channels; }
};

Windows windows_of(const Tensor &input) { return {input.size(0), input.size(2), input.size(3), input.size(1)}; }

template <typename Element, typename Sum>
DTRAIN_INLINE void forward_window(Element *__restrict out, uint8_t *__restrict chosen, const Element *__restrict top,
                                  const Element *__restrict bottom, const Sum *__restrict slope,
                                  const Sum *__restrict offset, int64_t channels) {
  for (int64_t c = 0; c < channels; ++c) {
    const Sum a = slope[c], b = offset[c];
    const Sum second = a * load(top + channels + c) + b, third = a * load(bottom + c) + b,
              fourth = a * load(bottom + channels + c) + b;
    Sum best = a * load(top + c) + b;
    int32_t number = 0;
    number = second > best || second != second ? 1 : number;
    best = second > best || second != second ? second : best;
    number = third > best || third != third ? 2 : number;
    best = third > best || third != third ? third : best;
    number = fourth > best || fourth != fourth ? 3 : number;
    best = fourth > best || fourth != fourth ? fourth : best;
    const bool open = best > 0 || best != best;
    store(out + c, open ? best : Sum(0));
    chosen[c] = static_cast<uint8_t>(open ? number : kClosed);
  }
}

template <typename Element, typename Sum>
DTRAIN_INLINE void sums_window(Sum *__restrict of_grad, Sum *__restrict of_product, const Element *__restrict grad,
                               const uint8_t *__restrict chosen, const Element *__restrict top,
                               const Element *__restrict bottom, const Sum *__restrict mean, int64_t channels) {
  for (int64_t c = 0; c < channels; ++c) {
    const int32_t number = chosen[c];
    const Sum first = load(top + c), second = load(top + channels + c), third = load(bottom + c),
              fourth = load(bottom + channels + c);
    Sum x = number == 1 ? second : first;
    x = number == 2 ? third : x;
    x = number == 3 ? fourth : x;
    const Sum delta = number == kClosed ? Sum(0) : Sum(load(grad + c));
    of_grad[c] += delta;
    of_product[c] += delta * (x - mean[c]);
  }
}

// The gradient of input `number` of a window.
template <typename Element, typename Sum>
DTRAIN_INLINE void input_element(Element *__restrict out, const Element *__restrict grad,
                                 const uint8_t *__restrict chosen, int32_t number, const Element *__restrict x,
                                 const Sum *__restrict of_grad, const Sum *__restrict of_input,
                                 const Sum *__restrict constant, int64_t channels) {
  for (int64_t c = 0; c < channels; ++c) {
    const Sum delta = chosen[c] == number ? Sum(load(grad + c)) : Sum(0);
    store(out + c, of_grad[c] * delta + (of_input[c] * load(x + c) + constant[c]));
  }
}

// The gradient of an input that belongs to no window.
template <typename Element, typename Sum>
DTRAIN_INLINE void input_outside(Element *__restrict out, const Element *__restrict x, const Sum *__restrict of_input,
                                 const Sum *__restrict constant, int64_t channels) {
  for (int64_t c = 0; c < channels; ++c)
    store(out + c, of_input[c] * load(x + c) + constant[c]);
}

// All of them over a line of windows, for one pair of types; `columns` windows, `width` inputs in each of the two lines.
#define DTRAIN_LINES(suffix, Element, Sum)                                                                             \
  DTRAIN_VECTORIZED void forward_##suffix(void *out, uint8_t *chosen, const void *x, const void *slope,                \
                                          const void *offset, int64_t columns, int64_t width, int64_t channels) {      \
    auto *to = static_cast<Element *>(out);                                                                            \
    const auto *top = static_cast<const Element *>(x), *bottom = top + width * channels;                               \
    for (int64_t column = 0; column < columns; ++column)                                                               \
      forward_window<Element, Sum>(to + column * channels, chosen + column * channels, top + 2 * column * channels,    \
                                   bottom + 2 * column * channels, static_cast<const Sum *>(slope),                    \
                                   static_cast<const Sum *>(offset), channels);                                        \
  }                                                                                                                    \
  DTRAIN_VECTORIZED void sums_##suffix(void *of_grad, void *of_product, const void *grad, const uint8_t *chosen,       \
                                       const void *x, const void *mean, int64_t columns, int64_t width,                \
                                       int64_t channels) {                                                             \
    const auto *dy = static_cast<const Element *>(grad);                                                               \
    const auto *top = static_cast<const Element *>(x), *bottom = top + width * channels;                               \
    for (int64_t column = 0; column < columns; ++column)                                                               \
      sums_window<Element, Sum>(static_cast<Sum *>(of_grad), static_cast<Sum *>(of_product), dy + column * channels,   \
                                chosen + column * channels, top + 2 * column * channels,                               \
                                bottom + 2 * column * channels, static_cast<const Sum *>(mean), channels);             \
  }                                                                                                                    \
  DTRAIN_VECTORIZED void input_##suffix(void *out, const void *grad, const uint8_t *chosen, const void *x,             \
                                        const void *of_grad, const void *of_input, const void *constant,               \
                                        int64_t columns, int64_t width, int64_t channels) {                            \
    auto *to = static_cast<Element *>(out);                                                                            \
    const auto *dy = static_cast<const Element *>(grad), *from = static_cast<const Element *>(x);                      \
    const auto *g = static_cast<const Sum *>(of_grad), *i = static_cast<const Sum *>(of_input),                        \
               *k = static_cast<const Sum *>(constant);                                                                \
    for (int32_t line = 0; line < 2; ++line, to += width * channels, from += width * channels) {                       \
      for (int64_t column = 0; column < columns; ++column)                                                             \
        for (int32_t side = 0; side < 2; ++side) {                                                                     \
          const auto at = (2 * column + side) * channels;                                                              \
          input_element<Element, Sum>(to + at, dy + column * channels, chosen + column * channels, 2 * line + side,    \
                                      from + at, g, i, k, channels);                                                   \
        }                                                                                                              \
      for (int64_t at = 2 * columns; at < width; ++at)                                                                 \
        input_outside<Element, Sum>(to + at * channels, from + at * channels, i, k, channels);                         \
    }                                                                                                                  \
  }                                                                                                                    \
  DTRAIN_VECTORIZED void outside_##suffix(void *out, const void *x, const void *of_input, const void *constant,        \
                                          int64_t width, int64_t channels) {                                           \
    auto *to = static_cast<Element *>(out);                                                                            \
    const auto *from = static_cast<const Element *>(x);                                                                \
    for (int64_t at = 0; at < width; ++at)                                                                             \
      input_outside<Element, Sum>(to + at * channels, from + at * channels, static_cast<const Sum *>(of_input),        \
                                  static_cast<const Sum *>(constant), channels);                                       \
  }
DTRAIN_LINES(bf16, uint16_t, float)
DTRAIN_LINES(f32, float, float)
DTRAIN_LINES(f64, double, double)
#undef DTRAIN_LINES

struct Kernels {
  decltype(&forward_f32) forward;
  decltype(&sums_f32) sums;
  decltype(&input_f32) input;
  decltype(&outside_f32) outside;
};

// Null where there is none for the types.
const Kernels *kernels_for(at::ScalarType element, at::ScalarType sum) {
  static const Kernels bf16{&forward_bf16, &sums_bf16, &input_bf16, &outside_bf16},
      f32{&forward_f32, &sums_f32, &input_f32, &outside_f32}, f64{&forward_f64, &sums_f64, &input_f64, &outside_f64};
  return kernel_for(element, sum, bf16, f32, f64);
}

uint8_t *numbers_at(const Tensor &chosen, int64_t row, int64_t channels) {
  return reinterpret_cast<uint8_t *>(at_row(chosen, row, channels));
}

// Sums over this rank's windows, f64: of the gradient and of its product with the centred input that was chosen.
Tensor gradient_sums(const Kernels &kernels, const Tensor &grad, const Tensor &chosen, const Tensor &input,
                     const Tensor &mean) {
  const auto windows = windows_of(input);
  const auto channels = windows.channels, lines = windows.lines();
  auto totals =
      at::zeros({num_chunks(lines, windows.line_size()), 2, channels}, input.options().dtype(at::kDouble));
  const auto block_lines = std::max<int64_t>(1, kBlockRows / std::max<int64_t>(1, windows.columns()));
  for_chunks(lines, windows.line_size(), [&](int64_t chunk, int64_t begin, int64_t end) {
    auto block = at::zeros({2, channels}, mean.options());
    auto total = totals[chunk];
    for (auto line = begin; line < end; ++line) {
      const auto row = windows.output_row(line);
      kernels.sums(at_row(block, 0, channels), at_row(block, 1, channels), at_row(grad, row, channels),
                   numbers_at(chosen, row, channels), at_row(input, windows.input_row(line), channels), mean.data_ptr(),
                   windows.columns(), windows.width, channels);
      if ((line + 1 - begin) % block_lines == 0 || line + 1 == end) {
        total.add_(block);
        block.zero_();
      }
    }
  });
  return totals.sum(0).view({2 * channels});
}

Tensor gradient_of_input(const Kernels &kernels, const Tensor &grad, const Tensor &chosen, const Tensor &input,
                         const InputGradient &affine) {
  const auto windows = windows_of(input);
  const auto channels = windows.channels;
  auto result = at::empty_like(input);
  for_chunks(windows.lines(), windows.line_size(), [&](int64_t, int64_t begin, int64_t end) {
    for (auto line = begin; line < end; ++line) {
      const auto row = windows.input_row(line), output_row = windows.output_row(line);
      kernels.input(at_row(result, row, channels), at_row(grad, output_row, channels),
                    numbers_at(chosen, output_row, channels), at_row(input, row, channels), affine.of_grad.data_ptr(),
                    affine.of_input.data_ptr(), affine.constant.data_ptr(), windows.columns(), windows.width, channels);
    }
  });
  if (windows.height % 2 == 1) {
    for (int64_t sample = 0; sample < windows.samples; ++sample) {
      const auto row = ((sample + 1) * windows.height - 1) * windows.width;
      kernels.outside(at_row(result, row, channels), at_row(input, row, channels), affine.of_input.data_ptr(),
                      affine.constant.data_ptr(), windows.width, channels);
    }
  }
  return result;
}

struct PooledNormRelu : torch::autograd::Function<PooledNormRelu> {
  static Tensor forward(AutogradContext *context, const Tensor &input, const Tensor &weight, const Tensor &bias,
                        const Statistics &statistics, double epsilon,
                        const c10::intrusive_ptr<SumCallback> &all_ranks) {
    const auto map = normalization(weight, bias, statistics, epsilon);
    const auto windows = windows_of(input);
    const auto channels = windows.channels;
    const std::array<int64_t, 4> sizes{windows.samples, channels, windows.height / 2, windows.width / 2};
    auto output = at::empty(sizes, input.options(), at::MemoryFormat::ChannelsLast);
    auto chosen = at::empty(sizes, input.options().dtype(at::kByte), at::MemoryFormat::ChannelsLast);
    const auto &kernels = *kernels_for(input.scalar_type(), weight.scalar_type());
    for_chunks(windows.lines(), windows.line_size(), [&](int64_t, int64_t begin, int64_t end) {
      for (auto line = begin; line < end; ++line) {
        const auto row = windows.output_row(line);
        kernels.forward(at_row(output, row, channels), numbers_at(chosen, row, channels),
                        at_row(input, windows.input_row(line), channels), map.slope.data_ptr(), map.offset.data_ptr(),
                        windows.columns(), windows.width, channels);
      }
    });
    context->save_for_backward({input, weight, statistics.mean, statistics.var, statistics.count, chosen});
    context->saved_data["epsilon"] = epsilon;
    context->saved_data["all_ranks"] = c10::IValue::make_capsule(all_ranks);
    return output;
  }

  // The gradients of weight and bias stay sums over this rank's samples.
  static variable_list backward(AutogradContext *context, const variable_list &gradients) {
    TORCH_CHECK(!at::GradMode::is_enabled(), "fused batch norm has no second derivative");
    const NoAutocast no_autocast(c10::autocast_dispatch_keyset);
    const auto saved = context->get_saved_variables();
    const Tensor &input = saved[0], &weight = saved[1], &mean = saved[2], &var = saved[3], &count = saved[4],
                 &chosen = saved[5];
    const double epsilon = context->saved_data["epsilon"].toDouble();
    const auto capsule = context->saved_data["all_ranks"].toCapsule();
    const auto &kernels = *kernels_for(input.scalar_type(), weight.scalar_type());
    const auto grad = gradients[0].to(input.scalar_type()).contiguous(at::MemoryFormat::ChannelsLast);

    auto sums = gradient_sums(kernels, grad, chosen, input, mean.to(weight.scalar_type()));
    const auto own = sums_over_ranks(&sums, var, epsilon, weight, static_cast<const SumCallback &>(*capsule));
    Tensor grad_input;
    if (context->needs_input_grad(0)) {
      const auto affine = input_gradient(sums, weight, mean, var, count, epsilon);
      grad_input = gradient_of_input(kernels, grad, chosen, input, affine);
    }
    return {grad_input, own.weight, own.bias, Tensor(), Tensor(), Tensor()};
  }
};

} // namespace

bool can_pool(const Tensor &input, const Tensor &weight) {
  return has_own_kernels(input) && input.dim() == 4 && is_channels_last(input) && input.size(2) >= 2 &&
         input.size(3) >= 2 && kernels_for(input.scalar_type(), weight.scalar_type()) != nullptr;
}

Tensor pooled_norm_relu(const Tensor &input, const Tensor &weight, const Tensor &bias, const Statistics &statistics,
                        double epsilon, const c10::intrusive_ptr<SumCallback> &all_ranks) {
  return PooledNormRelu::apply(input, weight, bias, statistics, epsilon, all_ranks);
}
