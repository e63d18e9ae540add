// SSE; ARM through sse2neon.
#include <cstring>

#include "kernels-neon/simd/v4.h"
#include "kernels-neon/rotate/body.h"

namespace svq::kernels::sse {

void rotate(float* x, const Rotation& r, bool inverse, float* scratch) { rotate_body<V4>(x, r, inverse, scratch); }

}  // namespace svq::kernels::sse
