#include "kernels-neon/f16.h"
#include "kernels-neon/output_transform/output_transform.h"
#include "kernels-neon/rotate/rotate.h"

namespace svq::kernels::scalar {

void dequantize(const int32_t* acc, float delta, float offset, uint32_t n, float* v) {
  for (uint32_t r = 0; r < n; ++r) v[r] = delta * static_cast<float>(acc[r]) + offset;
}

void rotate_scale(float* v, const Rotation& r, const uint16_t* scale, const float* bias, uint32_t n, float* scratch) {
  rotate(v, r, true, scratch);
  for (uint32_t i = 0; i < n; ++i) {
    if (scale) v[i] *= soft::half_to_float(scale[i]);
    if (bias) v[i] += bias[i];
  }
}

}  // namespace svq::kernels::scalar
