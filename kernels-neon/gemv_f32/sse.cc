// SSE; ARM through sse2neon.
#include <cstring>

#include "kernels-neon/simd/v4.h"
#include "kernels-neon/gemv_f32/body.h"

namespace svq::kernels::sse {

void gemv_f32(const Packed& w, const float* zf, uint32_t block_begin, uint32_t block_end, float* acc) {
  gemv_f32_body<V4>(w, zf, block_begin, block_end, acc);
}

}  // namespace svq::kernels::sse
