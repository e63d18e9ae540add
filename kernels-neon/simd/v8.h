// Eight f32 lanes: AVX2, FMA, F16C. Same members as V4 (v4.h).
#pragma once
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace svq::kernels {
namespace {

struct V8 {
  using F = __m256;
  static constexpr size_t kLanes = 8;

  static F load(const float* p) { return _mm256_loadu_ps(p); }
  static void store(float* p, F x) { _mm256_storeu_ps(p, x); }
  static F splat(float x) { return _mm256_set1_ps(x); }
  static F zero() { return _mm256_setzero_ps(); }
  static F add(F a, F b) { return _mm256_add_ps(a, b); }
  static F sub(F a, F b) { return _mm256_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm256_mul_ps(a, b); }
  static F div(F a, F b) { return _mm256_div_ps(a, b); }
  static F max(F a, F b) { return _mm256_max_ps(a, b); }
  static F min(F a, F b) { return _mm256_min_ps(a, b); }
  static F abs(F x) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x); }
  static F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }

  static F load_quad(const float* p) { return _mm256_broadcast_ps(reinterpret_cast<const __m128*>(p)); }
  template <int I>
  static F splat_in_quad(F x) {
    return _mm256_permute_ps(x, I * 0x55);
  }

  static F load_f16(const uint16_t* p) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
  static void store_f16(uint16_t* p, F x) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
  static F load_i32(const int32_t* p) {
    return _mm256_cvtepi32_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static F load_i8(const int8_t* p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
  }
  static void store_i8(int8_t* p, F x) {
    const __m256i i = _mm256_cvtps_epi32(x);
    const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(i), _mm256_extracti128_si256(i, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packs_epi16(words, words));
  }

  static __m128 fold(F x) { return _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1)); }
  static float sum(F x) {
    float l[4];
    _mm_storeu_ps(l, fold(x));
    return (l[0] + l[2]) + (l[1] + l[3]);
  }
  static float largest(F x) {
    float l[4];
    _mm_storeu_ps(l, _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1)));
    float m = l[0];
    for (int i = 1; i < 4; ++i) m = l[i] > m ? l[i] : m;
    return m;
  }
  static F sum_to_quads(const F (*x)[4]) {
    F t[4];
    for (int q = 0; q < 4; ++q) {
      t[q] = add(_mm256_permute2f128_ps(x[0][q], x[1][q], 0x20), _mm256_permute2f128_ps(x[0][q], x[1][q], 0x31));
    }
    const F a = add(_mm256_shuffle_ps(t[0], t[1], 0x44), _mm256_shuffle_ps(t[0], t[1], 0xEE));
    const F b = add(_mm256_shuffle_ps(t[2], t[3], 0x44), _mm256_shuffle_ps(t[2], t[3], 0xEE));
    return add(_mm256_shuffle_ps(a, b, 0x88), _mm256_shuffle_ps(a, b, 0xDD));
  }
  static F largest_of_quads(F x) { return max(x, _mm256_permute2f128_ps(x, x, 1)); }
  static F sum_of_quads(F x) { return add(x, _mm256_permute2f128_ps(x, x, 1)); }

  static F round(F x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static F exp2_integral(F n) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
  }
  static F keep_nan(F x, F y) { return _mm256_blendv_ps(y, x, _mm256_cmp_ps(x, x, _CMP_UNORD_Q)); }

  static F hadamard_lanes(F x) {
    // x times ±1 is exact: the one rounding is the addition's.
    const __m256 h1 = _mm256_setr_ps(1, -1, 1, -1, 1, -1, 1, -1);
    const __m256 h2 = _mm256_setr_ps(1, 1, -1, -1, 1, 1, -1, -1);
    const __m256 h4 = _mm256_setr_ps(1, 1, 1, 1, -1, -1, -1, -1);
    x = _mm256_fmadd_ps(x, h1, _mm256_permute_ps(x, 0xB1));
    x = _mm256_fmadd_ps(x, h2, _mm256_permute_ps(x, 0x4E));
    return _mm256_fmadd_ps(x, h4, _mm256_permute2f128_ps(x, x, 1));
  }
};

}  // namespace
}  // namespace svq::kernels
