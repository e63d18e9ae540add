// Cheap beside the linears: one SSE version serves x86 and, through sse2neon, ARM.
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
  const float inverse = static_cast<float>(1.0 / __builtin_sqrt(sum / n + static_cast<double>(eps)));
  const __m128 scale = _mm_set1_ps(inverse);
  for (i = 0; i + 4 <= n; i += 4) {
    __m128 v = _mm_mul_ps(_mm_loadu_ps(x + i), scale);
    if (weight) v = _mm_mul_ps(v, _mm_loadu_ps(weight + i));
    _mm_storeu_ps(y + i, v);
  }
  for (; i < n; ++i) y[i] = weight ? x[i] * inverse * weight[i] : x[i] * inverse;
}

void rope(float* head, const float* cos, const float* sin, uint32_t head_dim) {
  const uint32_t half = head_dim / 2;
  uint32_t i = 0;
  for (; i + 4 <= half; i += 4) {
    const __m128 a = _mm_loadu_ps(head + i), b = _mm_loadu_ps(head + half + i);
    const __m128 c = _mm_loadu_ps(cos + i), s = _mm_loadu_ps(sin + i);
    _mm_storeu_ps(head + i, _mm_sub_ps(_mm_mul_ps(a, c), _mm_mul_ps(b, s)));
    _mm_storeu_ps(head + half + i, _mm_add_ps(_mm_mul_ps(b, c), _mm_mul_ps(a, s)));
  }
  for (; i < half; ++i) {
    const float a = head[i], b = head[i + half];
    head[i] = a * cos[i] - b * sin[i];
    head[i + half] = b * cos[i] + a * sin[i];
  }
}

void silu_mul(const float* gate, const float* up, uint32_t n, float* y) { silu_mul_body<V4>(gate, up, n, y); }

void add(float* x, const float* y, uint32_t n) {
  uint32_t i = 0;
  for (; i + 4 <= n; i += 4) _mm_storeu_ps(x + i, _mm_add_ps(_mm_loadu_ps(x + i), _mm_loadu_ps(y + i)));
  for (; i < n; ++i) x[i] += y[i];
}

void axpby(float* x, const float* y, float a, uint32_t n) {
  const __m128 factor = _mm_set1_ps(a);
  uint32_t i = 0;
  for (; i + 4 <= n; i += 4) {
    _mm_storeu_ps(x + i, _mm_add_ps(_mm_loadu_ps(x + i), _mm_mul_ps(factor, _mm_loadu_ps(y + i))));
  }
  for (; i < n; ++i) x[i] += a * y[i];
}

}  // namespace svq::kernels::sse
