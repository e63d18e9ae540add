// AVX-512F.
#include <cstring>

#include "kernels-neon/simd/v16.h"
#include "kernels-neon/rotate/body.h"

namespace svq::kernels::avx512 {

void rotate(float* x, const Rotation& r, bool inverse, float* scratch) { rotate_body<V16>(x, r, inverse, scratch); }

}  // namespace svq::kernels::avx512
