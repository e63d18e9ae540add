// AVX-VNNI. A tile (16 rows × 4 columns) is broadcast to both 128-bit lanes; masks of 3 << 2p by lane give two
// registers of 8 rows each in order, row group p times 4^p. dpbusd takes the 4 activations of a token broadcast from
// memory; the int32 sums are divided by 4^p at the end, exactly; bound as in gemv/.
//
// Blocking: up to 6 tokens × 1 row block = 12 accumulators, over all of K: two dpbusd a cycle of latency 5 want ten.
// Row blocks are the outer loop, as in x86_avx512.cc.
#include <immintrin.h>

#include "kernels-neon/gemm/gemm.h"
#include "kernels-neon/gemm/panel.h"

namespace svq::kernels::avxvnni {
namespace {

constexpr uint32_t kTokens = 6;

// panel: [padded / 4][T] dwords.
template <int Bits, int T>
void tile_block(const uint8_t* w, const int32_t* panel, size_t padded, int32_t weight, bool add, int32_t* acc,
                size_t acc_stride) {
  constexpr int kHalves = Bits == 2 ? 1 : 2;
  constexpr int kCode = (Bits == 2 ? 3 : 1) * 0x01010101;
  const auto by_lane = [](int low, int high) { return _mm256_set_epi32(high, high, high, high, low, low, low, low); };
  const __m256i mask[2] = {by_lane(kCode, kCode << 2), by_lane(kCode << 4, kCode << 6)};
  __m256i sum[T][2];
  for (int t = 0; t < T; ++t) sum[t][0] = sum[t][1] = _mm256_setzero_si256();
  const size_t tiles = padded / 4 / kHalves;
  for (size_t i = 0; i < tiles; ++i) {
    const __m256i bytes = _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(w + 16 * i)));
    for (int h = 0; h < kHalves; ++h, panel += T) {
      const __m256i codes = h ? _mm256_srli_epi16(bytes, 1) : bytes;
      const __m256i c0 = _mm256_and_si256(codes, mask[0]), c1 = _mm256_and_si256(codes, mask[1]);
      for (int t = 0; t < T; ++t) {
        const __m256i z = _mm256_set1_epi32(panel[t]);
        sum[t][0] = _mm256_dpbusd_avx_epi32(sum[t][0], c0, z);
        sum[t][1] = _mm256_dpbusd_avx_epi32(sum[t][1], c1, z);
      }
    }
  }
  const __m256i weights = _mm256_set1_epi32(weight);
  const __m256i shift[2] = {by_lane(0, 2), by_lane(4, 6)};
  for (int t = 0; t < T; ++t) {
    for (int i = 0; i < 2; ++i) {
      __m256i* out = reinterpret_cast<__m256i*>(acc + t * acc_stride + 8 * i);
      __m256i rows = _mm256_mullo_epi32(_mm256_srav_epi32(sum[t][i], shift[i]), weights);
      if (add) rows = _mm256_add_epi32(rows, _mm256_loadu_si256(out));
      _mm256_storeu_si256(out, rows);
    }
  }
}

using TileBlock = void (*)(const uint8_t*, const int32_t*, size_t, int32_t, bool, int32_t*, size_t);
constexpr TileBlock kTileBlock[2][kTokens] = {  // [bits − 1][tokens − 1]
    {tile_block<1, 1>, tile_block<1, 2>, tile_block<1, 3>, tile_block<1, 4>, tile_block<1, 5>, tile_block<1, 6>},
    {tile_block<2, 1>, tile_block<2, 2>, tile_block<2, 3>, tile_block<2, 4>, tile_block<2, 5>, tile_block<2, 6>}};

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

}  // namespace svq::kernels::avxvnni
