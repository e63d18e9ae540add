// Sixteen f32 lanes: AVX-512F. Same members as V4 (v4.h).
#pragma once
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace svq::kernels {
namespace {

struct V16 {
  using F = __m512;
  static constexpr size_t kLanes = 16;

  static F load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, F x) { _mm512_storeu_ps(p, x); }
  static F splat(float x) { return _mm512_set1_ps(x); }
  static F zero() { return _mm512_setzero_ps(); }
  static F add(F a, F b) { return _mm512_add_ps(a, b); }
  static F sub(F a, F b) { return _mm512_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F div(F a, F b) { return _mm512_div_ps(a, b); }
  static F max(F a, F b) { return _mm512_max_ps(a, b); }
  static F min(F a, F b) { return _mm512_min_ps(a, b); }
  static F abs(F x) { return _mm512_abs_ps(x); }
  static F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }

  static F load_quad(const float* p) { return _mm512_broadcast_f32x4(_mm_loadu_ps(p)); }
  template <int I>
  static F splat_in_quad(F x) {
    return _mm512_permute_ps(x, I * 0x55);
  }

  static F load_f16(const uint16_t* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static void store_f16(uint16_t* p, F x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                        _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
  static F load_i32(const int32_t* p) { return _mm512_cvtepi32_ps(_mm512_loadu_si512(p)); }
  static F load_i8(const int8_t* p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
  }
  static void store_i8(int8_t* p, F x) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(x)));
  }

  static __m256 upper(F x) { return _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(x), 1)); }
  static __m128 fold(F x) {
    const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(x), upper(x));
    return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
  }
  static float sum(F x) {
    float l[4];
    _mm_storeu_ps(l, fold(x));
    return (l[0] + l[2]) + (l[1] + l[3]);
  }
  static float largest(F x) {
    const __m256 half = _mm256_max_ps(_mm512_castps512_ps256(x), upper(x));
    float l[4];
    _mm_storeu_ps(l, _mm_max_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1)));
    float m = l[0];
    for (int i = 1; i < 4; ++i) m = l[i] > m ? l[i] : m;
    return m;
  }
  // Quad p, lane q: the sum over all lanes of x[p][q], in the order of sum().
  static F sum_to_quads(const F (*x)[4]) {
    F t[4];  // quad p: x[p][q] folded to four lanes
    for (int q = 0; q < 4; ++q) {
      const F a = add(_mm512_shuffle_f32x4(x[0][q], x[1][q], 0x44), _mm512_shuffle_f32x4(x[0][q], x[1][q], 0xEE));
      const F b = add(_mm512_shuffle_f32x4(x[2][q], x[3][q], 0x44), _mm512_shuffle_f32x4(x[2][q], x[3][q], 0xEE));
      t[q] = add(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xDD));
    }
    const F a = add(_mm512_shuffle_ps(t[0], t[1], 0x44), _mm512_shuffle_ps(t[0], t[1], 0xEE));
    const F b = add(_mm512_shuffle_ps(t[2], t[3], 0x44), _mm512_shuffle_ps(t[2], t[3], 0xEE));
    return add(_mm512_shuffle_ps(a, b, 0x88), _mm512_shuffle_ps(a, b, 0xDD));
  }
  // Over the quads, place by place; every quad of the result is the same.
  static F largest_of_quads(F x) {
    x = max(x, _mm512_shuffle_f32x4(x, x, 0x4E));
    return max(x, _mm512_shuffle_f32x4(x, x, 0xB1));
  }
  static F sum_of_quads(F x) {
    x = add(x, _mm512_shuffle_f32x4(x, x, 0x4E));
    return add(x, _mm512_shuffle_f32x4(x, x, 0xB1));
  }

  static F round(F x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static F exp2_integral(F n) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127)), 23));
  }
  static F keep_nan(F x, F y) { return _mm512_mask_mov_ps(y, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), x); }

  // other ± x, the sign by lane: x times ±1 is exact, so that the one rounding is the addition's.
  static F butterfly(F x, F other, __mmask16 minus) {
    return _mm512_fmadd_ps(x, _mm512_mask_blend_ps(minus, splat(1.0f), splat(-1.0f)), other);
  }
  static F hadamard_lanes(F x) {
    x = butterfly(x, _mm512_permute_ps(x, 0xB1), 0xAAAA);
    x = butterfly(x, _mm512_permute_ps(x, 0x4E), 0xCCCC);
    x = butterfly(x, _mm512_shuffle_f32x4(x, x, 0xB1), 0xF0F0);
    return butterfly(x, _mm512_shuffle_f32x4(x, x, 0x4E), 0xFF00);
  }
};

}  // namespace
}  // namespace svq::kernels
