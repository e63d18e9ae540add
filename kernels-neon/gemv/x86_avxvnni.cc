// AVX-VNNI (client CPUs from Alder Lake on, N100 among them; without AVX-512). A register holds 32 bytes = 2 tiles:
// row group p is one `and` with 3 << 2p, codes times 4^p, and dpbusd adds four products with signed activations to an
// int32. The sums are divided by 4^p at the end, exactly: at most 65536 · 192 · 128 in magnitude, below 2^31.
//
// Two row blocks go together: 8 accumulators, and the activations are spread once for both.
#include <immintrin.h>

#include "kernels-neon/gemv/blocks.h"
#include "kernels-neon/gemv/gemv.h"
#include "kernels-neon/gemv/x86_rows.h"

namespace svq::kernels::avxvnni {
namespace {

template <int Bits, int R>
void multiply_plane(const uint8_t* w, size_t stride, const int8_t* z, size_t padded, int32_t weight, bool add,
                    int32_t* acc) {
  constexpr int kCode = Bits == 2 ? 3 : 1;
  constexpr int kHalves = Bits == 2 ? 1 : 2;
  constexpr size_t kColumns = 8 * kHalves;  // of 32 bytes
  // Lane 0 gets dword `first`, lane 1 dword `second` of the quadword (2 bits) or of the 16 bytes (1 bit), four times.
  const __m256i spread[2] = {
      Bits == 2 ? _mm256_set_epi32(0x07060504, 0x07060504, 0x07060504, 0x07060504, 0x03020100, 0x03020100, 0x03020100,
                                   0x03020100)
                : _mm256_set_epi32(0x0b0a0908, 0x0b0a0908, 0x0b0a0908, 0x0b0a0908, 0x03020100, 0x03020100, 0x03020100,
                                   0x03020100),
      _mm256_set_epi32(0x0f0e0d0c, 0x0f0e0d0c, 0x0f0e0d0c, 0x0f0e0d0c, 0x07060504, 0x07060504, 0x07060504, 0x07060504)};
  __m256i sum[R][4];
  for (int r = 0; r < R; ++r) {
    for (int p = 0; p < 4; ++p) sum[r][p] = _mm256_setzero_si256();
  }
  const uint8_t* next = w + R * stride;
  for (size_t k = 0; k < padded; k += kColumns) {
    const size_t at = k * 2 * Bits;
    const __m256i zs = Bits == 2
                           ? _mm256_broadcastq_epi64(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(z + k)))
                           : _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(z + k)));
    for (int r = 0; r < R; ++r) {
      const __m256i bytes = _mm256_load_si256(reinterpret_cast<const __m256i*>(w + r * stride + at));
      for (int h = 0; h < kHalves; ++h) {
        const __m256i codes = h ? _mm256_srli_epi16(bytes, 1) : bytes;
        const __m256i ze = _mm256_shuffle_epi8(zs, spread[h]);
        for (int p = 0; p < 4; ++p) {
          const __m256i mask = _mm256_set1_epi8(static_cast<char>(kCode << 2 * p));
          sum[r][p] = _mm256_dpbusd_avx_epi32(sum[r][p], _mm256_and_si256(codes, mask), ze);
        }
      }
      if (at % 64 == 0) _mm_prefetch(reinterpret_cast<const char*>(next + r * stride + at), _MM_HINT_T0);
    }
  }
  const __m128i weights = _mm_set1_epi32(weight);
  for (int r = 0; r < R; ++r) {
    for (int p = 0; p < 4; ++p) {
      store_rows(sum[r][p], 2 * p, weights, add, acc + 16 * r + 4 * p);
    }
  }
}

struct Kernel {
  template <int Bits, int R>
  static void plane(const uint8_t* w, size_t stride, const int8_t* z, size_t padded, int32_t weight, bool add,
                    int32_t* acc) {
    multiply_plane<Bits, R>(w, stride, z, padded, weight, add, acc);
  }
};

}  // namespace

void gemv(const Packed& w, const int8_t* z, uint32_t block_begin, uint32_t block_end, int32_t* acc) {
  gemv_blocks<Kernel, 2>(w, z, block_begin, block_end, acc);
}

}  // namespace svq::kernels::avxvnni
