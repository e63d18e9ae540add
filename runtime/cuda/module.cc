#include "runtime/cuda/module.h"

#include <dlfcn.h>

#include <cstdlib>
#include <map>
#include <mutex>

#include "runtime/base/error.h"

namespace svq::rt {
namespace {

constexpr char kModule[] = "libsvqrt-cuda.so";

// The directory of the file that holds this function, with a slash; "" if unknown.
std::string own_directory() {
  Dl_info info;
  if (dladdr(reinterpret_cast<const void*>(&own_directory), &info) == 0 || info.dli_fname == nullptr) return "";
  const std::string file = info.dli_fname;
  const size_t slash = file.rfind('/');
  return slash == std::string::npos ? "" : file.substr(0, slash + 1);
}

// Stays open for the process's life: CUDA does not like to be unloaded.
void* open_module(std::string* reason) {
  if (const char* named = secure_getenv("SVQ_CUDA_MODULE"); named != nullptr && *named != '\0') {
    void* handle = dlopen(named, RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) *reason = cat("the module that SVQ_CUDA_MODULE names cannot be opened: ", dlerror());
    return handle;
  }
  const std::string beside = own_directory();
  if (!beside.empty()) {
    if (void* handle = dlopen((beside + kModule).c_str(), RTLD_NOW | RTLD_LOCAL)) return handle;
  }
  void* handle = dlopen(kModule, RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) *reason = cat("the CUDA module cannot be opened: ", dlerror());
  return handle;
}

}  // namespace

std::shared_ptr<cuda::Device> open_gpu(uint32_t ordinal, std::string* reason) {
  static std::mutex mutex;
  static void* module = nullptr;
  static std::map<uint32_t, std::weak_ptr<cuda::Device>> devices;
  const std::lock_guard lock(mutex);
  if (auto device = devices[ordinal].lock()) return device;
  if (module == nullptr) module = open_module(reason);
  if (module == nullptr) return nullptr;
  auto* open = reinterpret_cast<cuda::OpenDevice*>(dlsym(module, cuda::kOpenDevice));
  if (open == nullptr) {
    *reason = cat("the CUDA module has no function ", cuda::kOpenDevice);
    return nullptr;
  }
  const char* error = nullptr;
  std::shared_ptr<cuda::Device> device(open(cuda::kInterface, static_cast<int>(ordinal), &error));
  if (device == nullptr) {
    *reason = error == nullptr ? "the GPU cannot be opened" : error;
    return nullptr;
  }
  devices[ordinal] = device;
  return device;
}

}  // namespace svq::rt
