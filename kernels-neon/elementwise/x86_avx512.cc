// AVX-512F.
#include <cstring>

#include "kernels-neon/simd/v16.h"
#include "kernels-neon/elementwise/body.h"

namespace svq::kernels::avx512 {

void silu_mul(const float* gate, const float* up, uint32_t n, float* y) { silu_mul_body<V16>(gate, up, n, y); }

void rmsnorm(const float* x, const float* weight, float eps, uint32_t n, float* y) {
  __m512d low = _mm512_setzero_pd(), high = _mm512_setzero_pd();
  uint32_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const __m512d a = _mm512_cvtps_pd(_mm256_loadu_ps(x + i)), b = _mm512_cvtps_pd(_mm256_loadu_ps(x + i + 8));
    low = _mm512_fmadd_pd(a, a, low);
    high = _mm512_fmadd_pd(b, b, high);
  }
  double part[8];
  _mm512_storeu_pd(part, _mm512_add_pd(low, high));
  double sum = 0;
  for (const double p : part) sum += p;
  for (; i < n; ++i) sum += static_cast<double>(x[i]) * x[i];
  scale_rows_body<V16>(x, weight, sum, eps, n, y);
}

void rope(float* head, const float* cos, const float* sin, uint32_t head_dim) {
  rope_body<V16>(head, cos, sin, head_dim);
}
void add(float* x, const float* y, uint32_t n) { add_body<V16>(x, y, n); }
void axpby(float* x, const float* y, float a, uint32_t n) { axpby_body<V16>(x, y, a, n); }

}  // namespace svq::kernels::avx512
