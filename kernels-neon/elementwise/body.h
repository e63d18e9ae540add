// Elementwise operations over a vector struct (simd/). silu_mul's tail goes through a padded vector, so that an
// element's result does not depend on its place; the others round each product and sum alone, in vectors as outside of
// them.
#pragma once
#include <cstring>

#include "kernels-neon/elementwise/elementwise.h"
#include "kernels-neon/simd/exp.h"

namespace svq::kernels {
namespace {

template <class V>
inline typename V::F silu_mul_vector(typename V::F gate, typename V::F up) {
  const auto one = V::splat(1.0f);
  return V::mul(V::div(gate, V::add(one, exp<V>(V::sub(V::zero(), gate)))), up);
}

template <class V>
void silu_mul_body(const float* gate, const float* up, uint32_t n, float* y) {
  uint32_t i = 0;
  for (; i + V::kLanes <= n; i += V::kLanes) V::store(y + i, silu_mul_vector<V>(V::load(gate + i), V::load(up + i)));
  if (i < n) {
    float g[V::kLanes] = {}, u[V::kLanes] = {}, out[V::kLanes];
    std::memcpy(g, gate + i, (n - i) * sizeof(float));
    std::memcpy(u, up + i, (n - i) * sizeof(float));
    V::store(out, silu_mul_vector<V>(V::load(g), V::load(u)));
    std::memcpy(y + i, out, (n - i) * sizeof(float));
  }
}

// y = x · (weight) / sqrt(sum / n + eps), sum being that of squares.
template <class V>
void scale_rows_body(const float* x, const float* weight, double sum, float eps, uint32_t n, float* y) {
  const float inverse = static_cast<float>(1.0 / __builtin_sqrt(sum / n + static_cast<double>(eps)));
  const auto scale = V::splat(inverse);
  uint32_t i = 0;
  for (; i + V::kLanes <= n; i += V::kLanes) {
    auto v = V::mul(V::load(x + i), scale);
    if (weight) v = V::mul(v, V::load(weight + i));
    V::store(y + i, v);
  }
  for (; i < n; ++i) y[i] = weight ? x[i] * inverse * weight[i] : x[i] * inverse;
}

template <class V>
void rope_body(float* head, const float* cos, const float* sin, uint32_t head_dim) {
  const uint32_t half = head_dim / 2;
  uint32_t i = 0;
  for (; i + V::kLanes <= half; i += V::kLanes) {
    const auto a = V::load(head + i), b = V::load(head + half + i), c = V::load(cos + i), s = V::load(sin + i);
    V::store(head + i, V::sub(V::mul(a, c), V::mul(b, s)));
    V::store(head + half + i, V::add(V::mul(b, c), V::mul(a, s)));
  }
  for (; i < half; ++i) {
    const float a = head[i], b = head[i + half];
    head[i] = a * cos[i] - b * sin[i];
    head[i + half] = b * cos[i] + a * sin[i];
  }
}

template <class V>
void add_body(float* x, const float* y, uint32_t n) {
  uint32_t i = 0;
  for (; i + V::kLanes <= n; i += V::kLanes) V::store(x + i, V::add(V::load(x + i), V::load(y + i)));
  for (; i < n; ++i) x[i] += y[i];
}

template <class V>
void axpby_body(float* x, const float* y, float a, uint32_t n) {
  const auto factor = V::splat(a);
  uint32_t i = 0;
  for (; i + V::kLanes <= n; i += V::kLanes) {
    V::store(x + i, V::add(V::load(x + i), V::mul(factor, V::load(y + i))));
  }
  for (; i < n; ++i) x[i] += a * y[i];
}

}  // namespace
}  // namespace svq::kernels
