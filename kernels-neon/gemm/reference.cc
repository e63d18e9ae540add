#include "kernels-neon/gemm/gemm.h"

#include "kernels-neon/gemv/gemv.h"

namespace svq::kernels::scalar {

void gemm(const Packed& w, const int8_t* z0, size_t z_stride, uint32_t n_tokens, uint32_t block_begin,
          uint32_t block_end, int32_t* acc, size_t acc_stride, void*) {
  for (uint32_t t = 0; t < n_tokens; ++t) gemv(w, z0 + t * z_stride, block_begin, block_end, acc + t * acc_stride);
}

size_t gemm_scratch(uint32_t, uint32_t) { return 0; }  // works on z in place

}  // namespace svq::kernels::scalar
