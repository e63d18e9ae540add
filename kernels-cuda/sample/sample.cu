// The largest logits by levels: each block sorts 4096 keys and keeps 128. A key orders as logit, then as lower id.
#include "kernels-cuda/sample/sample.h"

#include "kernels-cuda/table.cuh"

namespace svq::cuda {
namespace SVQ_CUDA_IMPL {
namespace {

constexpr unsigned kThreads = 1024;

__global__ void __launch_bounds__(256) logits_kernel(const Product p, float* out) {
  const uint32_t i = blockIdx.x * blockDim.x + threadIdx.x, token = blockIdx.y;
  if (i >= p.rows) return;
  const Scale scale = p.scales[token];
  float v = scale.delta * static_cast<float>(p.acc[size_t{token} * p.acc_stride + i]) + offset_of(p, scale);
  if (p.scale != nullptr) v *= half_to_float(p.scale[i]);
  if (p.bias != nullptr) v += p.bias[i];
  out[size_t{token} * p.rows + i] = v;
}

// Descending, in place.
__device__ __forceinline__ void sort(uint64_t* keys) {
  for (uint32_t size = 2; size <= kSorted; size *= 2) {
    for (uint32_t stride = size / 2; stride > 0; stride /= 2) {
      __syncthreads();
      for (uint32_t i = threadIdx.x; i < kSorted / 2; i += kThreads) {
        const uint32_t low = i & (stride - 1), at = 2 * (i - low) + low;
        const uint64_t a = keys[at], b = keys[at + stride];
        if ((a < b) == ((at & size) == 0)) {
          keys[at] = b;
          keys[at + stride] = a;
        }
      }
    }
  }
  __syncthreads();
}

// 0 for what is left out.
__device__ __forceinline__ uint64_t key_of(float logit, uint32_t id) {
  const uint32_t bits = __float_as_uint(logit + 0.0f);  // -0 counts as 0
  if (bits == 0xff800000u) return 0;
  const uint32_t ordered = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
  return uint64_t{ordered} << 32 | (0xffffffffu - id);
}

__global__ void __launch_bounds__(kThreads)
    first_level(const float* logits, uint32_t vocab, uint64_t* out, uint32_t* bad) {
  auto* keys = dynamic_shared<uint64_t>();
  auto* any = reinterpret_cast<unsigned*>(keys + kSorted);
  if (threadIdx.x == 0) *any = 0;
  __syncthreads();
  for (uint32_t i = threadIdx.x; i < kSorted; i += kThreads) {
    const uint32_t id = blockIdx.x * kSorted + i;
    const float logit = id < vocab ? logits[id] : 0.0f;
    keys[i] = id < vocab ? key_of(logit, id) : 0;
    const uint32_t bits = __float_as_uint(logit);
    if ((bits & 0x7fffffffu) > 0x7f800000u || bits == 0x7f800000u) atomicOr(any, 1u);
  }
  sort(keys);
  for (uint32_t i = threadIdx.x; i < kTop; i += kThreads) out[blockIdx.x * kTop + i] = keys[i];
  if (threadIdx.x == 0) bad[blockIdx.x] = *any;
}

// host null: keys out; else the end of it.
__global__ void __launch_bounds__(kThreads)
    next_level(const uint64_t* in, uint32_t n, uint64_t* out, const uint32_t* bad, uint32_t n_bad, TopK* host) {
  auto* keys = dynamic_shared<uint64_t>();
  for (uint32_t i = threadIdx.x; i < kSorted; i += kThreads) {
    const uint32_t at = blockIdx.x * kSorted + i;
    keys[i] = at < n ? in[at] : 0;
  }
  sort(keys);
  if (host == nullptr) {
    for (uint32_t i = threadIdx.x; i < kTop; i += kThreads) out[blockIdx.x * kTop + i] = keys[i];
    return;
  }
  for (uint32_t i = threadIdx.x; i < kTop; i += kThreads) {
    const auto ordered = static_cast<uint32_t>(keys[i] >> 32);
    const uint32_t bits = ordered & 0x80000000u ? ordered & 0x7fffffffu : ~ordered;
    host->candidate[i] = {__int_as_float(static_cast<int>(bits)),
                          static_cast<int32_t>(0xffffffffu - static_cast<uint32_t>(keys[i]))};
  }
  if (threadIdx.x != 0) return;
  uint32_t count = kTop, any = 0;
  while (count > 0 && keys[count - 1] == 0) --count;
  for (uint32_t i = 0; i < n_bad; ++i) any |= bad[i];
  host->count = count;
  host->bad = any;
}

}  // namespace

void logits(Stream stream, const Product& p, uint32_t n, float* out) {
  launch(stream, "logits", logits_kernel, Dim((p.rows + 255) / 256, n), Dim(256), 0, p, out);
}

void top_k(Stream stream, const float* logits_of, uint32_t vocab, uint32_t* scratch, TopK* host) {
  const size_t shared = kSorted * sizeof(uint64_t) + 16;
  uint32_t blocks = (vocab + kSorted - 1) / kSorted;
  const uint32_t first_blocks = blocks;
  auto* keys = reinterpret_cast<uint64_t*>(scratch);
  auto* other = keys + size_t{first_blocks} * kTop;
  auto* bad = reinterpret_cast<uint32_t*>(other + size_t{first_blocks} * kTop + kTop);
  launch(stream, "top_k", first_level, Dim(blocks), Dim(kThreads), shared, logits_of, vocab, keys, bad);
  for (;;) {
    const uint32_t n = blocks * kTop;
    blocks = (n + kSorted - 1) / kSorted;
    launch(stream, "top_k", next_level, Dim(blocks), Dim(kThreads), shared, keys, n, other, bad, first_blocks,
           blocks == 1 ? host : nullptr);
    if (blocks == 1) return;
    uint64_t* swap = keys;
    keys = other;
    other = swap;
  }
}

}  // namespace SVQ_CUDA_IMPL
}  // namespace svq::cuda
