// SSE; ARM through sse2neon.
#include <cstring>

#include "kernels-neon/simd/v4.h"
#include "kernels-neon/rotate/body.h"

namespace svq::kernels::sse {

void rotate(float* x, const Rotation& r, bool inverse, float* scratch) { rotate_body<V4>(x, r, inverse, scratch); }

void rotate_ends(float* x, const Rotation& r, uint32_t n, bool inverse, const RotateEnds& ends, float* scratch) {
  rotate_ends_body<V4>(x, r, n, inverse, ends, scratch);
}

}  // namespace svq::kernels::sse
