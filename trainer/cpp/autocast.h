// Autocast without its header, which includes all of libtorch's operators.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/DispatchKeySet.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include <optional>

// Made with c10::autocast_dispatch_keyset: what is called while it lives is not autocast.
using NoAutocast = c10::impl::ExcludeDispatchKeyGuard;

// The type to which CPU tensors are autocast on this thread; none where autocast is off.
std::optional<at::ScalarType> autocast_type_of_cpus();

// A CPU tensor in the type that autocast has for it; weights are converted once for all operators of a pass.
at::Tensor cast_by_autocast(const at::Tensor &tensor);
