// AVX-512 VNNI. A register holds 64 bytes = 4 tiles; `and` with 3 << 2p leaves row group p's codes times 4^p, unsigned
// up to 192, which dpbusd multiplies by the signed activations. No shift, 4^p is divided out of the int32 sums. Bound:
// 192 · 128 · 65536 < 2^31.
//
// Where what memory delivers is the limit, the number of streams decides. Intel: four row blocks go together, so that
// expanding z (the 4 activations of tile t, repeated in 128-bit lane t) is paid for once in four; a row block's tiles
// are contiguous, hence the four streams are one region of memory, and the same place in the next region is prefetched.
// AMD (Zen 5, 512 MB): that reaches 75 % of a plain read, one row block after another with the prefetch 8 KB ahead 99
// %; two sets of accumulators then hide dpbusd's latency.
#include <immintrin.h>

#include "kernels-neon/gemv/blocks.h"
#include "kernels-neon/gemv/gemv.h"
#include "kernels-neon/gemv/x86_rows.h"

namespace svq::kernels::avx512 {
namespace {

// Lane t of expansion s holds dword `first + step · t` four times.
inline __m512i expansion(int first, int step) {
  const __m512i lane = _mm512_set_epi32(3, 3, 3, 3, 2, 2, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0);
  return _mm512_add_epi32(_mm512_set1_epi32(first), _mm512_mullo_epi32(lane, _mm512_set1_epi32(step)));
}

constexpr size_t kAhead = 8192;  // bytes that a single stream is prefetched ahead

// One plane of R row blocks, with U sets of accumulators. w: first tile; stride: bytes of a row block.
template <int Bits, int R, int U>
void multiply_plane(const uint8_t* w, size_t stride, const int8_t* z, size_t padded, int32_t weight, bool add,
                    int32_t* acc) {
  constexpr int kCode = Bits == 2 ? 3 : 1;
  const __m512i mask[4] = {_mm512_set1_epi8(kCode), _mm512_set1_epi8(kCode << 2), _mm512_set1_epi8(kCode << 4),
                           _mm512_set1_epi8(static_cast<char>(kCode << 6))};
  const __m512i index[4] = {expansion(0, Bits == 2 ? 1 : 2), expansion(Bits == 2 ? 4 : 1, Bits == 2 ? 1 : 2),
                            expansion(8, Bits == 2 ? 1 : 2), expansion(Bits == 2 ? 12 : 9, Bits == 2 ? 1 : 2)};
  __m512i sum[R][U][4];
  for (int r = 0; r < R; ++r) {
    for (int u = 0; u < U; ++u) {
      for (int p = 0; p < 4; ++p) sum[r][u][p] = _mm512_setzero_si512();
    }
  }
  const uint8_t* next = w + (R == 1 ? kAhead : R * stride);
  for (size_t k = 0; k < padded; k += 64) {
    const __m512i zs = _mm512_loadu_si512(z + k);
    for (int s = 0; s < 4; ++s) {
      const __m512i ze = _mm512_permutexvar_epi32(index[s], zs);
      // 2 bits: expansion s belongs to the s-th 64 bytes. 1 bit: s = 2 · (64 bytes) + (column half h).
      const size_t at = Bits == 2 ? k * 4 + 64 * s : k * 2 + 64 * (s / 2);
      for (int r = 0; r < R; ++r) {
        __m512i codes = _mm512_load_si512(w + r * stride + at);
        if (Bits == 1 && s % 2) codes = _mm512_srli_epi16(codes, 1);
        __m512i* to = sum[r][s % U];
        for (int p = 0; p < 4; ++p) to[p] = _mm512_dpbusd_epi32(to[p], _mm512_and_si512(codes, mask[p]), ze);
        if (Bits == 2 || s % 2 == 0) _mm_prefetch(reinterpret_cast<const char*>(next + r * stride + at), _MM_HINT_T0);
      }
    }
  }
  const __m128i weights = _mm_set1_epi32(weight);
  for (int r = 0; r < R; ++r) {
    for (int p = 0; p < 4; ++p) {
      __m512i all = sum[r][0][p];
      for (int u = 1; u < U; ++u) all = _mm512_add_epi32(all, sum[r][u][p]);
      const __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64(all, 1));
      store_rows(half, 2 * p, weights, add, acc + 16 * r + 4 * p);
    }
  }
}

template <int U>
struct Kernel {
  template <int Bits, int R>
  static void plane(const uint8_t* w, size_t stride, const int8_t* z, size_t padded, int32_t weight, bool add,
                    int32_t* acc) {
    multiply_plane<Bits, R, U>(w, stride, z, padded, weight, add, acc);
  }
};

}  // namespace

void gemv(const Packed& w, const int8_t* z, uint32_t block_begin, uint32_t block_end, int32_t* acc) {
  gemv_blocks<Kernel<1>, 4>(w, z, block_begin, block_end, acc);
}

void gemv_one_stream(const Packed& w, const int8_t* z, uint32_t block_begin, uint32_t block_end, int32_t* acc) {
  gemv_blocks<Kernel<2>, 1>(w, z, block_begin, block_end, acc);
}

}  // namespace svq::kernels::avx512
