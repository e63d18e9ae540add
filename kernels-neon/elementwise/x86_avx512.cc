// AVX-512F.
#include <cstring>

#include "kernels-neon/simd/v16.h"
#include "kernels-neon/elementwise/body.h"

namespace svq::kernels::avx512 {

void silu_mul(const float* gate, const float* up, uint32_t n, float* y) { silu_mul_body<V16>(gate, up, n, y); }

}  // namespace svq::kernels::avx512
