// AVX2 + FMA + F16C.
#include <cstring>

#include "kernels-neon/simd/v8.h"
#include "kernels-neon/gemv_f32/body.h"

namespace svq::kernels::avx2 {

void gemv_f32(const Packed& w, const float* zf, uint32_t block_begin, uint32_t block_end, float* acc) {
  gemv_f32_body<V8>(w, zf, block_begin, block_end, acc);
}

}  // namespace svq::kernels::avx2
