// One vector per block: rotations and sums over it. A vector of n f32 values lies in shared memory, or in global
// scratch where it does not fit, element i at padded(i). The number of threads depends on n alone, so sums do too.
#pragma once
#include "kernels-cuda/common.cuh"
#include "kernels-cuda/transform/transform.h"

namespace svq::cuda {
namespace SVQ_CUDA_IMPL {

constexpr uint32_t kSums = 3 * kWarp;  // floats in front of the vectors, for reductions over the block

// For n values: about 8 a thread.
inline uint32_t vector_threads(uint32_t n) { return n <= 1024 ? 128 : n <= 2048 ? 256 : n <= 8192 ? 512 : 1024; }

// Where a block's two vectors lie, and how much shared memory that takes.
struct VectorLayout {
  size_t shared;
  bool in_shared;
};
inline VectorLayout vector_layout(uint32_t n, uint32_t vectors, uint32_t max_shared) {
  const size_t sums = kSums * sizeof(float), all = sums + vectors * padded(n + 31) * sizeof(float);
  return all <= max_shared ? VectorLayout{all, true} : VectorLayout{sums, false};
}
// Vector `i` of a block: in shared memory if `in_shared`, else in scratch (blocks, 2, padded(n + 31)).
__device__ __forceinline__ float* block_vector(bool in_shared, float* scratch, uint32_t block, uint32_t n, uint32_t i) {
  const size_t size = padded(n + 31);
  return in_shared ? dynamic_shared<float>() + kSums + i * size : scratch + (size_t{block} * 2 + i) * size;
}

// Sums over the block, the same for every thread. `sums` holds a float per warp; it may be used again after the next
// __syncthreads().
__device__ __forceinline__ float block_sum(float v, float* sums) {
  v = warp_sum(v);
  if (threadIdx.x % kWarp == 0) sums[threadIdx.x / kWarp] = v;
  __syncthreads();
  return warp_sum(threadIdx.x % kWarp < blockDim.x / kWarp ? sums[threadIdx.x % kWarp] : 0.0f);
}
__device__ __forceinline__ float block_max(float v, float* sums) {
  v = warp_max(v);
  if (threadIdx.x % kWarp == 0) sums[threadIdx.x / kWarp] = v;
  __syncthreads();
  return warp_max(threadIdx.x % kWarp < blockDim.x / kWarp ? sums[threadIdx.x % kWarp] : 0.0f);
}

// Who transforms a vector together: all threads of a block, or those of a warp.
struct BlockTeam {
  __device__ __forceinline__ static uint32_t rank() { return threadIdx.x; }
  __device__ __forceinline__ static uint32_t size() { return blockDim.x; }
  __device__ __forceinline__ static void barrier() { __syncthreads(); }
};
struct WarpTeam {
  __device__ __forceinline__ static uint32_t rank() { return threadIdx.x % kWarp; }
  __device__ __forceinline__ static uint32_t size() { return kWarp; }
  __device__ __forceinline__ static void barrier() { __syncwarp(); }
};

// S stages of butterflies over elements from `at` on, from distance h on.
template <int S, class Team>
__device__ __forceinline__ void butterflies(float* s, uint32_t at, uint32_t n, uint32_t h) {
  constexpr int kValues = 1 << S;
  for (uint32_t unit = Team::rank(); unit < n >> S; unit += Team::size()) {
    const uint32_t low = unit & (h - 1), base = at + ((unit - low) << S) + low;
    float v[kValues];
#pragma unroll
    for (int j = 0; j < kValues; ++j) v[j] = s[padded(base + static_cast<uint32_t>(j) * h)];
#pragma unroll
    for (int d = 1; d < kValues; d *= 2) {
#pragma unroll
      for (int j = 0; j < kValues; ++j) {
        if (j & d) continue;
        const float a = v[j], b = v[j + d];
        v[j] = a + b;
        v[j + d] = a - b;
      }
    }
#pragma unroll
    for (int j = 0; j < kValues; ++j) s[padded(base + static_cast<uint32_t>(j) * h)] = v[j];
  }
}

// The Hadamard transform along every run of `block` of the n values from `at` on, which are already divided by
// sqrt(block). Barriers before and after.
template <class Team = BlockTeam>
__device__ __forceinline__ void hadamard(float* s, uint32_t n, uint32_t block, uint32_t at = 0) {
  uint32_t h = 1;
  Team::barrier();
  while (block / h >= 8) {
    butterflies<3, Team>(s, at, n, h);
    h *= 8;
    Team::barrier();
  }
  if (block / h == 4) {
    butterflies<2, Team>(s, at, n, h);
    Team::barrier();
  } else if (block / h == 2) {
    butterflies<1, Team>(s, at, n, h);
    Team::barrier();
  }
}

// to[i][c] = factor · Σ_j m[j][i] from[j][c] over the runs; four outputs i a thread. Barriers before and after.
__device__ __forceinline__ void mix(const float* from, float* to, const Rotation& r, const float* m, float factor) {
  const uint32_t groups = (r.factor + 3) / 4, stride = mix_stride(r.factor);
  __syncthreads();
  for (uint32_t task = threadIdx.x; task < groups * r.block; task += blockDim.x) {
    const uint32_t c = task & (r.block - 1), i = task / r.block * 4;
    float sum[4] = {};
    for (uint32_t j = 0; j < r.factor; ++j) {
      const float4 row = *reinterpret_cast<const float4*>(m + j * stride + i);
      const float v = from[padded(j * r.block + c)];
      sum[0] = fma_rn(row.x, v, sum[0]);
      sum[1] = fma_rn(row.y, v, sum[1]);
      sum[2] = fma_rn(row.z, v, sum[2]);
      sum[3] = fma_rn(row.w, v, sum[3]);
    }
#pragma unroll
    for (uint32_t o = 0; o < 4; ++o) {
      if (i + o < r.factor) to[padded((i + o) * r.block + c)] = sum[o] * factor;
    }
  }
  __syncthreads();
}

__device__ __forceinline__ float hadamard_norm(const Rotation& r) {
  return r.kind == 0 ? 1.0f : 1.0f / sqrtf(static_cast<float>(r.block));
}

// y = scale ⊙ Hᵀ(delta · acc + beta + middle · lost) + bias of one token, into one of the two vectors, which is
// returned. All of it is there for every thread.
__device__ __forceinline__ float* output_side(const Product& p, uint32_t token, float* a, float* b) {
  const int32_t* acc = p.acc + size_t{token} * p.acc_stride;
  const Scale scale = p.scales[token];
  const float offset = offset_of(p, scale);
  const float norm = hadamard_norm(p.rotation);
  const bool mixed = p.rotation.kind == 2;
  for (uint32_t i = threadIdx.x; i < p.rows; i += blockDim.x) {
    const float v = scale.delta * static_cast<float>(acc[i]) + offset;
    a[padded(i)] = mixed ? v : v * norm;
  }
  float* y = a;
  if (mixed) {
    mix(a, b, p.rotation, p.rotation.inverse, norm);
    y = b;
  }
  if (p.rotation.kind != 0) {
    hadamard(y, p.rows, p.rotation.block);
  } else {
    __syncthreads();
  }
  for (uint32_t i = threadIdx.x; i < p.rows; i += blockDim.x) {
    float v = y[padded(i)];
    if (p.scale != nullptr) v *= half_to_float(p.scale[i]);
    if (p.bias != nullptr) v += p.bias[i];
    y[padded(i)] = v;
  }
  __syncthreads();
  return y;
}

__device__ __forceinline__ bool is_finite(float v) { return (__float_as_uint(v) & 0x7fffffffu) < 0x7f800000u; }

// u = H (scale ⊙ x), z = Aᵀu, int8: x in a, already normalised. b is the other vector. Nothing may be in `sums`.
__device__ __forceinline__ void input_side(const Input& in, uint32_t row, float* a, float* b, float* sums) {
  const uint32_t n = in.columns, d = in.affine.dim;
  const float norm = hadamard_norm(in.rotation);
  for (uint32_t i = threadIdx.x; i < n; i += blockDim.x) {
    float v = a[padded(i)];
    if (in.scale != nullptr) v *= half_to_float(in.scale[i]);
    a[padded(i)] = v * norm;
  }
  if (in.rotation.kind != 0) {
    hadamard(a, n, in.rotation.block);
  } else {
    __syncthreads();
  }
  float* u = a;
  if (in.rotation.kind == 2) {
    mix(a, b, in.rotation, in.rotation.forward, 1.0f);
    u = b;
  }
  float beta = 0, largest = 0;
  int bad = 0;
  const uint32_t span = in.affine.columns_per_map == 0 ? n : in.affine.columns_per_map;
  for (uint32_t k = threadIdx.x * d; k < n; k += blockDim.x * d) {
    const uint32_t map = k / span;
    const float* matrix = in.affine.a + size_t{map} * d * d;
    const float* offset = in.affine.b + size_t{map} * d;
    float x[8];
#pragma unroll
    for (uint32_t i = 0; i < 8; ++i) {
      if (i >= d) break;
      x[i] = u[padded(k + i)];
      beta = fma_rn(offset[i], x[i], beta);
    }
    for (uint32_t j = 0; j < d; ++j) {
      float z = 0;
#pragma unroll
      for (uint32_t i = 0; i < 8; ++i) {
        if (i >= d) break;
        z = fma_rn(matrix[i * d + j], x[i], z);
      }
      u[padded(k + j)] = z;
      bad |= !is_finite(z);
      largest = fabsf(z) > largest ? fabsf(z) : largest;
    }
  }
  // A value that is not finite counts as infinity: the maximum then says so.
  beta = block_sum(beta, sums);
  largest = block_max(bad ? __int_as_float(0x7f800000) : largest, sums + kWarp);
  const bool finite = is_finite(largest), usable = finite && largest >= kQuantizeFloor;
  const float inverse = usable ? 127.0f / largest : 0.0f, delta = usable ? largest / 127.0f : 0.0f;
  float lost = 0;
  auto* out = reinterpret_cast<uint32_t*>(in.codes + size_t{row} * in.codes_stride);
  for (uint32_t word = threadIdx.x; word < in.codes_stride / 4; word += blockDim.x) {
    uint32_t packed = 0;
#pragma unroll
    for (uint32_t i = 0; i < 4; ++i) {
      const uint32_t k = word * 4 + i;
      const float z = usable && k < n ? u[padded(k)] : 0.0f;
      const int q = __float2int_rn(z * inverse);
      lost += fma_rn(-delta, static_cast<float>(q), z);
      packed |= (static_cast<uint32_t>(q) & 0xff) << (8 * i);
    }
    out[word] = packed;
  }
  lost = block_sum(lost, sums + 2 * kWarp);
  if (threadIdx.x == 0) in.scales[row] = {finite ? delta : __int_as_float(0x7fc00000), beta, lost};
}

// In place: x / rms(x) · weight, x in a. Also written to in.normed if there is one.
__device__ __forceinline__ void normalise(const Input& in, uint32_t row, float* a, float* sums) {
  if (in.norm) {
    float squares = 0;
    for (uint32_t i = threadIdx.x; i < in.columns; i += blockDim.x) {
      const float v = a[padded(i)];
      squares = fma_rn(v, v, squares);
    }
    const float inverse = 1.0f / sqrtf(block_sum(squares, sums + 2 * kWarp) / static_cast<float>(in.columns) + in.eps);
    for (uint32_t i = threadIdx.x; i < in.columns; i += blockDim.x) {
      float v = a[padded(i)] * inverse;
      if (in.weight != nullptr) v *= in.weight[i];
      a[padded(i)] = v;
    }
  }
  if (in.normed == nullptr) return;
  for (uint32_t i = threadIdx.x; i < in.columns; i += blockDim.x) {
    in.normed[size_t{row} * in.columns + i] = a[padded(i)];
  }
}

}  // namespace SVQ_CUDA_IMPL
}  // namespace svq::cuda
