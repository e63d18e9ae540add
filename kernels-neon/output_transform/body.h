// The output side over a vector struct (simd/).
#pragma once
#include "kernels-neon/output_transform/output_transform.h"
#include "kernels-neon/f16.h"

namespace svq::kernels {
namespace {

template <class V>
void dequantize_body(const int32_t* acc, float delta, float offset, uint32_t n, float* v) {
  const auto scale = V::splat(delta), added = V::splat(offset);
  uint32_t i = 0;
  for (; i + V::kLanes <= n; i += V::kLanes) V::store(v + i, V::add(V::mul(V::load_i32(acc + i), scale), added));
  for (; i < n; ++i) v[i] = delta * static_cast<float>(acc[i]) + offset;
}

// v ← scale ⊙ v + bias
template <class V>
void scale_bias_body(float* v, const uint16_t* scale, const float* bias, uint32_t n) {
  if (!scale && !bias) return;
  uint32_t i = 0;
  for (; i + V::kLanes <= n; i += V::kLanes) {
    auto x = V::load(v + i);
    if (scale) x = V::mul(x, V::load_f16(scale + i));
    if (bias) x = V::add(x, V::load(bias + i));
    V::store(v + i, x);
  }
  for (; i < n; ++i) {
    if (scale) v[i] *= soft::half_to_float(scale[i]);
    if (bias) v[i] += bias[i];
  }
}

}  // namespace
}  // namespace svq::kernels
