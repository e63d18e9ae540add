// AVX2 + FMA + F16C.
#include <cstring>

#include "kernels-neon/simd/v8.h"
#include "kernels-neon/elementwise/body.h"

namespace svq::kernels::avx2 {

void silu_mul(const float* gate, const float* up, uint32_t n, float* y) { silu_mul_body<V8>(gate, up, n, y); }

void rmsnorm(const float* x, const float* weight, float eps, uint32_t n, float* y) {
  __m256d low = _mm256_setzero_pd(), high = _mm256_setzero_pd();
  uint32_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m256d a = _mm256_cvtps_pd(_mm_loadu_ps(x + i)), b = _mm256_cvtps_pd(_mm_loadu_ps(x + i + 4));
    low = _mm256_fmadd_pd(a, a, low);
    high = _mm256_fmadd_pd(b, b, high);
  }
  double part[4];
  _mm256_storeu_pd(part, _mm256_add_pd(low, high));
  double sum = 0;
  for (const double p : part) sum += p;
  for (; i < n; ++i) sum += static_cast<double>(x[i]) * x[i];
  scale_rows_body<V8>(x, weight, sum, eps, n, y);
}

void rope(float* head, const float* cos, const float* sin, uint32_t head_dim) {
  rope_body<V8>(head, cos, sin, head_dim);
}
void add(float* x, const float* y, uint32_t n) { add_body<V8>(x, y, n); }
void axpby(float* x, const float* y, float a, uint32_t n) { axpby_body<V8>(x, y, a, n); }

}  // namespace svq::kernels::avx2
