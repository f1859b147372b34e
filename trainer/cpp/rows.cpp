#include "operators.h"
#include "rows.h"

#include <ATen/Parallel.h>
#include <ATen/TensorIterator.h>

#include <algorithm>

namespace {

// Elements that are worth a thread.
constexpr int64_t kGrain = 1 << 15;

} // namespace

int64_t num_chunks(int64_t count, int64_t size) {
  return std::clamp<int64_t>(count * size / kGrain, 1, at::get_num_threads());
}

// at::parallel_for is a template over OpenMP, which this file is compiled without; a tensor of one element a chunk takes
// the threads of libtorch itself.
void for_chunks(int64_t count, int64_t size, const std::function<void(int64_t, int64_t, int64_t)> &part) {
  const auto chunks = num_chunks(count, size);
  if (chunks == 1) {
    part(0, 0, count);
    return;
  }
  auto numbers = at::arange(chunks, at::kLong);
  auto iterator = at::TensorIteratorConfig()
                      .check_all_same_dtype(false)
                      .resize_outputs(false)
                      .add_output(numbers)
                      .build();
  iterator.for_each(
      [&](char **data, const int64_t *strides, int64_t size) {
        for (int64_t i = 0; i < size; ++i) {
          const auto chunk = *reinterpret_cast<const int64_t *>(data[0] + i * strides[0]);
          part(chunk, count * chunk / chunks, count * (chunk + 1) / chunks);
        }
      },
      /*grain_size=*/1);
}
