// Queries that read the same keys and values, each over its own cached positions first … last, both included
// (last ≥ first):
//   out = Σ_p softmax_p(scale · q·k_p) v_p, or, with a state, Σ_p e^(scale · q·k_p − m) v_p and {m, Σ_p e^(…)}
// They are the heads of a group and the tokens of a chunk, in any number. Four at a time share every key and value
// loaded from the cache; positions between the smallest first and the largest last of the four are read. The first four
// of a call ask for the next block ahead, the others find it in the caches: a caller with more gives few positions at a
// time.
// Online softmax over blocks of kAttentionBlock positions aligned to absolute positions. A query's result depends on
// its (first, last) and the values alone, never on how the prompt was cut nor on the queries beside it. Sums are f32;
// exp as in simd/exp.h.
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
inline constexpr uint32_t kAttentionBlock = 64;
inline constexpr uint32_t kMaxHeadDim = 1024;
using AttendF16Fn = void(const AttendQuery* queries, uint32_t n, const uint16_t* k, const uint16_t* v, size_t stride,
                         uint32_t head_dim, float scale);
using AttendI8Fn = void(const AttendQuery* queries, uint32_t n, const int8_t* k, const int8_t* v, const float* k_scale,
                        const float* v_scale, size_t stride, size_t scale_stride, uint32_t head_dim, float scale);
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
