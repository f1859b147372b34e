#include "batch_norm.h"
#include "cuda_contract.h"
#include "elements.h"
#include "operators.h"
#include "rows.h"

#include <algorithm>

// Mean and variance of each channel in one pass over memory; libtorch's kernel takes two.
namespace {

using at::Tensor;

// Sums of the distances from `pivot` and of their squares.
template <typename Element, typename Sum>
DTRAIN_INLINE void moments_row(Sum *__restrict first, Sum *__restrict second, const Element *__restrict x,
                               const Sum *__restrict pivot, int64_t channels) {
  for (int64_t c = 0; c < channels; ++c) {
    const Sum distance = Sum(load(x + c)) - pivot[c];
    first[c] += distance;
    second[c] += distance * distance;
  }
}

#define DTRAIN_MOMENTS(suffix, Element, Sum)                                                                           \
  DTRAIN_VECTORIZED void moments_##suffix(void *first, void *second, const void *x, const void *pivot, int64_t rows,   \
                                          int64_t channels) {                                                          \
    const auto *from = static_cast<const Element *>(x);                                                                \
    for (int64_t row = 0; row < rows; ++row, from += channels)                                                         \
      moments_row<Element, Sum>(static_cast<Sum *>(first), static_cast<Sum *>(second), from,                           \
                                static_cast<const Sum *>(pivot), channels);                                            \
  }
DTRAIN_MOMENTS(bf16, uint16_t, float)
DTRAIN_MOMENTS(f32, float, float)
DTRAIN_MOMENTS(f64, double, double)
#undef DTRAIN_MOMENTS

} // namespace

std::optional<Moments> moments(const Tensor &input) {
  static const auto bf16 = &moments_bf16, f32 = &moments_f32, f64 = &moments_f64;
  const auto sum_type = input.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const auto *kernel = kernel_for(input.scalar_type(), sum_type, bf16, f32, f64);
  if (!has_own_kernels(input) || !is_channels_last(input) || kernel == nullptr)
    return std::nullopt;
  const auto [rows, channels] = rows_of(input);
  // Near the values, so that a mean far from zero costs no digits: the mean of the first sample's.
  const auto sample = input.narrow(0, 0, 1).to(at::kDouble).reshape({channels, -1});
  const auto pivot = sample.mean(at::IntArrayRef{1}).to(sum_type);
  auto totals = at::zeros({num_chunks(rows, channels), 2, channels}, input.options().dtype(at::kDouble));
  for_chunks(rows, channels, [&, channels = channels](int64_t chunk, int64_t begin, int64_t end) {
    auto block = at::zeros({2, channels}, pivot.options());
    auto total = totals[chunk];
    for (auto row = begin; row < end; row += kBlockRows) {
      (*kernel)(at_row(block, 0, channels), at_row(block, 1, channels), at_row(input, row, channels), pivot.data_ptr(),
                std::min(kBlockRows, end - row), channels);
      total.add_(block);
      block.zero_();
    }
  });
  const auto means = totals.sum(0) / static_cast<double>(rows);
  const auto shift = means[0];
  return Moments{shift + pivot, (means[1] - shift * shift).clamp_min(0)};
}
