// Four f32 lanes in SSE2 intrinsics; on ARM the same intrinsics come from sse2neon, except where ARM has one
// instruction for what SSE2 needs several (fused multiply-add, f16 conversion, widening). The float kernels are
// templates over such a struct: V4 here, V8 (v8.h) and V16 (v16.h) on x86. All of it stands in anonymous namespaces:
// each translation unit has its own copy, compiled with its own flags.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#if defined(__aarch64__)
#include <arm_neon.h>

#include "sse2neon.h"
#else
#include <emmintrin.h>

#include "kernels-neon/f16.h"
#endif

namespace svq::kernels {
namespace {

struct V4 {
  using F = __m128;
  static constexpr size_t kLanes = 4;

  static F load(const float* p) { return _mm_loadu_ps(p); }
  static void store(float* p, F x) { _mm_storeu_ps(p, x); }
  static F splat(float x) { return _mm_set1_ps(x); }
  static F zero() { return _mm_setzero_ps(); }
  static F add(F a, F b) { return _mm_add_ps(a, b); }
  static F sub(F a, F b) { return _mm_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm_mul_ps(a, b); }
  static F div(F a, F b) { return _mm_div_ps(a, b); }
  static F max(F a, F b) { return _mm_max_ps(a, b); }
  static F min(F a, F b) { return _mm_min_ps(a, b); }
  static F abs(F x) { return _mm_andnot_ps(_mm_set1_ps(-0.0f), x); }
  // a · b + c, in one rounding where the instruction set has it
  static F fma(F a, F b, F c) {
#if defined(__aarch64__)
    return vfmaq_f32(c, a, b);
#else
    return _mm_add_ps(_mm_mul_ps(a, b), c);
#endif
  }

  // p[0 … 3] repeated in every group of four lanes, and lane I of every group of four repeated over the group.
  static F load_quad(const float* p) { return _mm_loadu_ps(p); }
  template <int I>
  static F splat_in_quad(F x) {
    return _mm_shuffle_ps(x, x, I * 0x55);
  }

#if defined(__aarch64__)
  static F load_f16(const uint16_t* p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))); }
#else
  __attribute__((noinline)) static F load_f16(const uint16_t* p) {  // some hundred bytes of code
    return _mm_setr_ps(soft::half_to_float(p[0]), soft::half_to_float(p[1]), soft::half_to_float(p[2]),
                       soft::half_to_float(p[3]));
  }
#endif
  static void store_f16(uint16_t* p, F x) {
#if defined(__aarch64__)
    vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(x)));
#else
    float lane[4];
    store(lane, x);
    for (int i = 0; i < 4; ++i) p[i] = soft::float_to_half(lane[i]);
#endif
  }
  static F load_i32(const int32_t* p) { return _mm_cvtepi32_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
  static F load_i8(const int8_t* p) {
    int32_t four;
    std::memcpy(&four, p, 4);
    const __m128i bytes = _mm_cvtsi32_si128(four);
    const __m128i words = _mm_unpacklo_epi8(bytes, bytes);  // byte in the upper half of each word, then of each dword
    return _mm_cvtepi32_ps(_mm_srai_epi32(_mm_unpacklo_epi16(words, words), 24));
  }
  // Round to nearest even; |x| ≤ 127.5
  static void store_i8(int8_t* p, F x) {
    const __m128i words = _mm_packs_epi32(_mm_cvtps_epi32(x), _mm_setzero_si128());
    const int32_t four = _mm_cvtsi128_si32(_mm_packs_epi16(words, words));
    std::memcpy(p, &four, 4);
  }

  // (l0 + l2) + (l1 + l3)
  static float sum(F x) {
    float l[4];
    store(l, x);
    return (l[0] + l[2]) + (l[1] + l[3]);
  }
  static float largest(F x) {
    float l[4];
    store(l, x);
    float m = l[0];
    for (int i = 1; i < 4; ++i) m = l[i] > m ? l[i] : m;
    return m;
  }
  // Quad p, lane q: the sum over all lanes of x[p][q]. Here there is one quad.
  static F sum_to_quads(const F (*x)[4]) {
#if defined(__aarch64__)
    return vpaddq_f32(vpaddq_f32(x[0][0], x[0][1]), vpaddq_f32(x[0][2], x[0][3]));
#else
    F a = x[0][0], b = x[0][1], c = x[0][2], d = x[0][3];
    _MM_TRANSPOSE4_PS(a, b, c, d);
    return _mm_add_ps(_mm_add_ps(a, c), _mm_add_ps(b, d));
#endif
  }
  // Over the quads, place by place; every quad of the result is the same.
  static F largest_of_quads(F x) { return x; }
  static F sum_of_quads(F x) { return x; }

  // Round to the nearest integer, and 2^n for integral n in [−126, 127].
  static F round(F x) { return _mm_cvtepi32_ps(_mm_cvtps_epi32(x)); }
  static F exp2_integral(F n) {
    return _mm_castsi128_ps(_mm_slli_epi32(_mm_add_epi32(_mm_cvtps_epi32(n), _mm_set1_epi32(127)), 23));
  }
  // x where it is a NaN, otherwise y.
  static F keep_nan(F x, F y) {
    const __m128 nan = _mm_cmpunord_ps(x, x);
    return _mm_or_ps(_mm_and_ps(nan, x), _mm_andnot_ps(nan, y));
  }

  // Butterflies h = 1 … kLanes / 2 within the register.
  static F hadamard_lanes(F x) {
    const __m128 odd = _mm_setr_ps(0.0f, -0.0f, 0.0f, -0.0f), upper = _mm_setr_ps(0.0f, 0.0f, -0.0f, -0.0f);
    x = _mm_add_ps(_mm_shuffle_ps(x, x, 0xB1), _mm_xor_ps(x, odd));
    return _mm_add_ps(_mm_shuffle_ps(x, x, 0x4E), _mm_xor_ps(x, upper));
  }
};

}  // namespace
}  // namespace svq::kernels
