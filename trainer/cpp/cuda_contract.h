// What libtorch's CUDA kernels demand of their arguments and its CPU kernels do not, checked on machines without a GPU.
#pragma once

#include <ATen/core/Tensor.h>

// Whether this thread computes as on a GPU, which dtrain_cuda_contract_begin makes it do: through libtorch's operators
// alone.
bool computes_as_on_cuda() noexcept;

// Whether the kernels of this folder, which are for CPUs, may take `tensor`.
inline bool has_own_kernels(const at::Tensor &tensor) { return tensor.device().is_cpu() && !computes_as_on_cuda(); }
