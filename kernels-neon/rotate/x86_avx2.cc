// AVX2 + FMA + F16C.
#include <cstring>

#include "kernels-neon/simd/v8.h"
#include "kernels-neon/rotate/body.h"

namespace svq::kernels::avx2 {

void rotate(float* x, const Rotation& r, bool inverse, float* scratch) { rotate_body<V8>(x, r, inverse, scratch); }

}  // namespace svq::kernels::avx2
