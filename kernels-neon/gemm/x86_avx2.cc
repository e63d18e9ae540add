// AVX2. A tile (16 rows × 4 columns) is broadcast to both 128-bit lanes; lane-wise shifts by 0 and 2 bits, and the same
// after
// >> 4, give two registers of 8 rows each in order, codes 0 … 3. maddubs with a token's 4 activations leaves int16
// pairs, summed for 32 tiles (128 columns) before they are widened: 32 · 2 · 3 · 128 = 24576 < 32768, no saturation.
//
// Blocking: up to 4 tokens × 1 row block = 8 int16 accumulators in registers; the int32 sums live in acc-sized stack
// space. Row blocks are the outer loop, as in x86_avx512.cc.
#include <immintrin.h>

#include "kernels-neon/gemm/gemm.h"
#include "kernels-neon/gemm/panel.h"

namespace svq::kernels::avx2 {
namespace {

constexpr uint32_t kTokens = 4;
constexpr size_t kWiden = 32;  // steps of 4 columns between widenings

// panel: [padded / 4][T] dwords.
template <int Bits, int T>
void tile_block(const uint8_t* w, const int32_t* panel, size_t padded, int32_t weight, bool add, int32_t* acc,
                size_t acc_stride) {
  constexpr int kHalves = Bits == 2 ? 1 : 2;
  const __m256i mask = _mm256_set1_epi8(Bits == 2 ? 3 : 1), ones = _mm256_set1_epi16(1);
  const __m256i shift[2] = {_mm256_set_epi32(2, 2, 2, 2, 0, 0, 0, 0), _mm256_set_epi32(3, 3, 3, 3, 1, 1, 1, 1)};
  __m256i sum[T][2];
  for (int t = 0; t < T; ++t) sum[t][0] = sum[t][1] = _mm256_setzero_si256();
  const size_t tiles = padded / 4 / kHalves;
  for (size_t begin = 0; begin < tiles; begin += kWiden / kHalves) {
    const size_t end = begin + kWiden / kHalves < tiles ? begin + kWiden / kHalves : tiles;
    __m256i part[T][2];
    for (int t = 0; t < T; ++t) part[t][0] = part[t][1] = _mm256_setzero_si256();
    for (size_t i = begin; i < end; ++i) {
      const __m256i bytes = _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(w + 16 * i)));
      for (int h = 0; h < kHalves; ++h, panel += T) {
        const __m256i shifted = _mm256_srlv_epi32(bytes, shift[h]);
        const __m256i c0 = _mm256_and_si256(shifted, mask);
        const __m256i c1 = _mm256_and_si256(_mm256_srli_epi32(shifted, 4), mask);
        for (int t = 0; t < T; ++t) {
          const __m256i z = _mm256_set1_epi32(panel[t]);
          part[t][0] = _mm256_add_epi16(part[t][0], _mm256_maddubs_epi16(c0, z));
          part[t][1] = _mm256_add_epi16(part[t][1], _mm256_maddubs_epi16(c1, z));
        }
      }
    }
    for (int t = 0; t < T; ++t) {
      for (int i = 0; i < 2; ++i) sum[t][i] = _mm256_add_epi32(sum[t][i], _mm256_madd_epi16(part[t][i], ones));
    }
  }
  const __m256i weights = _mm256_set1_epi32(weight);
  for (int t = 0; t < T; ++t) {
    for (int i = 0; i < 2; ++i) {
      __m256i* out = reinterpret_cast<__m256i*>(acc + t * acc_stride + 8 * i);
      __m256i rows = _mm256_mullo_epi32(sum[t][i], weights);
      if (add) rows = _mm256_add_epi32(rows, _mm256_loadu_si256(out));
      _mm256_storeu_si256(out, rows);
    }
  }
}

using TileBlock = void (*)(const uint8_t*, const int32_t*, size_t, int32_t, bool, int32_t*, size_t);
constexpr TileBlock kTileBlock[2][kTokens] = {  // [bits − 1][tokens − 1]
    {tile_block<1, 1>, tile_block<1, 2>, tile_block<1, 3>, tile_block<1, 4>},
    {tile_block<2, 1>, tile_block<2, 2>, tile_block<2, 3>, tile_block<2, 4>}};

}  // namespace

void gemm_pack(const int8_t* z0, size_t z_stride, uint32_t n_tokens, uint32_t columns, uint32_t k_begin, uint32_t k_end,
               void* panel) {
  pack_panel<4>(z0, z_stride, n_tokens, kTokens, (static_cast<size_t>(columns) + 63) / 64 * 64, k_begin, k_end, panel);
}

void gemm(const Packed& w, const void* panel, uint32_t n_tokens, uint32_t block_begin, uint32_t block_end, int32_t* acc,
          size_t acc_stride) {
  for (uint32_t block = block_begin; block < block_end; ++block, acc += 16) {
    gemm_block(w, panel, n_tokens, kTokens, block, acc, acc_stride,
               [=](uint32_t bits, uint32_t tokens, const uint8_t* tiles, size_t, const int8_t* z, size_t padded,
                   int32_t weight, bool add, int32_t* out) {
                 kTileBlock[bits - 1][tokens - 1](tiles, reinterpret_cast<const int32_t*>(z), padded, weight, add, out,
                                                  acc_stride);
               });
  }
}

}  // namespace svq::kernels::avx2
