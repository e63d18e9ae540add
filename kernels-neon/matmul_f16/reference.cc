#include "kernels-neon/f16.h"
#include "kernels-neon/matmul_f16/matmul_f16.h"

namespace svq::kernels::scalar {

void matmul_f16(const uint16_t* w, uint32_t columns, uint32_t row_begin, uint32_t row_end, const float* x,
                size_t x_stride, uint32_t n_tokens, float* y, size_t y_stride) {
  for (uint32_t r = row_begin; r < row_end; ++r) {
    const uint16_t* row = w + static_cast<size_t>(r) * columns;
    for (uint32_t t = 0; t < n_tokens; ++t) {
      float sum[4] = {};
      for (uint32_t k = 0; k < columns; ++k) sum[k % 4] += soft::half_to_float(row[k]) * x[t * x_stride + k];
      y[t * y_stride + r] = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    }
  }
}

void row_f16(const uint16_t* w, uint32_t columns, float* out) {
  for (uint32_t k = 0; k < columns; ++k) out[k] = soft::half_to_float(w[k]);
}

}  // namespace svq::kernels::scalar
