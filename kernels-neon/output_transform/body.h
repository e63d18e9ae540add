// The output side over a vector struct (simd/).
#pragma once
#include "kernels-neon/output_transform/output_transform.h"

namespace svq::kernels {
namespace {

template <class V>
void dequantize_body(const int32_t* acc, float delta, float offset, uint32_t n, float* v) {
  const auto scale = V::splat(delta), added = V::splat(offset);
  uint32_t i = 0;
  for (; i + V::kLanes <= n; i += V::kLanes) V::store(v + i, V::add(V::mul(V::load_i32(acc + i), scale), added));
  for (; i < n; ++i) v[i] = delta * static_cast<float>(acc[i]) + offset;
}

}  // namespace
}  // namespace svq::kernels
