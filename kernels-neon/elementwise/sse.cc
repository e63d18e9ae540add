// x86 and, through sse2neon, ARM.
#include "kernels-neon/elementwise/body.h"
#include "kernels-neon/simd/v4.h"

namespace svq::kernels::sse {

void rmsnorm(const float* x, const float* weight, float eps, uint32_t n, float* y) {
  __m128d low = _mm_setzero_pd(), high = _mm_setzero_pd();
  uint32_t i = 0;
  for (; i + 4 <= n; i += 4) {
    const __m128 v = _mm_loadu_ps(x + i);
    const __m128d a = _mm_cvtps_pd(v), b = _mm_cvtps_pd(_mm_movehl_ps(v, v));
    low = _mm_add_pd(low, _mm_mul_pd(a, a));
    high = _mm_add_pd(high, _mm_mul_pd(b, b));
  }
  double part[2];
  _mm_storeu_pd(part, _mm_add_pd(low, high));
  double sum = part[0] + part[1];
  for (; i < n; ++i) sum += static_cast<double>(x[i]) * x[i];
  scale_rows_body<V4>(x, weight, sum, eps, n, y);
}

void rope(float* head, const float* cos, const float* sin, uint32_t head_dim) {
  rope_body<V4>(head, cos, sin, head_dim);
}
void silu_mul(const float* gate, const float* up, uint32_t n, float* y) { silu_mul_body<V4>(gate, up, n, y); }

void add(float* x, const float* y, uint32_t n) { add_body<V4>(x, y, n); }
void axpby(float* x, const float* y, float a, uint32_t n) { axpby_body<V4>(x, y, a, n); }

}  // namespace svq::kernels::sse
