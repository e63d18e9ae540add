#include <cstring>

#include "kernels-neon/gemm/gemm.h"
#include "kernels-neon/gemv/gemv.h"
#include "schema/packing.h"

namespace svq::kernels::scalar {

size_t gemm_panel(uint32_t columns, uint32_t n_tokens) { return format::padded_columns(columns) * n_tokens; }

void gemm_pack(const int8_t* z0, size_t z_stride, uint32_t n_tokens, uint32_t columns, uint32_t k_begin, uint32_t k_end,
               void* panel) {
  const size_t padded = format::padded_columns(columns);
  for (uint32_t t = 0; t < n_tokens; ++t) {
    std::memcpy(static_cast<int8_t*>(panel) + t * padded + k_begin, z0 + t * z_stride + k_begin, k_end - k_begin);
  }
}

void gemm(const Packed& w, const void* panel, uint32_t n_tokens, uint32_t block_begin, uint32_t block_end, int32_t* acc,
          size_t acc_stride) {
  const size_t padded = format::padded_columns(w.columns);
  for (uint32_t t = 0; t < n_tokens; ++t) {
    gemv(w, static_cast<const int8_t*>(panel) + t * padded, block_begin, block_end, acc + t * acc_stride);
  }
}

}  // namespace svq::kernels::scalar
