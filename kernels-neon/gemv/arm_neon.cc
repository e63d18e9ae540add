// ARMv8.0, for cores without sdot (Cortex-A72 and older).
#include "kernels-neon/gemv/arm_neon_plane.h"
#include "kernels-neon/gemv/blocks.h"
#include "kernels-neon/gemv/gemv.h"

namespace svq::kernels::neon {

namespace {

struct Kernel {
  template <int Bits, int R>
  static void plane(const uint8_t* w, size_t stride, const int8_t* z, size_t padded, int32_t weight, bool add,
                    int32_t* acc) {
    static_assert(R == 1);
    mul_plane<Bits, 1>(w, z, 0, padded, weight, add, acc, 0);
  }
};

}  // namespace

void gemv(const Packed& w, const int8_t* z, uint32_t block_begin, uint32_t block_end, int32_t* acc) {
  gemv_blocks<Kernel, 1>(w, z, block_begin, block_end, acc);
}

}  // namespace svq::kernels::neon
