// Tensors as rows of channels, and equal parts of them for libtorch's threads.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>

// Rows whose sums are kept in the type of the weight before they enter sums in f64.
constexpr int64_t kBlockRows = 128;

// A tensor (N, C, ...) with channels next to each other: `rows` positions of `channels` elements.
struct Rows {
  int64_t rows, channels;
};

inline Rows rows_of(const at::Tensor &tensor) { return {tensor.numel() / tensor.size(1), tensor.size(1)}; }

inline bool is_channels_last(const at::Tensor &tensor) {
  return tensor.dim() == 2 ? tensor.is_contiguous()
                           : tensor.dim() == 4 && tensor.is_contiguous(at::MemoryFormat::ChannelsLast);
}

// Null where the tensor is not defined.
inline char *at_row(const at::Tensor &tensor, int64_t row, int64_t channels) {
  return tensor.defined() ? static_cast<char *>(tensor.data_ptr()) + row * channels * tensor.element_size() : nullptr;
}

// Of the variants of a kernel, the one for elements and sums of these types; null where there is none.
template <typename Kernel>
const Kernel *kernel_for(at::ScalarType element, at::ScalarType sum, const Kernel &bf16, const Kernel &f32,
                         const Kernel &f64) {
  if (element == at::kBFloat16 && sum == at::kFloat)
    return &bf16;
  if (element != sum)
    return nullptr;
  return element == at::kFloat ? &f32 : element == at::kDouble ? &f64 : nullptr;
}

// Equal parts of `count` items of `size` elements each, as many as there is work for and threads.
int64_t num_chunks(int64_t count, int64_t size);

// Calls `part(chunk, begin, end)` for each of them, on libtorch's threads.
void for_chunks(int64_t count, int64_t size, const std::function<void(int64_t, int64_t, int64_t)> &part);
