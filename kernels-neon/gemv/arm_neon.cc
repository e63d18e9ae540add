// ARMv8.0, for cores without sdot (Cortex-A72 and older).
#include "kernels-neon/gemv/arm_neon_plane.h"
#include "kernels-neon/gemv/gemv.h"

namespace svq::kernels::neon {

void gemv(const Packed& w, const int8_t* z, uint32_t block_begin, uint32_t block_end, int32_t* acc) {
  const size_t padded = (static_cast<size_t>(w.columns) + 63) / 64 * 64;
  for (uint32_t block = block_begin; block < block_end; ++block, acc += 16) {
    for (uint32_t i = 0; i < w.n_planes; ++i) {
      const uint8_t* tiles = w.plane[i] + block * (padded * 2 * w.plane_bits[i]);
      if (w.plane_bits[i] == 2) {
        mul_plane<2, 1>(tiles, z, 0, padded, w.plane_weight[i], i != 0, acc, 0);
      } else {
        mul_plane<1, 1>(tiles, z, 0, padded, w.plane_weight[i], i != 0, acc, 0);
      }
    }
  }
}

}  // namespace svq::kernels::neon
