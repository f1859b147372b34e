// a * x + b * y + c per channel, the last pass of batch norm's backward, in one pass over memory.
#pragma once

#include <ATen/core/Tensor.h>

// `x` and `y` are (N, C, ...), of one type and shape, and `a`, `b`, `c` (C) of the type of batch norm's weight. The
// result has the type of `x` and the memory format of `y`; sums are taken in the type of `a`.
at::Tensor affine_of_two(const at::Tensor &x, const at::Tensor &y, const at::Tensor &a, const at::Tensor &b,
                         const at::Tensor &c);
