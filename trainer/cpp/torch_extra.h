// The part of libtorch that tch does not bind, for src/torch_extra.rs.
//
// Every function returns null, or a message that the caller hands back to dtrain_free_message; those that cannot fail say
// noexcept. No exception leaves this interface and none may enter it: callbacks return a status and write a message of at most `capacity` bytes
// into `message`. A callback's context is owned by this side from the call on, also when the call fails; `release`
// is called once, when nothing uses the context any more, on any thread.
#pragma once

#include <cstddef>
#include <cstdint>

namespace at {
class Tensor;
}

extern "C" {

// A copy of `text` by `duplicate`, or a message of its own where that has no memory: never null, which would mean success.
char *dtrain_message(const char *text, char *(*duplicate)(const char *)) noexcept;
void dtrain_free_message(char *message) noexcept;

// Makes `gradient` the gradient of a leaf, without a copy: backward adds into it.
char *dtrain_set_grad(const at::Tensor *leaf, const at::Tensor *gradient);

// From now on the memory of large CPU tensors is kept and used again, and that of all is counted. Further calls do nothing.
char *dtrain_keep_large_blocks();

struct dtrain_cpu_memory_state {
  int64_t live, peak, reusable;
};

// Bytes of the CPU tensors (now, and at most since the last reset), and those kept for further ones.
dtrain_cpu_memory_state dtrain_cpu_memory() noexcept;
void dtrain_cpu_memory_reset_peak() noexcept;

// From now on this thread computes as on a GPU, by libtorch's operators alone, and each of them is held against what its CUDA
// kernel demands; for tests. What is broken is told at the end.
char *dtrain_cuda_contract_begin();
bool dtrain_computes_as_on_cuda() noexcept;

// `broken` and `operators` become texts for dtrain_free_message: a line for each rule that a call has broken, and one for
// each operator that was called, with how often.
char *dtrain_cuda_contract_end(char **broken, char **operators);

struct dtrain_gradient_callback {
  void *context;
  int (*call)(void *context, size_t index, char *message, size_t capacity);
  void (*release)(void *context);
};

// Calls back with `index` each time that a backward has added to the gradient of `leaf`, until removed.
char *dtrain_add_gradient_hook(const at::Tensor *leaf, size_t index, dtrain_gradient_callback callback, void **hook);

char *dtrain_remove_gradient_hook(void *hook);

// Convolution without bias of a batch (N, C, H, W), as libtorch's; under bf16 autocast on a CPU the weight's gradient is
// computed in the faster of two ways. `output` becomes a new tensor.
char *dtrain_conv2d(const at::Tensor *input, const at::Tensor *weight, int64_t stride, int64_t padding,
                    at::Tensor **output);

struct dtrain_sum_callback {
  void *context;
  // Sums `sums` (f64, one-dimensional, contiguous, on the device of the input) over all ranks, in place.
  int (*call)(void *context, at::Tensor *sums, char *message, size_t capacity);
  void (*release)(void *context);
};

// What follows batch norm.
enum dtrain_epilogue {
  DTRAIN_EPILOGUE_NOTHING = 0,
  // Plus `shortcut` (may be null; of the shape of `input`), then ReLU.
  DTRAIN_EPILOGUE_RELU = 1,
  // ReLU, then the largest element of each 2x2 window; `input` is (N, C, H, W), and odd sizes are rounded down.
  DTRAIN_EPILOGUE_RELU_POOL = 2,
};

// Batch norm in training mode over the samples of all ranks, or of this one where the callback is null, and what follows.
// `input` is (N, C, ...), N may be 0; the running statistics may be null. `output` becomes a new tensor.
char *dtrain_batch_norm(const at::Tensor *input, const at::Tensor *weight, const at::Tensor *bias,
                        const at::Tensor *running_mean, const at::Tensor *running_var, double momentum, double epsilon,
                        dtrain_epilogue epilogue, const at::Tensor *shortcut, dtrain_sum_callback callback,
                        at::Tensor **output);

// The sum of `own` (f64, one-dimensional) over all ranks, with derivatives of every order: backward is the sum of the ranks'
// gradients, by the same function. `sums` becomes a new tensor.
char *dtrain_sum_over_ranks(const at::Tensor *own, dtrain_sum_callback callback, at::Tensor **sums);

// A part of all parameters with its gradient and moments, of equal length, that has taken `steps` steps including this
// one.
struct dtrain_adam_run {
  const at::Tensor *weights, *gradients, *first, *second;
  double steps;
};

// One step of Adam, or of AdamW where `decoupled`, in libtorch's fused kernel: each element is read and written once.
// Where `skip` (one element, may be null) is not zero nothing changes; the host does not read it.
char *dtrain_fused_adam(const dtrain_adam_run *runs, size_t num_runs, double lr, double beta1, double beta2,
                        double weight_decay, bool decoupled, double epsilon, const at::Tensor *skip);

// A part of all parameters with its gradient; `momentum` is null in all runs or in none.
struct dtrain_sgd_run {
  const at::Tensor *weights, *gradients, *momentum;
};

// One step of SGD in libtorch's fused kernel; `skip` as above.
char *dtrain_fused_sgd(const dtrain_sgd_run *runs, size_t num_runs, double lr, double momentum, double weight_decay,
                       bool nesterov, const at::Tensor *skip);

// This thread's autocast of one kind of device. Types are numbers of c10::DeviceType and c10::ScalarType.
struct dtrain_autocast_state {
  bool enabled;
  bool cache;
  int dtype;
};

// Switches autocast to `dtype`, or off where that is negative, and tells what was before. CPU and CUDA only.
dtrain_autocast_state dtrain_autocast_enter(int device_type, int dtype) noexcept;

// Goes back; the outermost one forgets the converted weights.
void dtrain_autocast_leave(int device_type, dtrain_autocast_state previous) noexcept;

// TF32 in matrix products and convolutions of GPUs, and algorithms that give the same bits each time (else cuDNN's fastest):
// an operator that has none on a GPU throws. They only set fields of libtorch's global context, which needs no GPU.
void dtrain_set_tf32(bool allowed) noexcept;
void dtrain_set_deterministic(bool deterministic) noexcept;

// Loads libtorch_cuda, which must happen before anything asks libtorch for a GPU. The message is the dynamic linker's.
char *dtrain_load_cuda();

// GPUs that libtorch sees; 0 without libtorch_cuda.
char *dtrain_num_gpus(int *num_gpus);

// The functions below are for GPUs, by index, and need libtorch_cuda.

// The native handle (cudaStream_t) of the stream that libtorch uses now on this thread.
char *dtrain_current_stream(int device_index, void **stream);

char *dtrain_event_new(bool timing, void **event);
void dtrain_event_free(void *event) noexcept;
// Records on the current stream.
char *dtrain_event_record(void *event, int device_index);
char *dtrain_event_query(const void *event, bool *done);
char *dtrain_event_synchronize(const void *event);
char *dtrain_event_elapsed_ms(const void *begin, const void *end, double *milliseconds);

// `memory` becomes a new f32 tensor of `len` values on the host, pinned or not, that nobody has written yet. For CPUs too.
char *dtrain_host_floats(int64_t len, int pinned, at::Tensor **memory);

// `copy` becomes a new tensor into which `host` is being copied, from pinned memory, on a stream of its own, and `event` the end
// of that.
char *dtrain_upload(const at::Tensor *host, int device_index, at::Tensor **copy, void **event);

// From here on the current stream may use `copy`: it waits for `event`, and the memory stays until it is done with it.
char *dtrain_upload_arrived(const at::Tensor *copy, const void *event, int device_index);

// `host` becomes a new pinned f64 tensor of the same shape into which `source` is being copied on the current stream.
char *dtrain_copy_to_host(const at::Tensor *source, at::Tensor **host);

// `memory` becomes a new tensor of `bytes` zeros (u8) on the host, pinned or not; all of its pages are in place.
char *dtrain_host_memory(int64_t bytes, int pinned, at::Tensor **memory);

// Copies into host memory; into pinned memory from a GPU on the current stream, without waiting. For CPU tensors too.
char *dtrain_copy_to_host_memory(const at::Tensor *source, const at::Tensor *target);

struct dtrain_cuda_memory_state {
  int64_t live, peak, reserved, free;
};

// Bytes of tensors (now, and at most since the last reset), bytes that libtorch has taken from the device, and those
// that the driver still has.
char *dtrain_cuda_memory(int device_index, dtrain_cuda_memory_state *state);
char *dtrain_cuda_memory_reset_peak(int device_index);
}
