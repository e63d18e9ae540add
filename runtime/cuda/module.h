// Finding a GPU: the module libsvqrt-cuda.so is opened when one is asked for, and not before.
#pragma once
#include <cstdint>
#include <memory>
#include <string>

#include "kernels-cuda/device.h"

namespace svq::rt {

// GPU `ordinal`, shared by all who ask. Null with *reason set: a sentence's end that says why there is none. The module
// is looked for beside this library and in the loader's path; SVQ_CUDA_MODULE names another file.
std::shared_ptr<cuda::Device> open_gpu(uint32_t ordinal, std::string* reason);

}  // namespace svq::rt
