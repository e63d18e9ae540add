// AVX2 + FMA + F16C.
#include <cstring>

#include "kernels-neon/simd/v8.h"
#include "kernels-neon/attention/body.h"

namespace svq::kernels::avx2 {

void attend_f16(const AttendQuery* queries, uint32_t n, const uint16_t* k, const uint16_t* v, size_t stride,
                uint32_t head_dim, float scale) {
  const F16Cache<V8> keys = {k, stride}, values = {v, stride};
  attend_body<V8>(queries, n, keys, values, head_dim, scale);
}

void attend_i8(const AttendQuery* queries, uint32_t n, const int8_t* k, const int8_t* v, const float* k_scale,
               const float* v_scale, size_t stride, size_t scale_stride, uint32_t head_dim, float scale) {
  const I8Cache<V8> keys = {k, stride, k_scale, scale_stride}, values = {v, stride, v_scale, scale_stride};
  attend_body<V8>(queries, n, keys, values, head_dim, scale);
}

void store_f16(const float* x, uint32_t n, uint16_t* out) { store_f16_body<V8>(x, n, out); }
void store_i8(const float* x, uint32_t n, int8_t* out, float* scale) { store_i8_body<V8>(x, n, out, scale); }

}  // namespace svq::kernels::avx2
