// AVX2 + FMA + F16C.
#include <cstring>

#include "kernels-neon/simd/v8.h"
#include "kernels-neon/matmul_f16/body.h"

namespace svq::kernels::avx2 {

void matmul_f16(const uint16_t* w, uint32_t columns, uint32_t row_begin, uint32_t row_end, const float* x,
                size_t x_stride, uint32_t n_tokens, float* y, size_t y_stride) {
  matmul_f16_body<V8, 2>(w, columns, row_begin, row_end, x, x_stride, n_tokens, y, y_stride);
}

void row_f16(const uint16_t* w, uint32_t columns, float* out) { row_f16_body<V8>(w, columns, out); }

}  // namespace svq::kernels::avx2
