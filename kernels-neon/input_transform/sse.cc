// SSE; ARM through sse2neon.
#include <cstring>

#include "kernels-neon/simd/v4.h"
#include "kernels-neon/input_transform/body.h"
#include "kernels-neon/rotate/rotate.h"

namespace svq::kernels::sse {

void scale_rotate(const float* x, const uint16_t* scale, const Rotation& r, uint32_t n, float* u, float* scratch) {
  rotate_ends(u, r, n, false, {.from = x, .in_scale = scale}, scratch);
}

void affine_quantize(const float* u, const Affine& a, uint32_t n, float* zf, Quantized* q) {
  affine_quantize_body<V4>(u, a, n, zf, q);
}

}  // namespace svq::kernels::sse
