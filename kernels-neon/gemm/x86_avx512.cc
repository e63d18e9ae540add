// AVX-512 VNNI. One tile (16 bytes = 16 rows × 4 columns) is broadcast to the four 128-bit lanes and masked with 3 <<
// 2p in lane p: a register of all 16 rows in order, row group p times 4^p, decoded by one load and one `and`. dpbusd
// then takes the 4 activations of a token broadcast from memory. The int32 sums are divided by 4^p at the end, exactly;
// bound as in gemv/.
//
// Blocking: up to 8 tokens × 2 row blocks = 16 accumulators, over all of K: dpbusd runs at its peak, two a cycle; with
// more tokens GCC 12 spills (12 tokens: two thirds of the speed). The tokens of a group are interleaved dword by dword
// in scratch, so that the inner loop reads one stream; row blocks are the outer loop, and a pair's tiles (8·K bytes)
// stay in L1 or L2 while the token groups pass.
#include <immintrin.h>
#include <cstring>

#include "kernels-neon/gemm/gemm.h"

namespace svq::kernels::avx512 {
namespace {

constexpr uint32_t kTokens = 8;

inline __m512i lane_mask(int code) {
  const int m = code * 0x01010101;
  return _mm512_set_epi32(m << 6, m << 6, m << 6, m << 6, m << 4, m << 4, m << 4, m << 4, m << 2, m << 2, m << 2,
                          m << 2,  //
                          m, m, m, m);
}

inline __m512i broadcast_tile(const uint8_t* tile) {
  return _mm512_broadcast_i32x4(_mm_load_si128(reinterpret_cast<const __m128i*>(tile)));
}

// panel: [padded / 4][T] dwords. acc: token t, row block r at acc + t · acc_stride + 16 r.
template <int Bits, int R, int T>
void tile_block(const uint8_t* w, size_t stride, const int32_t* panel, size_t padded, int32_t weight, bool add,
                int32_t* acc, size_t acc_stride) {
  const __m512i mask = lane_mask(Bits == 2 ? 3 : 1);
  __m512i sum[R][T];
  for (int r = 0; r < R; ++r) {
    for (int t = 0; t < T; ++t) sum[r][t] = _mm512_setzero_si512();
  }
  const size_t tiles = padded / (Bits == 2 ? 4 : 8);
  for (size_t i = 0; i < tiles; ++i) {
    __m512i codes[R];
    for (int r = 0; r < R; ++r) codes[r] = broadcast_tile(w + r * stride + 16 * i);
    for (int h = 0; h < (Bits == 2 ? 1 : 2); ++h, panel += T) {
      __m512i c[R];
      for (int r = 0; r < R; ++r) {
        c[r] = _mm512_and_si512(h ? _mm512_srli_epi16(codes[r], 1) : codes[r], mask);
      }
      for (int t = 0; t < T; ++t) {
        const __m512i z = _mm512_set1_epi32(panel[t]);
        for (int r = 0; r < R; ++r) sum[r][t] = _mm512_dpbusd_epi32(sum[r][t], c[r], z);
      }
    }
  }
  const __m512i shift = _mm512_set_epi32(6, 6, 6, 6, 4, 4, 4, 4, 2, 2, 2, 2, 0, 0, 0, 0);
  const __m512i weights = _mm512_set1_epi32(weight);
  for (int t = 0; t < T; ++t) {
    for (int r = 0; r < R; ++r) {
      int32_t* out = acc + t * acc_stride + 16 * r;
      __m512i rows = _mm512_mullo_epi32(_mm512_srav_epi32(sum[r][t], shift), weights);
      if (add) rows = _mm512_add_epi32(rows, _mm512_loadu_si512(out));
      _mm512_storeu_si512(out, rows);
    }
  }
}

using TileBlock = void (*)(const uint8_t*, size_t, const int32_t*, size_t, int32_t, bool, int32_t*, size_t);
constexpr TileBlock kTileBlock[2][2][kTokens] = {  // [bits − 1][row blocks − 1][tokens − 1]
    {{tile_block<1, 1, 1>, tile_block<1, 1, 2>, tile_block<1, 1, 3>, tile_block<1, 1, 4>, tile_block<1, 1, 5>,
      tile_block<1, 1, 6>, tile_block<1, 1, 7>, tile_block<1, 1, 8>},
     {tile_block<1, 2, 1>, tile_block<1, 2, 2>, tile_block<1, 2, 3>, tile_block<1, 2, 4>, tile_block<1, 2, 5>,
      tile_block<1, 2, 6>, tile_block<1, 2, 7>, tile_block<1, 2, 8>}},
    {{tile_block<2, 1, 1>, tile_block<2, 1, 2>, tile_block<2, 1, 3>, tile_block<2, 1, 4>, tile_block<2, 1, 5>,
      tile_block<2, 1, 6>, tile_block<2, 1, 7>, tile_block<2, 1, 8>},
     {tile_block<2, 2, 1>, tile_block<2, 2, 2>, tile_block<2, 2, 3>, tile_block<2, 2, 4>, tile_block<2, 2, 5>,
      tile_block<2, 2, 6>, tile_block<2, 2, 7>, tile_block<2, 2, 8>}}};

}  // namespace

size_t gemm_scratch(uint32_t columns, uint32_t n_tokens) {
  return (static_cast<size_t>(columns) + 63) / 64 * 64 * n_tokens;
}

void gemm(const Packed& w, const int8_t* z0, size_t z_stride, uint32_t n_tokens, uint32_t block_begin,
          uint32_t block_end, int32_t* acc, size_t acc_stride, void* scratch) {
  if (n_tokens == 0) return;
  const size_t padded = (static_cast<size_t>(w.columns) + 63) / 64 * 64;
  const uint32_t groups = (n_tokens + kTokens - 1) / kTokens;
  // Group g holds tokens [g · n / groups, (g + 1) · n / groups): sizes differ by one at most.
  int32_t* panel = static_cast<int32_t*>(scratch);
  for (uint32_t g = 0; g < groups; ++g) {
    const uint32_t begin = static_cast<uint64_t>(g) * n_tokens / groups;
    const uint32_t end = static_cast<uint64_t>(g + 1) * n_tokens / groups;
    const uint32_t size = end - begin;
    int32_t* to = panel + begin * (padded / 4);
    for (uint32_t t = 0; t < size; ++t) {
      const int8_t* z = z0 + (begin + t) * z_stride;
      for (size_t k = 0; k < padded / 4; ++k) std::memcpy(to + k * size + t, z + 4 * k, 4);
    }
  }
  for (uint32_t block = block_begin; block < block_end;) {
    const uint32_t r = block + 2 <= block_end ? 2 : 1;
    for (uint32_t g = 0; g < groups; ++g) {
      const uint32_t begin = static_cast<uint64_t>(g) * n_tokens / groups;
      const uint32_t end = static_cast<uint64_t>(g + 1) * n_tokens / groups;
      int32_t* out = acc + begin * acc_stride + static_cast<size_t>(block - block_begin) * 16;
      for (uint32_t i = 0; i < w.n_planes; ++i) {
        const size_t stride = padded * 2 * w.plane_bits[i];
        kTileBlock[w.plane_bits[i] - 1][r - 1][end - begin - 1](w.plane[i] + block * stride, stride,
                                                                panel + begin * (padded / 4), padded, w.plane_weight[i],
                                                                i != 0, out, acc_stride);
      }
    }
    block += r;
  }
}

}  // namespace svq::kernels::avx512
