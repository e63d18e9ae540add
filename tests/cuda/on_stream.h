// A stream of the emulation for as long as a test needs it.
#pragma once
#include "kernels-cuda/emulation/device.h"
#include "kernels-cuda/emulation/simt.h"

namespace svq::cuda::testing {

struct OnStream {
  Stream stream = simt::create_stream();
  ~OnStream() { simt::destroy(static_cast<simt::Stream*>(stream)); }
};

}  // namespace svq::cuda::testing
