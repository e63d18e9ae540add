// Shared by the kernels of packed products: the row blocks of several linears as one range.
#pragma once
#include "kernels-cuda/common.cuh"
#include "kernels-cuda/linear/linear.h"

namespace svq::cuda {
namespace SVQ_CUDA_IMPL {

// In units of `unit` row blocks of 16 rows, each linear rounded up by itself.
__host__ __device__ __forceinline__ uint32_t blocks_of(const Packed& w, uint32_t unit) {
  return ((w.rows + 15) / 16 + unit - 1) / unit;
}
inline uint32_t count_blocks(const PackedProduct& p, uint32_t unit) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < p.count; ++i) n += blocks_of(p.w[i], unit);
  return n;
}
// The linear that unit *block of the range belongs to (count: none), *block then counts within it.
__device__ __forceinline__ uint32_t find_member(const PackedProduct& p, uint32_t* block, uint32_t unit) {
  uint32_t member = 0;
  for (; member < p.count; ++member) {
    const uint32_t n = blocks_of(p.w[member], unit);
    if (*block < n) break;
    *block -= n;
  }
  return member;
}

void gemv(Stream stream, const PackedProduct& p);
void gemm(Stream stream, const PackedProduct& p);

}  // namespace SVQ_CUDA_IMPL
}  // namespace svq::cuda
