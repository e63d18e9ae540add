#include "kernels-cuda/emulation/device.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>

#include "kernels-cuda/emulation/simt.h"
#include "kernels-cuda/table.cuh"

namespace svq::cuda {
namespace {

std::mutex lock;
EmulatedCounts counts;

class EmulatedDevice final : public Device {
 public:
  explicit EmulatedDevice(const EmulatedOptions& options) : options_(options) {
    std::snprintf(info_.name, sizeof info_.name, "emulated GPU");
    std::snprintf(info_.architectures, sizeof info_.architectures, "the emulation");
    info_.major = 8;
    info_.minor = 7;
    info_.multiprocessors = options.multiprocessors;
    info_.l2 = options.l2;
    info_.max_shared = options.max_shared;
    info_.total_memory = options.memory;
    info_.integrated = options.integrated;
  }
  ~EmulatedDevice() override {
    if (!memory_.empty()) simt::die("a device is closed with memory in use");
  }

  const DeviceInfo& info() const override { return info_; }
  const Kernels& kernels() const override { return emulated_kernels(); }
  const char* free_memory(uint64_t* bytes) override {
    const std::lock_guard guard(lock);
    *bytes = options_.memory - used_;
    return nullptr;
  }
  const char* allocate(uint64_t bytes, Memory kind, void** out, void** host) override {
    const std::lock_guard guard(lock);
    if (host != nullptr) *host = nullptr;
    *out = nullptr;
    if (bytes > options_.memory - used_) return "allocating memory: out of memory";
    // Whole cache lines, poisoned; the address sanitizer sees the end.
    void* p = nullptr;
    if (posix_memalign(&p, 256, bytes == 0 ? 1 : bytes) != 0) return "allocating memory: out of memory";
    std::memset(p, 0xff, bytes);
    memory_[p] = bytes;
    used_ += bytes;
    ++counts.allocations;
    *out = p;
    if (host != nullptr && (kind == Memory::kHost || (kind == Memory::kWeights && options_.integrated))) *host = p;
    return nullptr;
  }
  const char* finish_weights(void*) override { return nullptr; }
  void release(void* memory, Memory) override {
    const std::lock_guard guard(lock);
    const auto found = memory_.find(memory);
    if (found == memory_.end()) simt::die("memory is released that was not allocated");
    used_ -= found->second;
    memory_.erase(found);
    std::free(memory);
  }

  const char* register_host(const void* host, uint64_t, const void** out) override {
    const std::lock_guard guard(lock);
    *out = options_.registers ? host : nullptr;
    if (!options_.registers) return "registering the mapped file: operation not supported";
    ++counts.registered;
    return nullptr;
  }
  void unregister_host(const void*) override {
    const std::lock_guard guard(lock);
    --counts.registered;
  }

  const char* create_stream(int priority, Stream* out) override {
    {
      const std::lock_guard guard(lock);
      counts.last_priority = priority;
    }
    *out = simt::create_stream();
    return nullptr;
  }
  void destroy_stream(Stream stream) override { simt::destroy(static_cast<simt::Stream*>(stream)); }
  const char* copy(void* to, const void* from, uint64_t bytes, Stream stream) override {
    {
      const std::lock_guard guard(lock);
      if (!on_device(to)) counts.copied_to_host += bytes;
    }
    simt::enqueue(static_cast<simt::Stream*>(stream), [=] {
      if (bytes > 0) std::memcpy(to, from, bytes);  // null pointers are for nothing only
    });
    return nullptr;
  }
  const char* fill_zero(void* to, uint64_t bytes, Stream stream) override {
    simt::enqueue(static_cast<simt::Stream*>(stream), [=] { std::memset(to, 0, bytes); });
    return nullptr;
  }
  const char* synchronize(Stream) override {
    const std::lock_guard guard(lock);
    ++counts.synchronizations;
    return nullptr;
  }
  const char* begin_capture(Stream stream) override {
    simt::begin_capture(static_cast<simt::Stream*>(stream));
    return nullptr;
  }
  const char* end_capture(Stream stream, Graph* out) override {
    size_t launches = 0;
    *out = new std::function<void()>(simt::end_capture(static_cast<simt::Stream*>(stream), &launches));
    const std::lock_guard guard(lock);
    ++counts.graphs;
    counts.last_graph_kernels = launches;
    return nullptr;
  }
  const char* launch(Graph graph, Stream) override {
    {
      const std::lock_guard guard(lock);
      ++counts.graph_launches;
    }
    (*static_cast<std::function<void()>*>(graph))();
    return nullptr;
  }
  void destroy_graph(Graph graph) override { delete static_cast<std::function<void()>*>(graph); }

 private:
  bool on_device(const void* p) const {
    const auto after = memory_.upper_bound(const_cast<void*>(p));
    if (after == memory_.begin()) return false;
    const auto& [base, size] = *std::prev(after);
    return static_cast<const char*>(p) < static_cast<const char*>(base) + size;
  }

  const EmulatedOptions options_;
  DeviceInfo info_;
  std::map<void*, uint64_t> memory_;
  uint64_t used_ = 0;
};

}  // namespace

Device* open_emulated(const EmulatedOptions& options) { return new EmulatedDevice(options); }
const Kernels& emulated_kernels() { return emulated::kKernels; }
EmulatedCounts emulated_counts() {
  const std::lock_guard guard(lock);
  return counts;
}

}  // namespace svq::cuda
