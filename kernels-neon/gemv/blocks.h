// Row blocks of a linear, up to `Most` (a power of two) at a time, plane by plane. Kernel::plane<Bits, R>(first tile,
// bytes of a row block, z, padded, weight, add, acc) multiplies one plane of R row blocks; add: to what acc holds.
#pragma once
#include "kernels-neon/kernels.h"

namespace svq::kernels {
namespace {

template <class Kernel, int Most>
inline void gemv_blocks(const Packed& w, const int8_t* z, uint32_t block, uint32_t block_end, int32_t* acc) {
  const size_t padded = (static_cast<size_t>(w.columns) + 63) / 64 * 64;
  for (; block + Most <= block_end; block += Most, acc += 16 * Most) {
    for (uint32_t i = 0; i < w.n_planes; ++i) {
      const size_t stride = padded * 2 * w.plane_bits[i];
      const uint8_t* tiles = w.plane[i] + block * stride;
      if (w.plane_bits[i] == 2) {
        Kernel::template plane<2, Most>(tiles, stride, z, padded, w.plane_weight[i], i != 0, acc);
      } else {
        Kernel::template plane<1, Most>(tiles, stride, z, padded, w.plane_weight[i], i != 0, acc);
      }
    }
  }
  if constexpr (Most > 1) gemv_blocks<Kernel, Most / 2>(w, z, block, block_end, acc);
}

}  // namespace
}  // namespace svq::kernels
