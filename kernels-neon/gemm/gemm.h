// gemv for n_tokens tokens: z[t] = z0 + t · z_stride, result of row 16 · block_begin + r at acc[t · acc_stride + r].
// Equals gemv token by token, exactly; the same limits hold.
//
// scratch: gemm_scratch(columns, n_tokens) bytes, 64-byte aligned, one per thread; its contents do not outlive the
// call. Each tile of codes is decoded once per group of tokens, and row blocks are the outer loop: codes are read from
// memory once, the tokens' activations stay in the cache.
#pragma once
#include "kernels-neon/kernels.h"

namespace svq::kernels {
using GemmFn = void(const Packed& w, const int8_t* z0, size_t z_stride, uint32_t n_tokens, uint32_t block_begin,
                    uint32_t block_end, int32_t* acc, size_t acc_stride, void* scratch);
using GemmScratchFn = size_t(uint32_t columns, uint32_t n_tokens);
namespace scalar {
GemmFn gemm;
GemmScratchFn gemm_scratch;
}  // namespace scalar
namespace neon {
GemmFn gemm;
}
namespace dotprod {
GemmFn gemm;
}
namespace avx2 {
GemmFn gemm;
GemmScratchFn gemm_scratch;
}  // namespace avx2
namespace avx512 {
GemmFn gemm;
GemmScratchFn gemm_scratch;
}  // namespace avx512
}  // namespace svq::kernels
