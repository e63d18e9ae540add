// ARMv8.2 dot product. Blocking: 1 row block × up to 8 tokens, in two passes of 16 accumulators, 8 registers of
// activations and 1 of codes (gemv/arm_dotprod_plane.h); fewer than 5 tokens take one pass. Row blocks are the outer
// loop: a block's tiles (4·K bytes) stay in L1 while the token groups pass.
#include "kernels-neon/gemv/arm_dotprod_plane.h"
#include "kernels-neon/gemm/gemm.h"
#include "kernels-neon/gemm/panel.h"

namespace svq::kernels::dotprod {
namespace {

constexpr uint32_t kTokens = 8;
using Plane = void (*)(const uint8_t*, size_t, const int8_t*, size_t, int32_t, bool, int32_t*, size_t);
constexpr Plane kPlane[2][kTokens] = {  // [bits − 1][tokens − 1]
    {dot_plane<1, 1, 1>, dot_plane<1, 1, 2>, dot_plane<1, 1, 3>, dot_plane<1, 1, 4>, dot_plane<1, 1, 5>,
     dot_plane<1, 1, 6>, dot_plane<1, 1, 7>, dot_plane<1, 1, 8>},
    {dot_plane<2, 1, 1>, dot_plane<2, 1, 2>, dot_plane<2, 1, 3>, dot_plane<2, 1, 4>, dot_plane<2, 1, 5>,
     dot_plane<2, 1, 6>, dot_plane<2, 1, 7>, dot_plane<2, 1, 8>}};

}  // namespace

void gemm_pack(const int8_t* z0, size_t z_stride, uint32_t n_tokens, uint32_t columns, uint32_t k_begin, uint32_t k_end,
               void* panel) {
  pack_panel<16>(z0, z_stride, n_tokens, kTokens, (static_cast<size_t>(columns) + 63) / 64 * 64, k_begin, k_end, panel);
}

void gemm(const Packed& w, const void* panel, uint32_t n_tokens, uint32_t block_begin, uint32_t block_end, int32_t* acc,
          size_t acc_stride) {
  for (uint32_t block = block_begin; block < block_end; ++block, acc += 16) {
    gemm_block(w, panel, n_tokens, kTokens, block, acc, acc_stride,
               [=](uint32_t bits, uint32_t tokens, const uint8_t* tiles, size_t stride, const int8_t* z, size_t padded,
                   int32_t weight, bool add, int32_t* out) {
                 kPlane[bits - 1][tokens - 1](tiles, stride, z, padded, weight, add, out, acc_stride);
               });
  }
}

}  // namespace svq::kernels::dotprod
