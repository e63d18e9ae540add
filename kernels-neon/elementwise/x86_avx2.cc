// AVX2 + FMA + F16C.
#include <cstring>

#include "kernels-neon/simd/v8.h"
#include "kernels-neon/elementwise/body.h"

namespace svq::kernels::avx2 {

void silu_mul(const float* gate, const float* up, uint32_t n, float* y) { silu_mul_body<V8>(gate, up, n, y); }

}  // namespace svq::kernels::avx2
