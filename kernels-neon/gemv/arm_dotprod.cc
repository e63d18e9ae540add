// ARMv8.2 dot product: two row blocks at a time, so that 8 chains of sdot hide its latency.
#include "kernels-neon/gemv/arm_dotprod_plane.h"
#include "kernels-neon/gemv/blocks.h"
#include "kernels-neon/gemv/gemv.h"

namespace svq::kernels::dotprod {
namespace {

struct Kernel {
  template <int Bits, int R>
  static void plane(const uint8_t* w, size_t stride, const int8_t* z, size_t padded, int32_t weight, bool add,
                    int32_t* acc) {
    dot_plane<Bits, R, 1>(w, stride, z, padded, weight, add, acc, 0);
  }
};

}  // namespace

void gemv(const Packed& w, const int8_t* z, uint32_t block_begin, uint32_t block_end, int32_t* acc) {
  gemv_blocks<Kernel, 2>(w, z, block_begin, block_end, acc);
}

}  // namespace svq::kernels::dotprod
