// ARMv8.2 dot product: two row blocks at a time, so that 8 chains of sdot hide its latency.
#include "kernels-neon/gemv/arm_dotprod_plane.h"
#include "kernels-neon/gemv/gemv.h"

namespace svq::kernels::dotprod {
namespace {

template <int R>
void blocks(const Packed& w, const int8_t* z, uint32_t block, int32_t* acc) {
  const size_t padded = (static_cast<size_t>(w.columns) + 63) / 64 * 64;
  for (uint32_t i = 0; i < w.n_planes; ++i) {
    const size_t stride = padded * 2 * w.plane_bits[i];
    const uint8_t* tiles = w.plane[i] + block * stride;
    if (w.plane_bits[i] == 2) {
      dot_plane<2, R, 1>(tiles, stride, z, padded, w.plane_weight[i], i != 0, acc, 0);
    } else {
      dot_plane<1, R, 1>(tiles, stride, z, padded, w.plane_weight[i], i != 0, acc, 0);
    }
  }
}

}  // namespace

void gemv(const Packed& w, const int8_t* z, uint32_t block_begin, uint32_t block_end, int32_t* acc) {
  uint32_t block = block_begin;
  for (; block + 2 <= block_end; block += 2, acc += 32) blocks<2>(w, z, block, acc);
  for (; block < block_end; ++block, acc += 16) blocks<1>(w, z, block, acc);
}

}  // namespace svq::kernels::dotprod
