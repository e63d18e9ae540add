#include <cmath>

#include "kernels-neon/elementwise/elementwise.h"

namespace svq::kernels::scalar {

void rmsnorm(const float* x, const float* weight, float eps, uint32_t n, float* y) {
  double sum = 0;
  for (uint32_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]) * x[i];
  const float inverse = static_cast<float>(1.0 / std::sqrt(sum / n + static_cast<double>(eps)));
  for (uint32_t i = 0; i < n; ++i) y[i] = weight ? x[i] * inverse * weight[i] : x[i] * inverse;
}

void rope(float* head, const float* cos, const float* sin, uint32_t head_dim) {
  const uint32_t half = head_dim / 2;
  for (uint32_t i = 0; i < half; ++i) {
    const float a = head[i], b = head[i + half];
    head[i] = a * cos[i] - b * sin[i];
    head[i + half] = b * cos[i] + a * sin[i];
  }
}

void silu_mul(const float* gate, const float* up, uint32_t n, float* y) {
  for (uint32_t i = 0; i < n; ++i) y[i] = gate[i] / (1.0f + std::exp(-gate[i])) * up[i];
}

void add(float* x, const float* y, uint32_t n) {
  for (uint32_t i = 0; i < n; ++i) x[i] += y[i];
}

void axpby(float* x, const float* y, float a, uint32_t n) {
  for (uint32_t i = 0; i < n; ++i) x[i] += a * y[i];
}

}  // namespace svq::kernels::scalar
