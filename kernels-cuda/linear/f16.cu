// Linears that stay at 16 bits, and side paths: a warp a row.
#include "kernels-cuda/linear/linear.cuh"
#include "kernels-cuda/table.cuh"

namespace svq::cuda {
namespace SVQ_CUDA_IMPL {
namespace {

constexpr uint32_t kWarps = 8;
constexpr int kTokens = 4;  // at a time

__device__ __forceinline__ void multiply_pair(uint32_t w, const float2& x, float* sum) {
  *sum = fma_rn(half_to_float(static_cast<uint16_t>(w & 0xffff)), x.x, *sum);
  *sum = fma_rn(half_to_float(static_cast<uint16_t>(w >> 16)), x.y, *sum);
}

// WIDE: 8 divides columns.
template <bool WIDE>
__global__ void __launch_bounds__(kWarps* kWarp) f16_kernel(const F16Product p) {
  const uint32_t row = blockIdx.x * kWarps + threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  if (row >= p.rows) return;
  const uint16_t* w = p.w + size_t{row} * p.columns;
  for (uint32_t first = 0; first < p.n; first += kTokens) {
    const float* x[kTokens];
    float sum[kTokens] = {};
#pragma unroll
    for (int t = 0; t < kTokens; ++t) {
      const uint32_t token = first + t < p.n ? first + t : p.n - 1;
      x[t] = p.x + size_t{token} * p.columns;
    }
    if constexpr (WIDE) {
      for (uint32_t k = lane * 8; k < p.columns; k += kWarp * 8) {
        const uint4 v = *reinterpret_cast<const uint4*>(w + k);
#pragma unroll
        for (int t = 0; t < kTokens; ++t) {
          const float4 a = *reinterpret_cast<const float4*>(x[t] + k),
                       b = *reinterpret_cast<const float4*>(x[t] + k + 4);
          multiply_pair(v.x, {a.x, a.y}, &sum[t]);
          multiply_pair(v.y, {a.z, a.w}, &sum[t]);
          multiply_pair(v.z, {b.x, b.y}, &sum[t]);
          multiply_pair(v.w, {b.z, b.w}, &sum[t]);
        }
      }
    } else {
      for (uint32_t k = lane; k < p.columns; k += kWarp) {
        const float v = half_to_float(w[k]);
#pragma unroll
        for (int t = 0; t < kTokens; ++t) sum[t] = fma_rn(v, x[t][k], sum[t]);
      }
    }
#pragma unroll
    for (int t = 0; t < kTokens; ++t) {
      float v = warp_sum(sum[t]);
      if (lane != 0 || first + t >= p.n) continue;
      float* to = p.y + size_t{first + t} * p.rows + row;
      if (p.bias != nullptr) v += p.bias[row];
      *to = p.add ? *to + v : v;
    }
  }
}

}  // namespace

void f16_product(Stream stream, const F16Product& p) {
  launch(stream, "f16", p.columns % 8 == 0 ? f16_kernel<true> : f16_kernel<false>, Dim((p.rows + kWarps - 1) / kWarps),
         Dim(kWarps * kWarp), 0, p);
}

}  // namespace SVQ_CUDA_IMPL
}  // namespace svq::cuda
