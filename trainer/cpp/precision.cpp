#include "autocast.h"
#include "torch_extra.h"

#include <ATen/Context.h>
#include <ATen/autocast_mode.h>

std::optional<at::ScalarType> autocast_type_of_cpus() {
  if (!at::autocast::is_autocast_enabled(at::kCPU))
    return std::nullopt;
  return at::autocast::get_autocast_dtype(at::kCPU);
}

at::Tensor cast_by_autocast(const at::Tensor &tensor) {
  return at::autocast::cached_cast(at::autocast::get_autocast_dtype(at::kCPU), tensor, at::kCPU);
}

// State of autocast belongs to a thread. Converted weights are kept only where gradients are recorded: one that was
// converted without would be found again by a pass that needs its gradient.
dtrain_autocast_state dtrain_autocast_enter(int device_type, int dtype) noexcept {
  const auto device = static_cast<c10::DeviceType>(device_type);
  const dtrain_autocast_state previous{at::autocast::is_autocast_enabled(device),
                                       at::autocast::is_autocast_cache_enabled(),
                                       static_cast<int>(at::autocast::get_autocast_dtype(device))};
  if (dtype >= 0)
    at::autocast::set_autocast_dtype(device, static_cast<c10::ScalarType>(dtype));
  at::autocast::set_autocast_enabled(device, dtype >= 0);
  at::autocast::set_autocast_cache_enabled(at::GradMode::is_enabled());
  at::autocast::increment_nesting();
  return previous;
}

void dtrain_autocast_leave(int device_type, dtrain_autocast_state previous) noexcept {
  const auto device = static_cast<c10::DeviceType>(device_type);
  if (at::autocast::decrement_nesting() == 0)
    at::autocast::clear_cache();
  at::autocast::set_autocast_dtype(device, static_cast<c10::ScalarType>(previous.dtype));
  at::autocast::set_autocast_enabled(device, previous.enabled);
  at::autocast::set_autocast_cache_enabled(previous.cache);
}

void dtrain_set_tf32(bool allowed) noexcept {
  at::globalContext().setAllowTF32CuBLAS(allowed);
  at::globalContext().setAllowTF32CuDNN(allowed);
}

void dtrain_set_deterministic(bool deterministic) noexcept {
  auto &context = at::globalContext();
  context.setDeterministicCuDNN(deterministic);
  context.setBenchmarkCuDNN(!deterministic);
  // What has no deterministic kernel on a GPU is an error with its name.
  context.setDeterministicAlgorithms(deterministic, /*warn_only=*/false);
  // It would fill each new tensor with NaN too, which tells nothing to those who write before they read.
  context.setDeterministicFillUninitializedMemory(false);
}
