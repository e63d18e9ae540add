#include <cmath>
#include <limits>

#include "kernels-neon/f16.h"
#include "kernels-neon/input_transform/input_transform.h"
#include "kernels-neon/rotate/rotate.h"
#include "schema/packing.h"

namespace svq::kernels::scalar {

void scale_rotate(const float* x, const uint16_t* scale, const Rotation& r, uint32_t n, float* u, float* scratch) {
  for (uint32_t i = 0; i < n; ++i) u[i] = scale ? x[i] * soft::half_to_float(scale[i]) : x[i];
  rotate(u, r, false, scratch);
}

void affine_quantize(const float* u, const Affine& a, uint32_t n, float* zf, Quantized* q) {
  const uint32_t d = a.dim;
  float beta = 0, largest = 0;
  bool finite = true;
  for (uint32_t k = 0; k < n; k += d) {
    const size_t map = a.columns_per_map ? k / a.columns_per_map : 0;
    const float* matrix = a.a + map * d * d;  // [d, d]
    const float* offset = a.b + map * d;      // [d]
    for (uint32_t j = 0; j < d; ++j) {
      float sum = 0;
      for (uint32_t i = 0; i < d; ++i) sum += matrix[i * d + j] * u[k + i];
      zf[k + j] = sum;
      beta += offset[j] * u[k + j];
      finite = finite && std::isfinite(sum);
      if (std::fabs(sum) > largest) largest = std::fabs(sum);
    }
  }
  q->beta = beta;
  const uint32_t padded = static_cast<uint32_t>(format::padded_columns(n));
  const bool usable = finite && largest >= kQuantizeFloor;
  q->delta = !finite ? std::numeric_limits<float>::quiet_NaN() : usable ? largest / 127.0f : 0.0f;
  const float inverse = usable ? 127.0f / largest : 0.0f;
  float lost = 0;
  for (uint32_t k = 0; k < padded; ++k) {
    q->z[k] = usable && k < n ? static_cast<int8_t>(std::nearbyint(zf[k] * inverse)) : int8_t{0};
    if (usable && k < n) lost += zf[k] - q->delta * static_cast<float>(q->z[k]);
  }
  q->lost = lost;
}

}  // namespace svq::kernels::scalar
