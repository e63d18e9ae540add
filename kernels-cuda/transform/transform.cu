#include "kernels-cuda/table.cuh"
#include "kernels-cuda/transform/vector.cuh"

namespace svq::cuda {
namespace SVQ_CUDA_IMPL {
namespace {

constexpr unsigned kMaxThreads = 1024;

__device__ __forceinline__ float silu(float gate, float up) { return gate / (1.0f + exp_approx(-gate)) * up; }

__global__ void __launch_bounds__(kMaxThreads) input_kernel(const Input in, bool in_shared) {
  const uint32_t row = blockIdx.x, token = in.first + row, n = in.columns;
  if (row >= in.n) return prefetch(in.prefetch, row - in.n, gridDim.x - in.n);
  float* sums = dynamic_shared<float>();
  float* a = block_vector(in_shared, in.scratch, row, n, 0);
  float* b = block_vector(in_shared, in.scratch, row, n, 1);
  if (in.y.acc != nullptr) {
    float* y = output_side(in.y, token, a, b);
    float* x = in.x + size_t{token} * n;
    for (uint32_t i = threadIdx.x; i < n; i += blockDim.x) {
      const float v = x[i] + y[padded(i)];
      x[i] = v;
      y[padded(i)] = v;
    }
    if (y == b) {
      b = a;
      a = y;
    }
  } else if (in.gate != nullptr) {
    const float* gate = in.gate + size_t{token} * n;
    const float* up = in.up + size_t{token} * n;
    for (uint32_t i = threadIdx.x; i < n; i += blockDim.x) a[padded(i)] = silu(gate[i], up[i]);
  } else {
    const float* x = in.x + size_t{token} * n;
    for (uint32_t i = threadIdx.x; i < n; i += blockDim.x) a[padded(i)] = x[i];
  }
  normalise(in, row, a, sums);
  if (in.codes != nullptr) input_side(in, row, a, b, sums);
}

__global__ void __launch_bounds__(kMaxThreads) output_kernel(const Output out, bool in_shared, uint32_t longest) {
  const uint32_t member = blockIdx.x, token = blockIdx.y, block = token * gridDim.x + member;
  const Product& p = out.product[member];
  float* a = block_vector(in_shared, out.scratch, block, longest, 0);
  float* b = block_vector(in_shared, out.scratch, block, longest, 1);
  const float* y = output_side(p, token, a, b);
  float* to = out.out[member] + size_t{token} * p.rows;
  for (uint32_t i = threadIdx.x; i < p.rows; i += blockDim.x) to[i] = y[padded(i)];
}

__global__ void __launch_bounds__(kMaxThreads)
    gate_up_kernel(const Output out, const Input in, uint32_t* counters, bool in_shared) {
  const uint32_t member = blockIdx.x, token = blockIdx.y, n = in.columns;
  if (member >= 2) return prefetch(in.prefetch, (member - 2) * gridDim.y + token, (gridDim.x - 2) * gridDim.y);
  float* sums = dynamic_shared<float>();
  const uint32_t block = token * 2 + member;
  float* a = block_vector(in_shared, out.scratch, block, n, 0);
  float* b = block_vector(in_shared, out.scratch, block, n, 1);
  const float* y = output_side(out.product[member], token, a, b);
  float* to = out.out[member] + size_t{token} * n;
  for (uint32_t i = threadIdx.x; i < n; i += blockDim.x) to[i] = y[padded(i)];
  __threadfence();
  __syncthreads();
  auto* last = reinterpret_cast<unsigned*>(sums);
  if (threadIdx.x == 0) *last = atomicInc(counters + token, 1u);
  __syncthreads();
  if (*last == 0) return;
  __threadfence();
  const float* gate = out.out[0] + size_t{token} * n;
  const float* up = out.out[1] + size_t{token} * n;
  for (uint32_t i = threadIdx.x; i < n; i += blockDim.x) a[padded(i)] = silu(load_fresh(gate + i), load_fresh(up + i));
  __syncthreads();  // `last` has been read
  input_side(in, token, a, b, sums);
}

// One head of n values at x (shared or scratch, from element `at` on): RMSNorm and rotary turn, in place, by one warp.
__device__ __forceinline__ void turn_head(float* x, uint32_t at, const float* norm, float eps, const float* cos,
                                          const float* sin, uint32_t d) {
  const uint32_t lane = threadIdx.x % kWarp, half = d / 2;
  float inverse = 1.0f;
  if (norm != nullptr) {
    float squares = 0;
    for (uint32_t i = lane; i < d; i += kWarp) squares = fma_rn(x[padded(at + i)], x[padded(at + i)], squares);
    inverse = 1.0f / sqrtf(warp_sum(squares) / static_cast<float>(d) + eps);
  }
  for (uint32_t i = lane; i < half; i += kWarp) {
    float p = x[padded(at + i)], q = x[padded(at + i + half)];
    if (norm != nullptr) {
      p = p * inverse * norm[i];
      q = q * inverse * norm[i + half];
    }
    x[padded(at + i)] = p * cos[i] - q * sin[i];
    x[padded(at + i + half)] = q * cos[i] + p * sin[i];
  }
  __syncwarp();
}

// The Hadamard transform of one head along runs of the largest power of two that divides d, in place, by one warp: of
// keys in int8, and of the queries that meet them.
__device__ __forceinline__ void rotate_head(float* x, uint32_t at, uint32_t d) {
  const uint32_t lane = threadIdx.x % kWarp, block = d & (~d + 1);
  const float norm = 1.0f / sqrtf(static_cast<float>(block));
  for (uint32_t i = lane; i < d; i += kWarp) x[padded(at + i)] *= norm;
  hadamard<WarpTeam>(x, d, block, at);
}

// One head into the cache, from byte `values` (and `scales`) of its page on: f16, or int8 with a scale.
__device__ __forceinline__ void store_head(const float* x, uint32_t at, const Cache& c, uint64_t values,
                                           uint64_t scales, uint32_t head, uint32_t position) {
  const uint32_t lane = threadIdx.x % kWarp, d = c.head_dim;
  uint8_t* page = c.pages[position / kSegment];
  const size_t index = size_t{head} * kSegment + position % kSegment;
  if (c.bits == 16) {
    uint16_t* to = reinterpret_cast<uint16_t*>(page + values) + index * d;
    for (uint32_t i = lane; i < d; i += kWarp) to[i] = float_to_half(x[padded(at + i)]);
    return;
  }
  float largest = 0;
  for (uint32_t i = lane; i < d; i += kWarp) {
    const float v = x[padded(at + i)], magnitude = is_finite(v) ? fabsf(v) : __int_as_float(0x7f800000);
    largest = magnitude > largest ? magnitude : largest;
  }
  largest = warp_max(largest);
  const bool finite = is_finite(largest), usable = finite && largest >= kQuantizeFloor;
  const float inverse = usable ? 127.0f / largest : 0.0f;
  int8_t* to = reinterpret_cast<int8_t*>(page + values) + index * d;
  for (uint32_t i = lane; i < d; i += kWarp) {
    to[i] = static_cast<int8_t>(usable ? __float2int_rn(x[padded(at + i)] * inverse) : 0);
  }
  if (lane == 0)
    reinterpret_cast<float*>(page + scales)[index] =
        finite ? (usable ? largest / 127.0f : 0.0f) : __int_as_float(0x7fc00000);
}

__global__ void __launch_bounds__(kMaxThreads) qkv_kernel(const Qkv args, bool in_shared, uint32_t longest) {
  const uint32_t member = blockIdx.x, token = blockIdx.y, block = token * 3 + member;
  if (member >= 3) return prefetch(args.prefetch, (member - 3) * gridDim.y + token, (gridDim.x - 3) * gridDim.y);
  const uint32_t d = args.cache.head_dim, heads = member == 0 ? args.n_heads : args.n_kv_heads, n = heads * d;
  float* a = block_vector(in_shared, args.scratch, block, longest, 0);
  float* b = block_vector(in_shared, args.scratch, block, longest, 1);
  float* x = a;
  float* buffer = args.buffer[member] + size_t{token} * n;
  if (args.product[member].acc != nullptr) {
    x = output_side(args.product[member], token, a, b);
  } else {
    for (uint32_t i = threadIdx.x; i < n; i += blockDim.x) a[padded(i)] = buffer[i];
    __syncthreads();
  }
  const uint32_t position = args.step->position + token;
  const float* cos = args.cos + size_t{token} * (d / 2);
  const float* sin = args.sin + size_t{token} * (d / 2);
  const float* norm = member == 0 ? args.q_norm : args.k_norm;
  for (uint32_t head = threadIdx.x / kWarp; head < heads; head += blockDim.x / kWarp) {
    const uint32_t at = head * d;
    if (member < 2) turn_head(x, at, norm, args.eps, cos, sin, d);
    if (member < 2 && args.cache.bits == 8) rotate_head(x, at, d);
    if (member == 0) {
      for (uint32_t i = threadIdx.x % kWarp; i < d; i += kWarp) buffer[at + i] = x[padded(at + i)];
    } else if (member == 1) {
      store_head(x, at, args.cache, args.cache.k, args.cache.k_scale, head, position);
    } else {
      store_head(x, at, args.cache, args.cache.v, args.cache.v_scale, head, position);
    }
  }
}

// A block takes a head of a layer, a warp a position at a time. What is read lies behind what is written: all warps
// read before any of them writes.
constexpr uint32_t kShiftWarps = 8;
__host__ __device__ __forceinline__ uint32_t shift_row(uint32_t d) { return padded(d + 31) + (d + 1) / 2; }
__global__ void __launch_bounds__(kShiftWarps* kWarp) shift_kernel(const Shift s) {
  Cache c = s.cache;
  const uint32_t head = blockIdx.x, layer = blockIdx.y, warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const uint32_t d = c.head_dim;
  c.k += layer * s.values, c.v += layer * s.values, c.k_scale += layer * s.scales, c.v_scale += layer * s.scales;
  float* key = dynamic_shared<float>() + warp * shift_row(d);
  auto* value = reinterpret_cast<uint16_t*>(key + padded(d + 31));  // as stored
  for (uint32_t first = 0; first < s.count; first += kShiftWarps) {
    const uint32_t i = first + warp;
    const bool mine = i < s.count;
    float scale = 0;
    if (mine) {
      const uint32_t position = s.from + i;
      const uint8_t* page = c.pages[position / kSegment];
      const size_t index = size_t{head} * kSegment + position % kSegment;
      if (c.bits == 16) {
        const uint16_t* k = reinterpret_cast<const uint16_t*>(page + c.k) + index * d;
        const uint16_t* v = reinterpret_cast<const uint16_t*>(page + c.v) + index * d;
        for (uint32_t j = lane; j < d; j += kWarp) {
          key[padded(j)] = half_to_float(k[j]);
          value[j] = v[j];
        }
      } else {
        const int8_t* k = reinterpret_cast<const int8_t*>(page + c.k) + index * d;
        const int8_t* v = reinterpret_cast<const int8_t*>(page + c.v) + index * d;
        const float k_scale = reinterpret_cast<const float*>(page + c.k_scale)[index];
        for (uint32_t j = lane; j < d; j += kWarp) {
          key[padded(j)] = static_cast<float>(k[j]) * k_scale;
          value[j] = static_cast<uint8_t>(v[j]);
        }
        scale = reinterpret_cast<const float*>(page + c.v_scale)[index];
      }
      __syncwarp();
      if (c.bits == 8) rotate_head(key, 0, d);  // its own inverse
      turn_head(key, 0, nullptr, 0, s.cos, s.sin, d);
      if (c.bits == 8) rotate_head(key, 0, d);
    }
    __syncthreads();
    if (mine) {
      const uint32_t position = s.to + i;
      store_head(key, 0, c, c.k, c.k_scale, head, position);
      uint8_t* page = c.pages[position / kSegment];
      const size_t index = size_t{head} * kSegment + position % kSegment;
      if (c.bits == 16) {
        uint16_t* v = reinterpret_cast<uint16_t*>(page + c.v) + index * d;
        for (uint32_t j = lane; j < d; j += kWarp) v[j] = value[j];
      } else {
        int8_t* v = reinterpret_cast<int8_t*>(page + c.v) + index * d;
        for (uint32_t j = lane; j < d; j += kWarp) v[j] = static_cast<int8_t>(value[j]);
        if (lane == 0) reinterpret_cast<float*>(page + c.v_scale)[index] = scale;
      }
    }
    __syncthreads();
  }
}

__global__ void __launch_bounds__(256) add_kernel(float* x, const float* y, uint64_t n) {
  const uint64_t i = uint64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < n) x[i] += y[i];
}
__global__ void __launch_bounds__(256) silu_mul_kernel(float* gate, const float* up, uint64_t n) {
  const uint64_t i = uint64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < n) gate[i] = silu(gate[i], up[i]);
}
Dim elementwise_grid(uint64_t n) { return Dim(static_cast<unsigned>((n + 255) / 256)); }

uint32_t longest_product(const Product* p, uint32_t count) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < count; ++i) n = p[i].rows > n ? p[i].rows : n;
  return n;
}

}  // namespace

void input(Stream stream, const Input& in) {
  const bool two = in.rotation.kind == 2 || in.y.rotation.kind == 2;
  const VectorLayout layout = vector_layout(in.columns, two ? 2 : 1, in.max_shared);
  launch(stream, "input", input_kernel, Dim(in.n + in.prefetch.blocks), Dim(vector_threads(in.columns)), layout.shared,
         in, layout.in_shared);
}

void output(Stream stream, const Output& out) {
  bool two = false;
  for (uint32_t i = 0; i < out.count; ++i) two = two || out.product[i].rotation.kind == 2;
  const uint32_t longest = longest_product(out.product, out.count);
  const VectorLayout layout = vector_layout(longest, two ? 2 : 1, out.max_shared);
  launch(stream, "output", output_kernel, Dim(out.count, out.n), Dim(vector_threads(longest)), layout.shared, out,
         layout.in_shared, longest);
}

void gate_up(Stream stream, const Output& out, const Input& in, uint32_t* counters) {
  const bool two = in.rotation.kind == 2 || out.product[0].rotation.kind == 2 || out.product[1].rotation.kind == 2;
  const VectorLayout layout = vector_layout(in.columns, two ? 2 : 1, in.max_shared);
  launch(stream, "gate_up", gate_up_kernel, Dim(2 + in.prefetch.blocks, out.n), Dim(vector_threads(in.columns)),
         layout.shared, out, in, counters, layout.in_shared);
}

void qkv(Stream stream, const Qkv& args) {
  const uint32_t longest = args.n_heads * args.cache.head_dim;
  bool two = false;
  for (const Product& p : args.product) two = two || p.rotation.kind == 2;
  const VectorLayout layout = vector_layout(longest, two ? 2 : 1, args.max_shared);
  launch(stream, "qkv", qkv_kernel, Dim(3 + args.prefetch.blocks, args.n), Dim(vector_threads(longest)), layout.shared,
         args, layout.in_shared, longest);
}

void shift(Stream stream, const Shift& s) {
  launch(stream, "shift", shift_kernel, Dim(s.n_kv_heads, s.n_layers), Dim(kShiftWarps * kWarp),
         kShiftWarps * shift_row(s.cache.head_dim) * sizeof(float), s);
}

void add(Stream stream, float* x, const float* y, uint64_t n) {
  launch(stream, "add", add_kernel, elementwise_grid(n), Dim(256), 0, x, y, n);
}
void silu_mul(Stream stream, float* gate, const float* up, uint64_t n) {
  launch(stream, "silu_mul", silu_mul_kernel, elementwise_grid(n), Dim(256), 0, gate, up, n);
}

}  // namespace SVQ_CUDA_IMPL
}  // namespace svq::cuda
