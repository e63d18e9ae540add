// AVX-512 VNNI. One tile (16 bytes = 16 rows × 4 columns) is broadcast to the four 128-bit lanes and masked with 3 <<
// 2p in lane p: a register of all 16 rows in order, row group p times 4^p, decoded by one load and one `and`. dpbusd
// then takes the 4 activations of a token broadcast from memory. The int32 sums are divided by 4^p at the end, exactly;
// bound as in gemv/.
//
// Blocking: up to 8 tokens × 2 row blocks = 16 accumulators, over all of K: dpbusd runs at its peak, two a cycle; with
// more tokens GCC 12 spills (12 tokens: two thirds of the speed). Up to 4 tokens go with 4 row blocks and up to 2 with
// 8: fewer accumulators than ten would wait for one another. Row blocks are the outer loop, and a pair's tiles (8·K
// bytes) stay in L1 or L2 while the token groups pass; a group's panel (8·K bytes) too, being read for every pair.
#include <immintrin.h>

#include "kernels-neon/gemm/gemm.h"
#include "kernels-neon/gemm/panel.h"

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
constexpr uint32_t kRowLog = 4;                          // row blocks go by 1, 2, 4 or 8
constexpr TileBlock kTileBlock[2][kRowLog][kTokens] = {  // [bits − 1][log2 row blocks][tokens − 1]
    {{tile_block<1, 1, 1>, tile_block<1, 1, 2>, tile_block<1, 1, 3>, tile_block<1, 1, 4>, tile_block<1, 1, 5>,
      tile_block<1, 1, 6>, tile_block<1, 1, 7>, tile_block<1, 1, 8>},
     {tile_block<1, 2, 1>, tile_block<1, 2, 2>, tile_block<1, 2, 3>, tile_block<1, 2, 4>, tile_block<1, 2, 5>,
      tile_block<1, 2, 6>, tile_block<1, 2, 7>, tile_block<1, 2, 8>},
     {tile_block<1, 4, 1>, tile_block<1, 4, 2>, tile_block<1, 4, 3>, tile_block<1, 4, 4>},
     {tile_block<1, 8, 1>, tile_block<1, 8, 2>}},
    {{tile_block<2, 1, 1>, tile_block<2, 1, 2>, tile_block<2, 1, 3>, tile_block<2, 1, 4>, tile_block<2, 1, 5>,
      tile_block<2, 1, 6>, tile_block<2, 1, 7>, tile_block<2, 1, 8>},
     {tile_block<2, 2, 1>, tile_block<2, 2, 2>, tile_block<2, 2, 3>, tile_block<2, 2, 4>, tile_block<2, 2, 5>,
      tile_block<2, 2, 6>, tile_block<2, 2, 7>, tile_block<2, 2, 8>},
     {tile_block<2, 4, 1>, tile_block<2, 4, 2>, tile_block<2, 4, 3>, tile_block<2, 4, 4>},
     {tile_block<2, 8, 1>, tile_block<2, 8, 2>}}};

// Of so many tokens at a time.
inline uint32_t most_row_log(uint32_t tokens) { return tokens <= 2 ? 3 : tokens <= 4 ? 2 : 1; }

}  // namespace

void gemm_pack(const int8_t* z0, size_t z_stride, uint32_t n_tokens, uint32_t columns, uint32_t k_begin, uint32_t k_end,
               void* panel) {
  pack_panel<4>(z0, z_stride, n_tokens, kTokens, (static_cast<size_t>(columns) + 63) / 64 * 64, k_begin, k_end, panel);
}

void gemm(const Packed& w, const void* panel, uint32_t n_tokens, uint32_t block_begin, uint32_t block_end, int32_t* acc,
          size_t acc_stride) {
  const uint32_t most = most_row_log(n_tokens);
  for (uint32_t block = block_begin; block < block_end;) {
    uint32_t log = most;
    while (block + (1u << log) > block_end) --log;
    gemm_block(w, panel, n_tokens, kTokens, block, acc + static_cast<size_t>(block - block_begin) * 16, acc_stride,
               [=](uint32_t bits, uint32_t tokens, const uint8_t* tiles, size_t stride, const int8_t* z, size_t padded,
                   int32_t weight, bool add, int32_t* out) {
                 kTileBlock[bits - 1][log][tokens - 1](tiles, stride, reinterpret_cast<const int32_t*>(z), padded,
                                                       weight, add, out, acc_stride);
               });
    block += 1u << log;
  }
}

}  // namespace svq::kernels::avx512
