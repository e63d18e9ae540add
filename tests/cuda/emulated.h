// The emulated GPU as a model holds it.
#pragma once
#include <memory>

#include "kernels-cuda/emulation/device.h"

namespace svq::test {

inline std::shared_ptr<cuda::Device> emulated(const cuda::EmulatedOptions& options = {}) {
  return std::shared_ptr<cuda::Device>(cuda::open_emulated(options));
}

}  // namespace svq::test
