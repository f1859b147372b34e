#include "autocast.h"
#include "cuda_contract.h"
#include "guarded.h"
#include "operators.h"

#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

// oneDNN computes a weight's gradient in bf16 at half the speed of the other two products where the output is small or
// strided. There, one matrix product per position of the kernel is up to three times as fast: it leaves out what falls on
// the padding, which is half of the work of a 3x3 kernel on an output of 2x4.
namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Fewer input channels make the products too thin to pay for copying their operands. Measured, as is the share below, on
// a Zen 4 (docs/benchmarks.md).
constexpr int64_t kFewestChannels = 128;
// Products by position pay where at most this share of the kernel's positions lies within the input.
constexpr double kLargestShare = 0.7;

// Outputs, along one axis, for which position `tap` of the kernel lies within the input.
struct Span {
  int64_t begin, end;
};

Span span_of(int64_t tap, int64_t size, int64_t output, int64_t stride, int64_t padding) {
  const auto begin = std::max<int64_t>(0, (padding - tap + stride - 1) / stride);
  const auto reach = size - 1 + padding - tap;
  const auto end = reach < 0 ? 0 : std::min(output, reach / stride + 1);
  return {std::min(begin, std::max<int64_t>(end, 0)), std::max<int64_t>(end, 0)};
}

double share_within(int64_t kernel, int64_t size, int64_t output, int64_t stride, int64_t padding) {
  int64_t inside = 0;
  for (int64_t tap = 0; tap < kernel; ++tap) {
    const auto span = span_of(tap, size, output, stride, padding);
    inside += span.end - span.begin;
  }
  return static_cast<double>(inside) / static_cast<double>(std::max<int64_t>(1, kernel * output));
}

bool pays_by_position(const Tensor &input, const Tensor &grad, const Tensor &weight, int64_t stride, int64_t padding) {
  if (input.scalar_type() != at::kBFloat16 || weight.size(1) < kFewestChannels || grad.numel() == 0)
    return false;
  const auto share = [&](int axis) {
    return share_within(weight.size(axis), input.size(axis), grad.size(axis), stride, padding);
  };
  return stride > 1 || share(2) * share(3) <= kLargestShare;
}

// (out, in, height, width) with the strides of (height, width, out, in); sums are kept in f32 and rounded once.
Tensor weight_gradient(const Tensor &input, const Tensor &grad, const Tensor &weight, int64_t stride, int64_t padding) {
  const auto outputs = weight.size(0), inputs = weight.size(1), height = weight.size(2), width = weight.size(3);
  auto gradient = at::empty({height, width, outputs, inputs}, weight.options());
  const auto pixels = input.permute({0, 2, 3, 1}), deltas = grad.permute({0, 2, 3, 1});
  const auto part = [&](const Tensor &image, int64_t axis, const Span &span, int64_t tap) {
    const auto first = span.begin * stride + tap - padding;
    return image.slice(axis, first, first + (span.end - span.begin - 1) * stride + 1, stride);
  };
  for (int64_t row = 0; row < height; ++row) {
    const auto rows = span_of(row, input.size(2), grad.size(2), stride, padding);
    for (int64_t column = 0; column < width; ++column) {
      const auto columns = span_of(column, input.size(3), grad.size(3), stride, padding);
      auto product = gradient[row][column];
      if (rows.begin == rows.end || columns.begin == columns.end) {
        product.zero_();
        continue;
      }
      const auto seen = part(part(pixels, 1, rows, row), 2, columns, column).reshape({-1, inputs});
      const auto delta =
          deltas.slice(1, rows.begin, rows.end).slice(2, columns.begin, columns.end).reshape({-1, outputs});
      at::mm_out(product, delta.t(), seen);
    }
  }
  return gradient.permute({2, 3, 0, 1});
}

struct Convolution : torch::autograd::Function<Convolution> {
  static Tensor forward(AutogradContext *context, const Tensor &input, const Tensor &weight, int64_t stride,
                        int64_t padding) {
    at::AutoDispatchBelowADInplaceOrView guard;
    context->save_for_backward({input, weight});
    context->saved_data["stride"] = stride;
    context->saved_data["padding"] = padding;
    const int64_t strides[] = {stride, stride}, paddings[] = {padding, padding};
    return at::conv2d(input, weight, {}, strides, paddings);
  }

  static variable_list backward(AutogradContext *context, const variable_list &gradients) {
    const auto saved = context->get_saved_variables();
    const Tensor &input = saved[0], &weight = saved[1];
    const auto stride = context->saved_data["stride"].toInt(), padding = context->saved_data["padding"].toInt();
    const auto grad = gradients[0].contiguous(at::MemoryFormat::ChannelsLast);
    // Products into given tensors have no derivative; a double backward takes libtorch's way.
    const bool by_position = context->needs_input_grad(1) && !at::GradMode::is_enabled() &&
                             pays_by_position(input, grad, weight, stride, padding);
    auto [of_input, of_weight, of_bias] = at::convolution_backward(
        grad, input, weight, at::OptionalIntArrayRef(), {stride, stride}, {padding, padding}, {1, 1},
        /*transposed=*/false, {0, 0}, /*groups=*/1,
        {context->needs_input_grad(0), context->needs_input_grad(1) && !by_position, false});
    if (by_position)
      of_weight = weight_gradient(input, grad, weight, stride, padding);
    return {of_input, of_weight, Tensor(), Tensor()};
  }
};

} // namespace

char *dtrain_conv2d(const Tensor *input, const Tensor *weight, int64_t stride, int64_t padding, Tensor **output) {
  return guarded([&] {
    TORCH_CHECK(input->dim() == 4 && weight->dim() == 4 && input->size(1) == weight->size(1),
                "convolution of ", input->sizes(), " by ", weight->sizes());
    const bool reduced = has_own_kernels(*input) && autocast_type_of_cpus() == at::kBFloat16;
    if (!reduced || !at::GradMode::is_enabled()) {
      const int64_t strides[] = {stride, stride}, paddings[] = {padding, padding};
      *output = new Tensor(at::conv2d(*input, *weight, {}, strides, paddings));
      return;
    }
    const auto x = cast_by_autocast(*input);
    const auto w = cast_by_autocast(*weight);
    const NoAutocast no_autocast(c10::autocast_dispatch_keyset);
    *output = new Tensor(Convolution::apply(x, w, stride, padding));
  });
}
