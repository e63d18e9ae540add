// AVX-512 VNNI. A register holds 64 bytes = 4 tiles; `and` with 3 << 2p leaves row group p's codes times 4^p, unsigned
// up to 192, which dpbusd multiplies by the signed activations. No shift, 4^p is divided out of the int32 sums. Bound:
// 192 · 128 · 65536 < 2^31.
//
// Four row blocks go together, so that expanding z (the 4 activations of tile t, repeated in 128-bit lane t) is paid
// for once in four; 16 accumulators. A row block's tiles are contiguous, hence the four streams are one region of
// memory: the same place in the next region is prefetched.
#include <immintrin.h>

#include "kernels-neon/gemv/gemv.h"

namespace svq::kernels::avx512 {
namespace {

// Lane t of expansion s holds dword `first + step · t` four times.
inline __m512i expansion(int first, int step) {
  const __m512i lane = _mm512_set_epi32(3, 3, 3, 3, 2, 2, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0);
  return _mm512_add_epi32(_mm512_set1_epi32(first), _mm512_mullo_epi32(lane, _mm512_set1_epi32(step)));
}

// Sums row group p over the lanes and adds weight · sum / 4^p to acc[0 … 3].
template <int P>
inline void finish(__m512i sum, __m128i weight, bool add, int32_t* acc) {
  const __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(sum), _mm512_extracti64x4_epi64(sum, 1));
  const __m128i quarter = _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
  __m128i rows = _mm_mullo_epi32(_mm_srai_epi32(quarter, 2 * P), weight);
  __m128i* out = reinterpret_cast<__m128i*>(acc + 4 * P);
  if (add) rows = _mm_add_epi32(rows, _mm_loadu_si128(out));
  _mm_storeu_si128(out, rows);
}

// One plane of R row blocks. w: first tile; stride: bytes of a row block.
template <int Bits, int R>
void plane(const uint8_t* w, size_t stride, const int8_t* z, size_t padded, int32_t weight, bool add, int32_t* acc) {
  constexpr int kCode = Bits == 2 ? 3 : 1;
  const __m512i mask[4] = {_mm512_set1_epi8(kCode), _mm512_set1_epi8(kCode << 2), _mm512_set1_epi8(kCode << 4),
                           _mm512_set1_epi8(static_cast<char>(kCode << 6))};
  const __m512i index[4] = {expansion(0, Bits == 2 ? 1 : 2), expansion(Bits == 2 ? 4 : 1, Bits == 2 ? 1 : 2),
                            expansion(8, Bits == 2 ? 1 : 2), expansion(Bits == 2 ? 12 : 9, Bits == 2 ? 1 : 2)};
  __m512i sum[R][4];
  for (int r = 0; r < R; ++r) {
    for (int p = 0; p < 4; ++p) sum[r][p] = _mm512_setzero_si512();
  }
  const uint8_t* next = w + R * stride;
  for (size_t k = 0; k < padded; k += 64) {
    const __m512i zs = _mm512_loadu_si512(z + k);
    for (int s = 0; s < 4; ++s) {
      const __m512i ze = _mm512_permutexvar_epi32(index[s], zs);
      // 2 bits: expansion s belongs to the s-th 64 bytes. 1 bit: s = 2 · (64 bytes) + (column half h).
      const size_t at = Bits == 2 ? k * 4 + 64 * s : k * 2 + 64 * (s / 2);
      for (int r = 0; r < R; ++r) {
        __m512i codes = _mm512_load_si512(w + r * stride + at);
        if (Bits == 1 && s % 2) codes = _mm512_srli_epi16(codes, 1);
        for (int p = 0; p < 4; ++p) sum[r][p] = _mm512_dpbusd_epi32(sum[r][p], _mm512_and_si512(codes, mask[p]), ze);
        if (Bits == 2 || s % 2 == 0) _mm_prefetch(reinterpret_cast<const char*>(next + r * stride + at), _MM_HINT_T0);
      }
    }
  }
  const __m128i weights = _mm_set1_epi32(weight);
  for (int r = 0; r < R; ++r, acc += 16) {
    finish<0>(sum[r][0], weights, add, acc);
    finish<1>(sum[r][1], weights, add, acc);
    finish<2>(sum[r][2], weights, add, acc);
    finish<3>(sum[r][3], weights, add, acc);
  }
}

template <int R>
void blocks(const Packed& w, const int8_t* z, uint32_t block, int32_t* acc) {
  const size_t padded = (static_cast<size_t>(w.columns) + 63) / 64 * 64;
  for (uint32_t i = 0; i < w.n_planes; ++i) {
    const size_t stride = padded * 2 * w.plane_bits[i];
    const uint8_t* tiles = w.plane[i] + block * stride;
    if (w.plane_bits[i] == 2) {
      plane<2, R>(tiles, stride, z, padded, w.plane_weight[i], i != 0, acc);
    } else {
      plane<1, R>(tiles, stride, z, padded, w.plane_weight[i], i != 0, acc);
    }
  }
}

}  // namespace

void gemv(const Packed& w, const int8_t* z, uint32_t block_begin, uint32_t block_end, int32_t* acc) {
  uint32_t block = block_begin;
  for (; block + 4 <= block_end; block += 4, acc += 64) blocks<4>(w, z, block, acc);
  for (; block + 2 <= block_end; block += 2, acc += 32) blocks<2>(w, z, block, acc);
  for (; block < block_end; ++block, acc += 16) blocks<1>(w, z, block, acc);
}

}  // namespace svq::kernels::avx512
