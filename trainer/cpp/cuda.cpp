#include "guarded.h"
#include "operators.h"

#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/Event.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <dlfcn.h>

#include <map>
#include <memory>
#include <mutex>
#include <string>

// GPUs through libtorch's device-independent interfaces: the program links libtorch_cpu, and libtorch_cuda registers
// itself when it is loaded. Where it is not, these functions throw what libtorch says about that.
namespace {

using at::Tensor;

constexpr const char *kLibrary = "libtorch_cuda.so";

c10::Device gpu(int index) { return {c10::kCUDA, static_cast<c10::DeviceIndex>(index)}; }

c10::Stream current_stream(int index) { return c10::impl::VirtualGuardImpl(c10::kCUDA).getStream(gpu(index)); }

// One per GPU, on which nothing but copies of batches runs.
c10::Stream upload_stream(int index) {
  static std::mutex mutex;
  static std::map<int, c10::Stream> streams;
  const std::lock_guard<std::mutex> lock(mutex);
  auto found = streams.find(index);
  if (found == streams.end())
    found = streams.emplace(index, c10::impl::VirtualGuardImpl(c10::kCUDA).getStreamFromGlobalPool(gpu(index))).first;
  return found->second;
}

c10::Event &event_of(void *event) { return *static_cast<c10::Event *>(event); }
const c10::Event &event_of(const void *event) { return *static_cast<const c10::Event *>(event); }

// The folder of libtorch_cpu, with a slash at the end; empty if unknown.
std::string libtorch_folder() {
  Dl_info info{};
  if (dladdr(reinterpret_cast<const void *>(&at::globalContext), &info) == 0 || info.dli_fname == nullptr)
    return {};
  const std::string path = info.dli_fname;
  const auto slash = path.rfind('/');
  return slash == std::string::npos ? std::string() : path.substr(0, slash + 1);
}

std::string linker_error() {
  const char *error = dlerror();
  return error != nullptr ? error : "unknown error of the dynamic linker";
}

c10::DeviceAllocator &allocator(int index) {
  at::globalContext().lazyInitDevice(c10::kCUDA);
  const int num_gpus = at::detail::getCUDAHooks().getNumGPUs();
  TORCH_CHECK(index >= 0 && index < num_gpus, "there is no GPU ", index, " among ", num_gpus);
  return *c10::getDeviceAllocator(c10::kCUDA);
}

} // namespace

char *dtrain_load_cuda() {
  return guarded([] {
    static std::mutex mutex;
    static bool loaded = false;
    const std::lock_guard<std::mutex> lock(mutex);
    if (loaded)
      return;
    constexpr int mode = RTLD_NOW | RTLD_GLOBAL;
    if (dlopen(kLibrary, mode) == nullptr) {
      const auto by_name = linker_error();
      const auto folder = libtorch_folder();
      if (folder.empty())
        throw std::runtime_error(by_name);
      if (dlopen((folder + kLibrary).c_str(), mode) == nullptr)
        throw std::runtime_error(linker_error());
    }
    if (!at::detail::getCUDAHooks().hasCUDA())
      throw std::runtime_error(std::string(kLibrary) +
                               " is loaded but sees no GPU: the driver is too old or shows none to this process, or "
                               "libtorch was asked for one before");
    loaded = true;
  });
}

char *dtrain_num_gpus(int *num_gpus) {
  return guarded([&] { *num_gpus = at::detail::getCUDAHooks().getNumGPUs(); });
}

char *dtrain_current_stream(int device_index, void **stream) {
  return guarded([&] {
    *stream = c10::impl::VirtualGuardImpl(c10::kCUDA).getStreamNativeHandle(current_stream(device_index));
  });
}

char *dtrain_event_new(bool timing, void **event) {
  return guarded([&] {
    const auto flag = timing ? c10::EventFlag::BACKEND_DEFAULT : c10::EventFlag::PYTORCH_DEFAULT;
    *event = new c10::Event(c10::kCUDA, flag);
  });
}

void dtrain_event_free(void *event) noexcept { delete static_cast<c10::Event *>(event); }

char *dtrain_event_record(void *event, int device_index) {
  return guarded([&] { event_of(event).record(current_stream(device_index)); });
}

char *dtrain_event_query(const void *event, bool *done) {
  return guarded([&] { *done = event_of(event).query(); });
}

char *dtrain_event_synchronize(const void *event) {
  return guarded([&] { event_of(event).synchronize(); });
}

char *dtrain_event_elapsed_ms(const void *begin, const void *end, double *milliseconds) {
  return guarded([&] { *milliseconds = event_of(begin).elapsedTime(event_of(end)); });
}

char *dtrain_host_floats(int64_t len, int pinned, Tensor **memory) {
  return guarded([&] {
    *memory = new Tensor(at::empty({len}, at::device(at::kCPU).dtype(at::kFloat).pinned_memory(pinned != 0)));
  });
}

char *dtrain_upload(const Tensor *host, int device_index, Tensor **copy, void **event) {
  return guarded([&] {
    // libtorch notes the copy with the pinned memory, which it hands out again only when the copy is done.
    const auto pinned = host->is_pinned() ? *host : host->pin_memory();
    const auto stream = upload_stream(device_index);
    auto copied = std::make_unique<c10::Event>(c10::kCUDA, c10::EventFlag::PYTORCH_DEFAULT);
    const c10::StreamGuard on_it(stream);
    const auto target = pinned.to(gpu(device_index), pinned.scalar_type(), /*non_blocking=*/true, /*copy=*/true);
    copied->record(stream);
    *copy = new Tensor(target);
    *event = copied.release();
  });
}

char *dtrain_upload_arrived(const Tensor *copy, const void *event, int device_index) {
  return guarded([&] {
    const auto stream = current_stream(device_index);
    event_of(event).block(stream);
    c10::impl::VirtualGuardImpl(c10::kCUDA).recordDataPtrOnStream(copy->storage().data_ptr(), stream);
  });
}

char *dtrain_copy_to_host(const Tensor *source, Tensor **host) {
  return guarded([&] {
    const auto values = source->detach().to(at::kDouble).contiguous();
    auto copy = at::empty(values.sizes(), at::device(at::kCPU).dtype(at::kDouble).pinned_memory(true));
    copy.copy_(values, /*non_blocking=*/true);
    *host = new Tensor(copy);
  });
}

char *dtrain_host_memory(int64_t bytes, int pinned, Tensor **memory) {
  return guarded([&] {
    const auto options = at::device(at::kCPU).dtype(at::kByte).pinned_memory(pinned != 0);
    // `zeros` may hand out pages that the kernel has not made yet; writing makes them.
    *memory = new Tensor(at::empty({bytes}, options).fill_(0));
  });
}

char *dtrain_copy_to_host_memory(const Tensor *source, const Tensor *target) {
  return guarded([&] {
    TORCH_CHECK(source->sizes() == target->sizes(), "host memory of another shape");
    target->copy_(*source, /*non_blocking=*/true);
  });
}

char *dtrain_cuda_memory(int device_index, dtrain_cuda_memory_state *state) {
  return guarded([&] {
    auto &gpu_allocator = allocator(device_index);
    const auto stats = gpu_allocator.getDeviceStats(static_cast<c10::DeviceIndex>(device_index));
    constexpr auto all = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
    const auto free = gpu_allocator.getMemoryInfo(static_cast<c10::DeviceIndex>(device_index)).first;
    *state = {stats.allocated_bytes[all].current, stats.allocated_bytes[all].peak, stats.reserved_bytes[all].current,
              static_cast<int64_t>(free)};
  });
}

char *dtrain_cuda_memory_reset_peak(int device_index) {
  return guarded([&] { allocator(device_index).resetPeakStats(static_cast<c10::DeviceIndex>(device_index)); });
}
