// What the x86 variants do with four rows' sums: a row's two partial sums, one in each 128-bit lane.
#pragma once
#include <immintrin.h>

#include <cstdint>

namespace svq::kernels {
namespace {

// acc[0 … 3] = weight · sum / 2^shift, or that more than it is.
inline void store_rows(__m256i sum, int shift, __m128i weight, bool add, int32_t* acc) {
  const __m128i both = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
  __m128i rows = _mm_mullo_epi32(_mm_srai_epi32(both, shift), weight);
  __m128i* out = reinterpret_cast<__m128i*>(acc);
  if (add) rows = _mm_add_epi32(rows, _mm_loadu_si128(out));
  _mm_storeu_si128(out, rows);
}

}  // namespace
}  // namespace svq::kernels
