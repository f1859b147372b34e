// The part of libtorch that tch does not bind, for src/torch_extra.rs.
//
// Every function returns null, or a message that the caller hands back to dtrain_free_message. No exception leaves
// this interface and none may enter it: callbacks return a status and write a message of at most `capacity` bytes
// into `message`. A callback's context is owned by this side from the call on, also when the call fails; `release`
// is called once, when nothing uses the context any more, on any thread.
#pragma once

#include <cstddef>
#include <cstdint>

namespace at {
class Tensor;
}

extern "C" {

void dtrain_free_message(char *message);

// Makes `gradient` the gradient of a leaf, without a copy: backward adds into it.
char *dtrain_set_grad(const at::Tensor *leaf, const at::Tensor *gradient);

// From now on the memory of large CPU tensors is kept and used again. Never fails; further calls do nothing.
void dtrain_keep_large_blocks();

struct dtrain_gradient_callback {
  void *context;
  int (*call)(void *context, size_t index, char *message, size_t capacity);
  void (*release)(void *context);
};

// Calls back with `index` each time that a backward has added to the gradient of `leaf`, until removed.
char *dtrain_add_gradient_hook(const at::Tensor *leaf, size_t index, dtrain_gradient_callback callback, void **hook);

void dtrain_remove_gradient_hook(void *hook);

struct dtrain_sum_callback {
  void *context;
  // Sums `sums` (f64, one-dimensional, contiguous, on the device of the input) over all ranks, in place.
  int (*call)(void *context, at::Tensor *sums, char *message, size_t capacity);
  void (*release)(void *context);
};

// Batch norm in training mode over the samples of all ranks. `input` is (N, C, ...), N may be 0; the running
// statistics may be null. `output` becomes a new tensor.
char *dtrain_sync_batch_norm(const at::Tensor *input, const at::Tensor *weight, const at::Tensor *bias,
                             const at::Tensor *running_mean, const at::Tensor *running_var, double momentum,
                             double epsilon, dtrain_sum_callback callback, at::Tensor **output);

// A part of all parameters with its gradient and moments, of equal length, that has taken `steps` steps including this
// one.
struct dtrain_adamw_run {
  const at::Tensor *weights, *gradients, *first, *second;
  double steps;
};

// One step of AdamW in libtorch's fused kernel: each element is read and written once.
char *dtrain_fused_adamw(const dtrain_adamw_run *runs, size_t num_runs, double lr, double beta1, double beta2,
                         double weight_decay, double epsilon);

// A part of all parameters with its gradient; `momentum` is null in all runs or in none.
struct dtrain_sgd_run {
  const at::Tensor *weights, *gradients, *momentum;
};

// One step of SGD in libtorch's fused kernel.
char *dtrain_fused_sgd(const dtrain_sgd_run *runs, size_t num_runs, double lr, double momentum, double weight_decay,
                       bool nesterov);
}
