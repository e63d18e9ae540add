#include "converter/models/float/startup.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <dlfcn.h>
#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <climits>
#include <cstdlib>
#include <string>

#include "converter/base/error.h"

namespace svq::convert {

namespace {

// nullptr: leave the choice to OpenBLAS.
const char* blas_kernels_for_this_cpu() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512cd"))
    return "SkylakeX";
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return "Haswell";
#endif
  return nullptr;
}

}  // namespace

bool set_blas_environment() {
  bool missing = false;
  const auto set = [&](const char* name, const char* value) {
    if (value != nullptr && std::getenv(name) == nullptr && setenv(name, value, 0) == 0) missing = true;
  };
  set("OPENBLAS_CORETYPE", blas_kernels_for_this_cpu());
  set("OMP_WAIT_POLICY", "passive");
  return missing;
}

void choose_blas_kernels(char** argv) {
  if (!set_blas_environment()) return;
  // By the program's own path, which is also what `ps` then calls it. execv returns only if it fails: then the program
  // goes on, slower.
  char path[PATH_MAX + 1] = {};
  if (readlink("/proc/self/exe", path, PATH_MAX) > 0) execv(path, argv);
}

void init_allocator() {
#if defined(__GLIBC__)
  mallopt(M_MMAP_MAX, 0);  // glibc accepts no threshold above 32 MB
  mallopt(M_TRIM_THRESHOLD, 2000 << 20);
  mallopt(M_TOP_PAD, 64 << 20);
  mallopt(M_ARENA_MAX, 1);  // others would map and unmap what is large
#endif
}

void release_free_memory() {
#if defined(__GLIBC__)
  malloc_trim(0);
#endif
}

namespace {

void set_blas_threads(int threads) {
  // Not in every BLAS, and not exported by every build of OpenBLAS.
  static void* const symbol = dlsym(RTLD_DEFAULT, "openblas_set_num_threads");
  if (symbol) reinterpret_cast<void (*)(int)>(symbol)(threads);
}

}  // namespace

void init_threads(int threads) {
  at::set_num_threads(threads);
  set_blas_threads(threads);
}

SerialBlas::SerialBlas() { set_blas_threads(1); }
SerialBlas::~SerialBlas() { set_blas_threads(at::get_num_threads()); }

c10::Device choose_device(std::string_view name) {
  const bool cuda = at::hasCUDA() && at::getNumGPUs() > 0;
  if (name == "auto") return cuda ? c10::Device(c10::kCUDA, 0) : c10::Device(c10::kCPU);
  if (name == "cpu") return c10::kCPU;
  if (name.substr(0, 4) != "cuda")
    throw Error("unknown device '" + std::string(name) + "': expected auto, cpu or cuda");
  if (!cuda) throw Error("device '" + std::string(name) + "' asked for, but this libtorch sees no CUDA device");
  try {
    const c10::Device device{std::string(name)};
    const int index = device.has_index() ? device.index() : 0;
    if (index < static_cast<int>(at::getNumGPUs()))
      return c10::Device(c10::kCUDA, static_cast<c10::DeviceIndex>(index));
  } catch (const c10::Error&) {
  }
  throw Error("there is no device '" + std::string(name) + "'");
}

bool cpu_has_bf16() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512bf16");
#else
  return false;
#endif
}

bool bf16_is_faster(c10::Device device) {
  if (device.is_cuda()) return true;
#if defined(__x86_64__)
  __builtin_cpu_init();
  return __builtin_cpu_supports("amx-bf16") || (__builtin_cpu_is("amd") && __builtin_cpu_supports("avx512bf16"));
#else
  return false;
#endif
}

double product_rate(int64_t rows, int64_t columns, c10::Device device) {
  const at::NoGradGuard no_grad;
  constexpr int64_t kTokens = 1024;
  constexpr int kRuns = 4;  // the first one makes threads, and kernels for these shapes
  const auto options = at::TensorOptions(device).dtype(bf16_is_faster(device) ? at::kBFloat16 : at::kFloat);
  const at::Tensor x = at::ones({kTokens, columns}, options), w = at::ones({rows, columns}, options);
  double best = 0;
  for (int i = 0; i < kRuns; ++i) {
    const auto start = std::chrono::steady_clock::now();
    at::linear(x, w)[0][0].item<float>();  // waits for a GPU
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    best = std::max(best, 2.0 * kTokens * static_cast<double>(rows) * static_cast<double>(columns) / seconds.count());
  }
  return best;
}

}  // namespace svq::convert
