// ARMv8.0. Blocking: 1 row block × up to 2 tokens = 16 int16 accumulators; the tokens are read in place.
#include "kernels-neon/gemv/arm_neon_plane.h"
#include "kernels-neon/gemm/gemm.h"

namespace svq::kernels::neon {

void gemm(const Packed& w, const void* panel, uint32_t n_tokens, uint32_t block_begin, uint32_t block_end, int32_t* acc,
          size_t acc_stride) {
  const size_t padded = (static_cast<size_t>(w.columns) + 63) / 64 * 64;
  const int8_t* z = static_cast<const int8_t*>(panel);  // [token][padded]
  for (uint32_t block = block_begin; block < block_end; ++block, acc += 16) {
    for (uint32_t t = 0; t < n_tokens; t += 2) {
      const bool pair = t + 2 <= n_tokens;
      for (uint32_t i = 0; i < w.n_planes; ++i) {
        const auto plane = w.plane_bits[i] == 2 ? (pair ? mul_plane<2, 2> : mul_plane<2, 1>)
                                                : (pair ? mul_plane<1, 2> : mul_plane<1, 1>);
        plane(w.plane[i] + block * (padded * 2 * w.plane_bits[i]), z + t * padded, padded, padded, w.plane_weight[i],
              i != 0, acc + t * acc_stride, acc_stride);
      }
    }
  }
}

}  // namespace svq::kernels::neon
