// The emulation as a module that libsvqrt opens, as it would libsvqrt-cuda.so.
#include "kernels-cuda/emulation/device.h"

extern "C" __attribute__((visibility("default"))) svq::cuda::Device* svqrt_cuda_open(uint32_t interface, int ordinal,
                                                                                     const char** error) {
  *error = interface != svq::cuda::kInterface ? "another version"
           : ordinal != 0                     ? "there is one emulated GPU"
                                              : nullptr;
  return *error != nullptr ? nullptr : svq::cuda::open_emulated({});
}
