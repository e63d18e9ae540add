// A GPU as the runtime sees it: memory, streams, graphs and the kernels built for it. Two implementations: the CUDA
// runtime (device.cu, in the module libsvqrt-cuda.so that the runtime opens when a GPU is asked for) and the emulation.
//
// Functions that can fail return null, or what went wrong as the rest of a sentence, valid until the thread's next
// call. Work that a stream was given runs in order; a failure of it comes out of synchronize().
#pragma once
#include <cstdint>

#include "kernels-cuda/table.h"

namespace svq::cuda {

struct DeviceInfo {
  char name[256] = {};
  char architectures[128] = {};   // this build has code for: "75, 80, 87"
  uint32_t major = 0, minor = 0;  // compute capability
  uint32_t multiprocessors = 0;
  uint32_t max_shared = 0;  // bytes that a block may have
  uint32_t l2 = 0;          // bytes of the L2 cache
  uint64_t total_memory = 0;
  bool integrated = false;  // shares its memory with the CPU
};

enum class Memory {
  kDevice,   // the device alone
  kWeights,  // written once while loading: by the host in place where the device is integrated, otherwise by copies
  kHost      // pinned memory of the host that kernels can read and write in place
};

using Graph = void*;

class Device {
 public:
  virtual ~Device() = default;
  virtual const DeviceInfo& info() const = 0;
  virtual const Kernels& kernels() const = 0;
  virtual const char* free_memory(uint64_t* bytes) = 0;

  // `host` receives the address by which the host writes it, null if it cannot.
  virtual const char* allocate(uint64_t bytes, Memory kind, void** out, void** host) = 0;
  virtual const char* finish_weights(void* weights) = 0;  // the host will not touch them again
  virtual void release(void* memory, Memory kind) = 0;

  // Host memory that kernels are to read in place, where the device can: `out` receives its address there.
  virtual const char* register_host(const void* host, uint64_t bytes, const void** out) = 0;
  virtual void unregister_host(const void* host) = 0;

  // priority: 0 normal, larger numbers are served first, as far as the device tells them apart.
  virtual const char* create_stream(int priority, Stream* out) = 0;
  virtual void destroy_stream(Stream stream) = 0;
  virtual const char* copy(void* to, const void* from, uint64_t bytes, Stream stream) = 0;
  virtual const char* fill_zero(void* to, uint64_t bytes, Stream stream) = 0;
  virtual const char* synchronize(Stream stream) = 0;

  // What is launched between begin and end becomes a graph instead of running.
  virtual const char* begin_capture(Stream stream) = 0;
  virtual const char* end_capture(Stream stream, Graph* out) = 0;
  virtual const char* launch(Graph graph, Stream stream) = 0;
  virtual void destroy_graph(Graph graph) = 0;
};

// The module's one function. interface: kInterface of the caller. Null with *error set: there is no usable GPU, and
// why.
inline constexpr uint32_t kInterface = 2;
using OpenDevice = Device*(uint32_t interface, int ordinal, const char** error);
inline constexpr char kOpenDevice[] = "svqrt_cuda_open";

}  // namespace svq::cuda
