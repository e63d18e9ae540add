// One query head [head_dim] over the cached positions first … last, both included (last ≥ first):
//   out = Σ_p softmax_p(scale · q·k_p) v_p
// Online softmax over blocks of kAttentionBlock positions aligned to absolute positions, so that the result depends on
// (first, last) and the values alone, never on how the prompt was cut. Sums are f32; exp as in simd/exp.h.
//
// k, v: position p of this head's keys and values at base + p · stride elements.
// attend_f16   f16 elements.
// attend_i8    int8 elements; value = element · scale with the scale of position p at base + p · scale_stride.
// store_f16    f32 → f16, round to nearest even.
// store_i8     symmetric: scale = max|x| / 127, out = round to nearest even of x · (127 / max|x|). max|x| < 2^-100
// gives
//              zeros with scale 0; a NaN or infinity in x gives zeros with scale NaN.
// head_dim is even and at most kMaxHeadDim.
#pragma once
#include "kernels-neon/kernels.h"

namespace svq::kernels {
inline constexpr uint32_t kAttentionBlock = 32;
inline constexpr uint32_t kMaxHeadDim = 1024;
using AttendF16Fn = void(const float* q, const uint16_t* k, const uint16_t* v, size_t stride, uint32_t first,
                         uint32_t last, uint32_t head_dim, float scale, float* out);
using AttendI8Fn = void(const float* q, const int8_t* k, const int8_t* v, const float* k_scale, const float* v_scale,
                        size_t stride, size_t scale_stride, uint32_t first, uint32_t last, uint32_t head_dim,
                        float scale, float* out);
using StoreF16Fn = void(const float* x, uint32_t n, uint16_t* out);
using StoreI8Fn = void(const float* x, uint32_t n, int8_t* out, float* scale);
namespace scalar {
AttendF16Fn attend_f16;
AttendI8Fn attend_i8;
StoreF16Fn store_f16;
StoreI8Fn store_i8;
}  // namespace scalar
namespace sse {
AttendF16Fn attend_f16;
AttendI8Fn attend_i8;
StoreF16Fn store_f16;
StoreI8Fn store_i8;
}  // namespace sse
namespace avx2 {
AttendF16Fn attend_f16;
AttendI8Fn attend_i8;
StoreF16Fn store_f16;
StoreI8Fn store_i8;
}  // namespace avx2
namespace avx512 {
AttendF16Fn attend_f16;
AttendI8Fn attend_i8;
StoreF16Fn store_f16;
StoreI8Fn store_i8;
}  // namespace avx512
}  // namespace svq::kernels
