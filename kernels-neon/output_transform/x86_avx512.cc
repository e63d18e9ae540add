// AVX-512F.
#include <cstring>

#include "kernels-neon/simd/v16.h"
#include "kernels-neon/output_transform/body.h"
#include "kernels-neon/rotate/rotate.h"

namespace svq::kernels::avx512 {

void dequantize(const int32_t* acc, float delta, float offset, uint32_t n, float* v) {
  dequantize_body<V16>(acc, delta, offset, n, v);
}

void rotate_scale(float* v, const Rotation& r, const uint16_t* scale, const float* bias, uint32_t n, float* scratch) {
  rotate_ends(v, r, n, true, {.from = v, .out_scale = scale, .bias = bias}, scratch);
}

}  // namespace svq::kernels::avx512
