// ARMv8.2 dot product. Blocking: 1 row block × up to 4 tokens = 16 accumulators, 4 registers of activations and 4 of
// codes; the tokens are read in place, 16 columns at a time. Row blocks are the outer loop: a block's tiles (4·K bytes)
// stay in L1 while the token groups pass.
#include "kernels-neon/gemv/arm_dotprod_plane.h"
#include "kernels-neon/gemm/gemm.h"

namespace svq::kernels::dotprod {
namespace {

constexpr uint32_t kTokens = 4;
using Plane = void (*)(const uint8_t*, size_t, const int8_t*, size_t, size_t, int32_t, bool, int32_t*, size_t);
constexpr Plane kPlane[2][kTokens] = {  // [bits − 1][tokens − 1]
    {dot_plane<1, 1, 1>, dot_plane<1, 1, 2>, dot_plane<1, 1, 3>, dot_plane<1, 1, 4>},
    {dot_plane<2, 1, 1>, dot_plane<2, 1, 2>, dot_plane<2, 1, 3>, dot_plane<2, 1, 4>}};

}  // namespace

void gemm(const Packed& w, const int8_t* z0, size_t z_stride, uint32_t n_tokens, uint32_t block_begin,
          uint32_t block_end, int32_t* acc, size_t acc_stride, void*) {
  const size_t padded = (static_cast<size_t>(w.columns) + 63) / 64 * 64;
  for (uint32_t block = block_begin; block < block_end; ++block, acc += 16) {
    for (uint32_t t = 0; t < n_tokens; t += kTokens) {
      const uint32_t size = n_tokens - t < kTokens ? n_tokens - t : kTokens;
      for (uint32_t i = 0; i < w.n_planes; ++i) {
        const size_t stride = padded * 2 * w.plane_bits[i];
        kPlane[w.plane_bits[i] - 1][size - 1](w.plane[i] + block * stride, stride, z0 + t * z_stride, z_stride, padded,
                                              w.plane_weight[i], i != 0, acc + t * acc_stride, acc_stride);
      }
    }
  }
}

}  // namespace svq::kernels::dotprod
