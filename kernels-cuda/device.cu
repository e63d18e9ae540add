// The CUDA runtime behind device.h. cudart is linked statically and finds the driver when first called: without one,
// svqrt_cuda_open says so.
#include "kernels-cuda/device.h"

#include <cstdio>
#include <cstring>
#include <new>

#include "kernels-cuda/table.cuh"

namespace svq::cuda {
namespace SVQ_CUDA_IMPL {
namespace {

thread_local char message[512];

const char* say(cudaError_t error, const char* doing) {
  if (error == cudaSuccess) return nullptr;
  std::snprintf(message, sizeof message, "%s: %s", doing, cudaGetErrorString(error));
  return message;
}

__global__ void probe_kernel() {}

class CudaDevice final : public Device {
 public:
  explicit CudaDevice(int ordinal) : ordinal_(ordinal) {}

  // Null, or why this device cannot be used.
  const char* open() {
    cudaDeviceProp properties;
    if (const char* e = say(cudaGetDeviceProperties(&properties, ordinal_), "asking for the GPU's properties"))
      return e;
    std::snprintf(info_.name, sizeof info_.name, "%s", properties.name);
    std::snprintf(info_.architectures, sizeof info_.architectures, "%s", SVQ_CUDA_ARCHITECTURES);
    info_.major = static_cast<uint32_t>(properties.major);
    info_.minor = static_cast<uint32_t>(properties.minor);
    info_.multiprocessors = static_cast<uint32_t>(properties.multiProcessorCount);
    info_.l2 = static_cast<uint32_t>(properties.l2CacheSize);
    info_.max_shared = static_cast<uint32_t>(properties.sharedMemPerBlockOptin);
    info_.total_memory = properties.totalGlobalMem;
    info_.integrated = properties.integrated != 0 && properties.managedMemory != 0;
    if (const char* e = use()) return e;
    cudaFuncAttributes attributes;
    const cudaError_t error = cudaFuncGetAttributes(&attributes, reinterpret_cast<const void*>(probe_kernel));
    if (error == cudaErrorNoKernelImageForDevice || error == cudaErrorInvalidDeviceFunction) {
      cudaGetLastError();
      std::snprintf(message, sizeof message, "%s has compute capability %d.%d, but this build has code for %s",
                    info_.name, properties.major, properties.minor, info_.architectures);
      return message;
    }
    return say(error, "asking for a kernel's properties");
  }

  const DeviceInfo& info() const override { return info_; }
  const Kernels& kernels() const override { return kKernels; }
  const char* free_memory(uint64_t* bytes) override {
    if (const char* e = use()) return e;
    size_t free = 0, total = 0;
    const char* e = say(cudaMemGetInfo(&free, &total), "asking for free memory");
    *bytes = free;
    return e;
  }

  const char* allocate(uint64_t bytes, Memory kind, void** out, void** host) override {
    *out = nullptr;
    if (host != nullptr) *host = nullptr;
    if (const char* e = use()) return e;
    switch (kind) {
      case Memory::kDevice:
        return say(cudaMalloc(out, bytes), "allocating device memory");
      case Memory::kWeights:
        if (!info_.integrated) return say(cudaMalloc(out, bytes), "allocating memory for the weights");
        // Attached to the host until finish_weights(): it may write while other sessions' kernels run.
        if (const char* e = say(cudaMallocManaged(out, bytes, cudaMemAttachHost), "allocating memory for the weights"))
          return e;
        if (host != nullptr) *host = *out;
        return nullptr;
      case Memory::kHost:
        if (const char* e =
                say(cudaHostAlloc(out, bytes, cudaHostAllocMapped | cudaHostAllocPortable), "pinning memory"))
          return e;
        if (host != nullptr) *host = *out;
        void* seen;
        if (const char* e = say(cudaHostGetDevicePointer(&seen, *out, 0), "mapping pinned memory")) return e;
        if (seen != *out) return "pinned memory has another address on the device, which this library does not support";
        return nullptr;
    }
    return "an unknown kind of memory";
  }
  const char* finish_weights(void* weights) override {
    if (!info_.integrated) return nullptr;
    if (const char* e = use()) return e;
    if (const char* e =
            say(cudaStreamAttachMemAsync(nullptr, weights, 0, cudaMemAttachGlobal), "handing over the weights"))
      return e;
    return say(cudaStreamSynchronize(nullptr), "handing over the weights");
  }
  void release(void* memory, Memory kind) override {
    if (use() != nullptr) return;
    if (kind == Memory::kHost) {
      cudaFreeHost(memory);
    } else {
      cudaFree(memory);
    }
  }

  const char* register_host(const void* host, uint64_t bytes, const void** out) override {
    *out = nullptr;
    if (const char* e = use()) return e;
    void* const memory = const_cast<void*>(host);  // only read: cudaHostRegisterReadOnly
    if (const char* e = say(cudaHostRegister(memory, bytes, cudaHostRegisterMapped | cudaHostRegisterReadOnly),
                            "registering the mapped file")) {
      cudaGetLastError();
      return e;
    }
    void* seen = nullptr;
    if (const char* e = say(cudaHostGetDevicePointer(&seen, memory, 0), "mapping the registered file")) {
      cudaHostUnregister(memory);
      return e;
    }
    *out = seen;
    return nullptr;
  }
  void unregister_host(const void* host) override {
    if (use() == nullptr) cudaHostUnregister(const_cast<void*>(host));
  }

  const char* create_stream(int priority, Stream* out) override {
    if (const char* e = use()) return e;
    int least = 0, greatest = 0;  // greatest is the smallest number
    if (const char* e = say(cudaDeviceGetStreamPriorityRange(&least, &greatest), "asking for stream priorities"))
      return e;
    int p = least - priority;
    p = p < greatest ? greatest : p > least ? least : p;
    cudaStream_t stream = nullptr;
    const char* e = say(cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking, p), "creating a stream");
    *out = stream;
    return e;
  }
  void destroy_stream(Stream stream) override {
    if (use() == nullptr) cudaStreamDestroy(static_cast<cudaStream_t>(stream));
  }
  const char* copy(void* to, const void* from, uint64_t bytes, Stream stream) override {
    if (const char* e = use()) return e;
    return say(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, static_cast<cudaStream_t>(stream)), "copying");
  }
  const char* fill_zero(void* to, uint64_t bytes, Stream stream) override {
    if (const char* e = use()) return e;
    return say(cudaMemsetAsync(to, 0, bytes, static_cast<cudaStream_t>(stream)), "clearing memory");
  }
  const char* synchronize(Stream stream) override {
    if (const char* e = use()) return e;
    if (const char* e = say(cudaGetLastError(), "launching a kernel")) return e;
    return say(cudaStreamSynchronize(static_cast<cudaStream_t>(stream)), "running kernels");
  }

  const char* begin_capture(Stream stream) override {
    if (const char* e = use()) return e;
    return say(cudaStreamBeginCapture(static_cast<cudaStream_t>(stream), cudaStreamCaptureModeThreadLocal),
               "capturing a graph");
  }
  const char* end_capture(Stream stream, Graph* out) override {
    *out = nullptr;
    cudaGraph_t graph = nullptr;
    if (const char* e = say(cudaStreamEndCapture(static_cast<cudaStream_t>(stream), &graph), "capturing a graph"))
      return e;
    cudaGraphExec_t runnable = nullptr;
    const cudaError_t error = cudaGraphInstantiate(&runnable, graph, 0);
    cudaGraphDestroy(graph);
    *out = runnable;
    return say(error, "preparing a graph");
  }
  const char* launch(Graph graph, Stream stream) override {
    if (const char* e = use()) return e;
    return say(cudaGraphLaunch(static_cast<cudaGraphExec_t>(graph), static_cast<cudaStream_t>(stream)),
               "launching a graph");
  }
  void destroy_graph(Graph graph) override {
    if (use() == nullptr) cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(graph));
  }

 private:
  const char* use() { return say(cudaSetDevice(ordinal_), "selecting the GPU"); }

  const int ordinal_;
  DeviceInfo info_;
};

Device* open_device(uint32_t interface, int ordinal, const char** error) {
  *error = nullptr;
  if (interface != kInterface) {
    *error = "libsvqrt and its CUDA module are of different versions";
    return nullptr;
  }
  int driver = 0, runtime = 0, count = 0;
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  if (driver == 0) {
    *error = "no NVIDIA driver is installed";
    return nullptr;
  }
  const cudaError_t found = cudaGetDeviceCount(&count);
  if (found == cudaErrorInsufficientDriver) {
    std::snprintf(message, sizeof message, "the NVIDIA driver supports CUDA %d.%d, but this build needs %d.%d",
                  driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
    *error = message;
    return nullptr;
  }
  *error = say(found, "looking for GPUs");
  if (*error == nullptr && ordinal >= count) {
    std::snprintf(message, sizeof message, "GPU %d was asked for, but there are %d", ordinal, count);
    *error = message;
  }
  if (*error != nullptr) return nullptr;
  auto* device = new (std::nothrow) CudaDevice(ordinal);
  if (device == nullptr) {
    *error = "out of memory";
    return nullptr;
  }
  *error = device->open();
  if (*error == nullptr) return device;
  delete device;
  return nullptr;
}

}  // namespace
}  // namespace SVQ_CUDA_IMPL
}  // namespace svq::cuda

extern "C" __attribute__((visibility("default"))) svq::cuda::Device* svqrt_cuda_open(uint32_t interface, int ordinal,
                                                                                     const char** error) {
  return svq::cuda::SVQ_CUDA_IMPL::open_device(interface, ordinal, error);
}
