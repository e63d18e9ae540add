// gemv for n_tokens tokens: z[t] = z0 + t · z_stride, result of row 16 · block_begin + r at acc[t · acc_stride + r].
// Equals gemv token by token, exactly; the same limits hold.
//
// gemm_pack lays the activations out as the instruction set reads them: once for all rows, in parallel by columns
// [k_begin, k_end), multiples of 64, of [0, padded_columns(columns)). The panel holds gemm_panel(columns, n_tokens)
// bytes, 64-byte aligned, and is only read by gemm. Each tile of codes is decoded once per group of tokens, and row
// blocks are the outer loop: codes are read from memory once, the tokens' activations stay in the cache.
#pragma once
#include "kernels-neon/kernels.h"

namespace svq::kernels {
using GemmPanelFn = size_t(uint32_t columns, uint32_t n_tokens);
using GemmPackFn = void(const int8_t* z0, size_t z_stride, uint32_t n_tokens, uint32_t columns, uint32_t k_begin,
                        uint32_t k_end, void* panel);
using GemmFn = void(const Packed& w, const void* panel, uint32_t n_tokens, uint32_t block_begin, uint32_t block_end,
                    int32_t* acc, size_t acc_stride);
namespace scalar {  // the panel: [token][padded columns]; base NEON reads the same; all but i8mm need that many bytes
GemmPanelFn gemm_panel;
GemmPackFn gemm_pack;
GemmFn gemm;
}  // namespace scalar
namespace neon {
GemmFn gemm;
}
namespace dotprod {
GemmPackFn gemm_pack;
GemmFn gemm;
}  // namespace dotprod
namespace i8mm {
GemmPanelFn gemm_panel;
GemmPackFn gemm_pack;
GemmFn gemm;
}  // namespace i8mm
namespace avx2 {
GemmPackFn gemm_pack;
GemmFn gemm;
}  // namespace avx2
namespace avxvnni {
GemmPackFn gemm_pack;
GemmFn gemm;
}  // namespace avxvnni
namespace avx512 {
GemmPackFn gemm_pack;
GemmFn gemm;
}  // namespace avx512
namespace amx {
GemmPackFn gemm_pack;
GemmFn gemm;
}  // namespace amx
}  // namespace svq::kernels
