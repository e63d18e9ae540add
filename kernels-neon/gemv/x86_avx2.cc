// AVX2. A register holds 32 bytes = 2 tiles; maddubs multiplies unsigned codes by signed activations and adds pairs
// into int16. Row groups 0 and 1 are masked from w, 2 and 3 from w >> 4; groups 1 and 3 thus carry a factor 4, divided
// out of the int32 sum at the end, exactly. No saturation: a pair is at most 2 · 12 · 128 = 3072 in magnitude, and the
// int16 sums are widened every 64 columns, that is after 8 steps: 24576 < 32768. (1-bit planes: codes ≤ 4 after the
// mask, 2 halves × 4 steps: 8192.)
//
// Two row blocks go together: 8 int16 accumulators in registers; the 8 int32 ones are touched every 64 columns only.
#include <immintrin.h>

#include "kernels-neon/gemv/blocks.h"
#include "kernels-neon/gemv/gemv.h"
#include "kernels-neon/gemv/x86_rows.h"

namespace svq::kernels::avx2 {
namespace {

// 16-bit shift and byte mask: bits that cross a byte are masked away.
template <int Bits, int R>
void multiply_plane(const uint8_t* w, size_t stride, const int8_t* z, size_t padded, int32_t weight, bool add,
                    int32_t* acc) {
  constexpr int kCode = Bits == 2 ? 3 : 1;
  constexpr int kSteps = Bits == 2 ? 8 : 4;  // 32-byte steps in 64 columns
  const __m256i low = _mm256_set1_epi8(kCode), high = _mm256_set1_epi8(kCode << 2);
  const __m256i ones = _mm256_set1_epi16(1);
  // Lane 0 gets dword `first`, lane 1 dword `second` of the quadword (2 bits) or of the 16 bytes (1 bit), four times.
  const __m256i spread_2bit =
      _mm256_set_epi32(0x07060504, 0x07060504, 0x07060504, 0x07060504, 0x03020100, 0x03020100, 0x03020100, 0x03020100);
  const __m256i spread_h0 =
      _mm256_set_epi32(0x0b0a0908, 0x0b0a0908, 0x0b0a0908, 0x0b0a0908, 0x03020100, 0x03020100, 0x03020100, 0x03020100);
  const __m256i spread_h1 =
      _mm256_set_epi32(0x0f0e0d0c, 0x0f0e0d0c, 0x0f0e0d0c, 0x0f0e0d0c, 0x07060504, 0x07060504, 0x07060504, 0x07060504);
  __m256i sum[R][4];
  for (int r = 0; r < R; ++r) {
    for (int p = 0; p < 4; ++p) sum[r][p] = _mm256_setzero_si256();
  }
  const uint8_t* next = w + R * stride;
  for (size_t k = 0; k < padded; k += 64) {
    __m256i part[R][4];
    for (int r = 0; r < R; ++r) {
      for (int p = 0; p < 4; ++p) part[r][p] = _mm256_setzero_si256();
    }
    for (int s = 0; s < kSteps; ++s) {
      const size_t at = k * 2 * Bits + 32 * s;
      __m256i ze[2];
      if (Bits == 2) {
        ze[0] = _mm256_shuffle_epi8(
            _mm256_broadcastq_epi64(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(z + k + 8 * s))), spread_2bit);
      } else {
        const __m256i zs =
            _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(z + k + 16 * s)));
        ze[0] = _mm256_shuffle_epi8(zs, spread_h0);
        ze[1] = _mm256_shuffle_epi8(zs, spread_h1);
      }
      for (int r = 0; r < R; ++r) {
        const __m256i bytes = _mm256_load_si256(reinterpret_cast<const __m256i*>(w + r * stride + at));
        for (int h = 0; h < (Bits == 2 ? 1 : 2); ++h) {
          const __m256i w0 = h ? _mm256_srli_epi16(bytes, 1) : bytes;
          const __m256i w4 = _mm256_srli_epi16(bytes, 4 + h);
          part[r][0] = _mm256_add_epi16(part[r][0], _mm256_maddubs_epi16(_mm256_and_si256(w0, low), ze[h]));
          part[r][1] = _mm256_add_epi16(part[r][1], _mm256_maddubs_epi16(_mm256_and_si256(w0, high), ze[h]));
          part[r][2] = _mm256_add_epi16(part[r][2], _mm256_maddubs_epi16(_mm256_and_si256(w4, low), ze[h]));
          part[r][3] = _mm256_add_epi16(part[r][3], _mm256_maddubs_epi16(_mm256_and_si256(w4, high), ze[h]));
        }
        if (s % 2 == 0) _mm_prefetch(reinterpret_cast<const char*>(next + r * stride + at), _MM_HINT_T0);
      }
    }
    for (int r = 0; r < R; ++r) {
      for (int p = 0; p < 4; ++p) sum[r][p] = _mm256_add_epi32(sum[r][p], _mm256_madd_epi16(part[r][p], ones));
    }
  }
  const __m128i weights = _mm_set1_epi32(weight);
  for (int r = 0; r < R; ++r) {
    for (int p = 0; p < 4; ++p) {
      store_rows(sum[r][p], p % 2 ? 2 : 0, weights, add, acc + 16 * r + 4 * p);
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

}  // namespace svq::kernels::avx2
