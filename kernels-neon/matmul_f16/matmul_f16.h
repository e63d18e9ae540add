// matmul_f16   y[t][r] = Σ_k w[r, k] x[t][k]; w f16 row-major [rows, columns], rows [row_begin, row_end), t < n_tokens;
//              x[t] = x + t · x_stride, y[t] = y + t · y_stride with y at row 0.
// row_f16      out[k] = w[k] in f32.
// A sum has as many partial sums as the vector has lanes, by column modulo lanes, added up in a fixed tree: its value
// depends on the row, the token and `columns` alone.
#pragma once
#include "kernels-neon/kernels.h"

namespace svq::kernels {
using MatmulF16Fn = void(const uint16_t* w, uint32_t columns, uint32_t row_begin, uint32_t row_end, const float* x,
                         size_t x_stride, uint32_t n_tokens, float* y, size_t y_stride);
using RowF16Fn = void(const uint16_t* w, uint32_t columns, float* out);
namespace scalar {
MatmulF16Fn matmul_f16;
RowF16Fn row_f16;
}  // namespace scalar
namespace sse {
MatmulF16Fn matmul_f16;
RowF16Fn row_f16;
}  // namespace sse
namespace avx2 {
MatmulF16Fn matmul_f16;
RowF16Fn row_f16;
}  // namespace avx2
namespace avx512 {
MatmulF16Fn matmul_f16;
RowF16Fn row_f16;
}  // namespace avx512
}  // namespace svq::kernels
