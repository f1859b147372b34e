#include "guarded.h"

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/alloc_cpu.h>
#include <c10/util/Exception.h>

#include <malloc.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <iterator>
#include <map>
#include <mutex>
#include <set>
#include <unordered_map>
#include <utility>

// Memory of large CPU tensors, kept and used again. Each step allocates the same activations; malloc gives large ones
// back to the kernel and gets them again as pages to be cleared, which took a tenth of a step, and where it is told to
// keep them, small allocations in between split what is free. All sizes are counted.
namespace {

// Smaller ones are left to malloc, which keeps those.
constexpr size_t kSmallest = 256 << 10;
constexpr size_t kPage = 4096;

// Bytes of tensors that live, and the most that did.
class Meter {
public:
  void add(size_t bytes) {
    const auto now = live.fetch_add(static_cast<int64_t>(bytes), std::memory_order_relaxed) +
                     static_cast<int64_t>(bytes);
    auto most = peak.load(std::memory_order_relaxed);
    while (now > most && !peak.compare_exchange_weak(most, now, std::memory_order_relaxed)) {
    }
  }

  void subtract(size_t bytes) { live.fetch_sub(static_cast<int64_t>(bytes), std::memory_order_relaxed); }

  std::atomic<int64_t> live{0};
  std::atomic<int64_t> peak{0};
};

Meter meter;

// Bytes of free blocks.
std::atomic<int64_t> reusable{0};

class BlockPool final : public c10::Allocator {
public:
  c10::DataPtr allocate(size_t bytes) override {
    if (bytes < kSmallest) {
      void *small = c10::alloc_cpu(bytes);
      meter.add(malloc_usable_size(small));
      return {small, small, &release_small, c10::Device(c10::DeviceType::CPU)};
    }
    const size_t size = (bytes + kPage - 1) / kPage * kPage;
    void *block = take(size);
    meter.add(size);
    return {block, block, &release, c10::Device(c10::DeviceType::CPU)};
  }

  c10::DeleterFnPtr raw_deleter() const override { return &release; }

  void copy_data(void *to, const void *from, size_t bytes) const override { std::memcpy(to, from, bytes); }

  // The process has one pool; it lives as long as tensors may.
  static BlockPool &instance() {
    static auto *pool = new BlockPool();
    return *pool;
  }

private:
  // The smallest free block that is large enough, cut to size.
  void *take(size_t bytes) {
    const std::lock_guard<std::mutex> lock(mutex);
    auto fit = by_size.lower_bound({bytes, nullptr});
    if (fit == by_size.end()) {
      grow(bytes);
      fit = by_size.lower_bound({bytes, nullptr});
    }
    const auto [size, block] = *fit;
    remove(block, size);
    if (size > bytes)
      insert(block + bytes, size - bytes);
    used.emplace(block, bytes);
    return block;
  }

  // Asks the kernel for what the lowest free block lacks, right below it: the kernel hands out addresses downwards.
  void grow(size_t bytes) {
    const bool joins = !free.empty() && free.begin()->first == lowest;
    const size_t lacking = joins ? bytes - std::min(bytes, free.begin()->second) : bytes;
    char *memory = map(lacking, lowest == nullptr ? nullptr : lowest - lacking);
    if (memory + lacking != lowest && lacking < bytes) {
      munmap(memory, lacking);
      memory = map(bytes, nullptr);
      put(memory, bytes);
    } else {
      put(memory, lacking);
    }
    if (lowest == nullptr || memory < lowest)
      lowest = memory;
  }

  static char *map(size_t bytes, char *hint) {
    void *memory = mmap(hint, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    TORCH_CHECK(memory != MAP_FAILED, "not enough memory: a tensor of ", bytes, " bytes could not be allocated");
    return static_cast<char *>(memory);
  }

  static void release(void *block) {
    auto &pool = instance();
    {
      const std::lock_guard<std::mutex> lock(pool.mutex);
      const auto found = pool.used.find(static_cast<char *>(block));
      if (found != pool.used.end()) {
        const size_t size = found->second;
        pool.used.erase(found);
        pool.put(static_cast<char *>(block), size);
        meter.subtract(size);
        return;
      }
    }
    release_small(block);
  }

  static void release_small(void *block) {
    meter.subtract(malloc_usable_size(block));
    c10::free_cpu(block);
  }

  // Adds a free block and joins it with its neighbours.
  void put(char *block, size_t size) {
    const auto next = free.lower_bound(block);
    if (next != free.end() && block + size == next->first) {
      const auto [address, more] = *next;
      remove(address, more);
      size += more;
    }
    const auto after = free.lower_bound(block);
    if (after != free.begin()) {
      const auto [address, more] = *std::prev(after);
      if (address + more == block) {
        remove(address, more);
        block = address;
        size += more;
      }
    }
    insert(block, size);
  }

  void insert(char *block, size_t size) {
    reusable.fetch_add(static_cast<int64_t>(size), std::memory_order_relaxed);
    free.emplace(block, size);
    by_size.emplace(size, block);
  }

  void remove(char *block, size_t size) {
    reusable.fetch_sub(static_cast<int64_t>(size), std::memory_order_relaxed);
    free.erase(block);
    by_size.erase({size, block});
  }

  std::mutex mutex;
  std::map<char *, size_t> free;
  std::set<std::pair<size_t, char *>> by_size;
  std::unordered_map<char *, size_t> used;
  char *lowest = nullptr;
};

} // namespace

char *dtrain_keep_large_blocks() {
  return guarded([] {
    static std::once_flag once;
    std::call_once(once, [] { c10::SetCPUAllocator(&BlockPool::instance(), /*priority=*/1); });
  });
}

dtrain_cpu_memory_state dtrain_cpu_memory() noexcept {
  const auto live = meter.live.load(std::memory_order_relaxed);
  return {live, std::max(live, meter.peak.load(std::memory_order_relaxed)),
          reusable.load(std::memory_order_relaxed)};
}

void dtrain_cpu_memory_reset_peak() noexcept {
  meter.peak.store(meter.live.load(std::memory_order_relaxed), std::memory_order_relaxed);
}
