// silu_mul over a vector struct (simd/). The tail goes through a padded vector, so that an element's result does not
// depend on its place.
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

}  // namespace
}  // namespace svq::kernels
