#include "guarded.h"
#include "operators.h"

#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <cstdlib>
#include <memory>

namespace {

using at::Tensor;
using torch::autograd::variable_list;
using GradientCallback = Shared<dtrain_gradient_callback>;

struct GradientHook : torch::autograd::FunctionPostHook {
  GradientHook(c10::intrusive_ptr<GradientCallback> callback, size_t index)
      : callback(std::move(callback)), index(index) {}

  variable_list operator()(const variable_list &outputs, const variable_list &) override {
    callback->call(index);
    return outputs;
  }

  c10::intrusive_ptr<GradientCallback> callback;
  size_t index;
};

// The leaf holds its accumulator weakly; without an owner the hook would vanish with the graph.
struct HookHandle {
  std::shared_ptr<torch::autograd::Node> accumulator;
  uintptr_t key;
};

// Not on the heap: it says that there was no room for another.
char no_memory[] = "not enough memory, not even for the message that says what failed";

} // namespace

char *dtrain_message(const char *text, char *(*duplicate)(const char *)) noexcept {
  char *message = duplicate(text);
  return message != nullptr ? message : no_memory;
}

void dtrain_free_message(char *message) noexcept {
  if (message != no_memory)
    std::free(message);
}

char *dtrain_set_grad(const Tensor *leaf, const Tensor *gradient) {
  return guarded([&] {
    TORCH_CHECK(leaf->is_leaf() && leaf->requires_grad(), "only a leaf that requires a gradient can be given one");
    TORCH_CHECK(leaf->sizes() == gradient->sizes() && leaf->options().type_equal(gradient->options()) &&
                    leaf->device() == gradient->device() && !gradient->requires_grad(),
                "a gradient has the shape, the type and the device of its leaf: ", leaf->sizes(), " ",
                leaf->toString(), ", not ", gradient->sizes(), " ", gradient->toString());
    leaf->mutable_grad() = *gradient;
  });
}

char *dtrain_add_gradient_hook(const Tensor *leaf, size_t index, dtrain_gradient_callback callback, void **hook) {
  return guarded([&] {
    const auto shared = c10::make_intrusive<GradientCallback>(callback);
    TORCH_CHECK(leaf->is_leaf() && leaf->requires_grad(), "only a leaf that requires a gradient can have a hook");
    auto handle = std::make_unique<HookHandle>();
    handle->accumulator = torch::autograd::impl::grad_accumulator(*leaf);
    handle->key = handle->accumulator->add_post_hook(std::make_unique<GradientHook>(shared, index));
    *hook = handle.release();
  });
}

char *dtrain_remove_gradient_hook(void *hook) {
  return guarded([&] {
    const std::unique_ptr<HookHandle> handle(static_cast<HookHandle *>(hook));
    handle->accumulator->del_post_hook(handle->key);
  });
}
