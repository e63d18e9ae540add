// What every kernel file stands on: the CUDA language or its emulation, the namespace of this build, launching, and the
// instructions that have no portable name. Compiled without contraction of a·b + c (--fmad=false, -ffp-contract=off):
// a fused multiply-add is written fmaf, so that device and emulation round alike.
#pragma once
#include <cstddef>
#include <cstdint>

#if defined(SVQ_CUDA_EMULATION)
#include "kernels-cuda/emulation/simt.h"
#define SVQ_CUDA_IMPL emulated
#else
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#define SVQ_CUDA_IMPL real
#endif
#include "kernels-cuda/types.h"

namespace svq::cuda {
namespace SVQ_CUDA_IMPL {

template <class T>
struct Identity {
  using Type = T;
};
template <class T>
using Same = typename Identity<T>::Type;  // takes no part in deduction

constexpr unsigned kFullMask = 0xffffffffu;
constexpr uint32_t kWarp = 32;

#if defined(SVQ_CUDA_EMULATION)
using Dim = simt::Dim;

template <class... P>
void launch(Stream stream, const char* name, void (*kernel)(P...), Dim grid, Dim block, size_t shared,
            Same<P>... args) {
  simt::launch(static_cast<simt::Stream*>(stream), grid, block, shared, name, [=] { kernel(args...); });
}
template <class T>
T* dynamic_shared() {
  return reinterpret_cast<T*>(simt::shared_memory());
}

// c + Σ a_i b_i over the four bytes, a unsigned, b signed.
inline int dp4a(uint32_t a, int b, int c) {
  const auto w = static_cast<uint32_t>(b);
  for (int i = 0; i < 32; i += 8) c += static_cast<int>(a >> i & 0xff) * static_cast<int8_t>(w >> i & 0xff);
  return c;
}
// Row g, column pair t of a 16 × 8 tile: c += A · B with A 16 × 32 of u8 and B 32 × 8 of s8, fragments as in PTX's
// mma.m16n8k32.
inline void mma(int* c, const uint32_t* a, const uint32_t* b) {
  const uint32_t words[6] = {a[0], a[1], a[2], a[3], b[0], b[1]};
  const auto* all = simt::exchange(5, words, 6);
  const unsigned g = simt::lane() / 4, t = simt::lane() % 4;
  for (unsigned i = 0; i < 4; ++i) {
    const unsigned column = 2 * t + i % 2, half = i / 2;  // half 1: row g + 8
    for (unsigned q = 0; q < 4; ++q) {
      const uint32_t* row = all[4 * g + q];
      const uint32_t* col = all[4 * column + q];
      c[i] = dp4a(row[half], static_cast<int>(col[4]), c[i]);
      c[i] = dp4a(row[2 + half], static_cast<int>(col[5]), c[i]);
    }
  }
}
inline void copy16_async(void* shared, const void* global) { simt::copy_async(shared, global, 16); }
inline void copy_commit() { simt::copy_commit(); }
template <int N>
void copy_wait() {
  simt::copy_wait(N);
}
inline float half_to_float(uint16_t h) { return kernels::soft::half_to_float(h); }
inline uint16_t float_to_half(float f) { return kernels::soft::float_to_half(f); }
inline float fma_rn(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
inline const uint8_t* in_global(const uint8_t* p) { return p; }
inline float load_fresh(const float* p) { return *p; }
inline void prefetch_line(const uint8_t* p) {
  (void)*static_cast<const volatile uint8_t*>(p);  // must be there
  ++simt::prefetched;
}
inline uint4 load_streaming(const uint8_t* p) { return *reinterpret_cast<const uint4*>(p); }

#else
using Dim = dim3;

template <class... P>
void launch(Stream stream, const char*, void (*kernel)(P...), Dim grid, Dim block, size_t shared, Same<P>... args) {
  if (shared > (48u << 10)) {
    cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                         static_cast<int>(shared));
  }
  void* pointers[] = {const_cast<void*>(static_cast<const void*>(&args))...};
  cudaLaunchKernel(reinterpret_cast<const void*>(kernel), grid, block, pointers, shared,
                   static_cast<cudaStream_t>(stream));
}
template <class T>
__device__ __forceinline__ T* dynamic_shared() {
  extern __shared__ uint4 svq_shared[];
  return reinterpret_cast<T*>(svq_shared);
}

__device__ __forceinline__ int dp4a(uint32_t a, int b, int c) {
  int d;
  asm("dp4a.u32.s32 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
  return d;
}
__device__ __forceinline__ void mma(int* c, const uint32_t* a, const uint32_t* b) {
#if __CUDA_ARCH__ >= 800
  asm("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else  // sm_75 has the quarter of it
#pragma unroll
  for (int half = 0; half < 2; ++half) {
#pragma unroll
    for (int k = 0; k < 2; ++k) {
      asm("mma.sync.aligned.m8n8k16.row.col.s32.u8.s8.s32 {%0,%1}, {%2}, {%3}, {%0,%1};"
          : "+r"(c[2 * half]), "+r"(c[2 * half + 1])
          : "r"(a[2 * k + half]), "r"(b[k]));
    }
  }
#endif
}
__device__ __forceinline__ void copy16_async(void* shared, const void* global) {
#if __CUDA_ARCH__ >= 800
  const auto to = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(global) : "memory");
#else
  *static_cast<uint4*>(shared) = *static_cast<const uint4*>(global);
#endif
}
__device__ __forceinline__ void copy_commit() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
template <int N>
__device__ __forceinline__ void copy_wait() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
#endif
}
__device__ __forceinline__ float half_to_float(uint16_t h) { return __half2float(__ushort_as_half(h)); }
__device__ __forceinline__ uint16_t float_to_half(float f) { return __half_as_ushort(__float2half_rn(f)); }
__device__ __forceinline__ float fma_rn(float a, float b, float c) { return __fmaf_rn(a, b, c); }
// What another block of this launch has written.
__device__ __forceinline__ float load_fresh(const float* p) { return __ldcg(p); }
// A pointer that was read from memory, which is not seen to be one into global memory.
__device__ __forceinline__ const uint8_t* in_global(const uint8_t* p) {
  __builtin_assume(__isGlobal(p));
  return p;
}
__device__ __forceinline__ void prefetch_line(const uint8_t* p) { asm volatile("prefetch.global.L2 [%0];" ::"l"(p)); }
// 16 bytes that no one reads again before they have left the caches.
__device__ __forceinline__ uint4 load_streaming(const uint8_t* p) {
  uint4 v;
  asm("ld.global.nc.L1::no_allocate.L2::128B.v4.u32 {%0,%1,%2,%3}, [%4];"
      : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
      : "l"(p));
  return v;
}
#endif

// Element i of an f32 scratch vector in shared memory: one word in 33 is left out, so that strides of powers of two
// spread over the banks.
__host__ __device__ __forceinline__ uint32_t padded(uint32_t i) { return i + (i >> 5); }

// The part of block `block` of `blocks`.
__device__ __forceinline__ void prefetch(const Prefetch& p, uint32_t block, uint32_t blocks) {
  for (uint32_t r = 0; r < kPrefetchRanges; ++r) {
    for (uint32_t i = block * blockDim.x + threadIdx.x; i < p.lines[r]; i += blocks * blockDim.x) {
      prefetch_line(p.at[r] + size_t{i} * kLine);
    }
  }
}

__device__ __forceinline__ float warp_sum(float v) {
#pragma unroll
  for (int o = 16; o > 0; o >>= 1) v += __shfl_xor_sync(kFullMask, v, o);
  return v;
}
__device__ __forceinline__ float warp_max(float v) {
#pragma unroll
  for (int o = 16; o > 0; o >>= 1) {
    const float other = __shfl_xor_sync(kFullMask, v, o);
    v = other > v ? other : v;
  }
  return v;
}

// What is added to delta · acc.
__device__ __forceinline__ float offset_of(const Product& p, const Scale& s) {
  return fma_rn(p.middle, s.lost, s.beta);
}

// exp(x) as in kernels-neon/simd/exp.h: the same polynomial and clamps, so that device, emulation and CPU agree.
__device__ __forceinline__ float exp_approx(float x) {
  const float in = x < -87.0f ? -87.0f : x > 88.0f ? 88.0f : x;
  const float n = rintf(in * 1.44269504f);
  float r = in - n * 0.693359375f;
  r = r - n * -2.12194440e-4f;
  float y = 1.0f / 5040;
  y = fma_rn(y, r, 1.0f / 720);
  y = fma_rn(y, r, 1.0f / 120);
  y = fma_rn(y, r, 1.0f / 24);
  y = fma_rn(y, r, 1.0f / 6);
  y = fma_rn(y, r, 0.5f);
  y = fma_rn(y, r, 1.0f);
  y = fma_rn(y, r, 1.0f);
  const float out = y * __int_as_float((static_cast<int>(n) + 127) << 23);
  return x == x ? out : x;
}

}  // namespace SVQ_CUDA_IMPL
}  // namespace svq::cuda
