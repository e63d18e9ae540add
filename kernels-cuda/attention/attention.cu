#include "kernels-cuda/attention/attention.h"

#include "kernels-cuda/table.cuh"

namespace svq::cuda {
namespace SVQ_CUDA_IMPL {
namespace {

constexpr uint32_t kWarps = 4, kBlock = 32;  // positions a lane each

__device__ __forceinline__ float minus_infinity() { return __int_as_float(static_cast<int>(0xff800000u)); }
__device__ __forceinline__ uint32_t row_stride(uint32_t d) {
  return (d + 7) / 8 * 8 + 8;
}  // halves; 16-byte rows, banks spread

// What a block keeps in shared memory.
struct Shared {
  float* q;        // (rows, stride)
  float* p;        // (rows, kBlock)
  float* k_scale;  // (kBlock)
  float* v_scale;
  uint16_t* k;  // (kBlock, stride) f16
  uint16_t* v;
  unsigned* last;
};
inline size_t shared_bytes(uint32_t rows, uint32_t d) {
  const size_t stride = (d + 7) / 8 * 8 + 8;
  return rows * (stride + kBlock) * 4 + 2 * kBlock * 4 + 2 * kBlock * stride * 2 + 16;
}
__device__ __forceinline__ Shared carve(uint32_t rows, uint32_t stride) {
  Shared s;
  s.k = dynamic_shared<uint16_t>();
  s.v = s.k + kBlock * stride;
  s.q = reinterpret_cast<float*>(s.v + kBlock * stride);
  s.p = s.q + rows * stride;
  s.k_scale = s.p + rows * kBlock;
  s.v_scale = s.k_scale + kBlock;
  s.last = reinterpret_cast<unsigned*>(s.v_scale + kBlock);
  return s;
}

// A row's softmax so far: values are acc / sum.
template <int C>
struct State {
  float largest, sum, acc[C];
  __device__ __forceinline__ void clear() {
    largest = minus_infinity();
    sum = 0;
#pragma unroll
    for (int c = 0; c < C; ++c) acc[c] = 0;
  }
  // Joins a later segment.
  __device__ __forceinline__ void merge(const State& s) {
    const float now = s.largest > largest ? s.largest : largest;
    const float old = exp_approx(largest - now), fresh = exp_approx(s.largest - now);
    sum = fma_rn(s.sum, fresh, sum * old);
#pragma unroll
    for (int c = 0; c < C; ++c) acc[c] = fma_rn(s.acc[c], fresh, acc[c] * old);
    largest = now;
  }
};

// Keys or values of positions [begin, begin + kBlock), as f16; zeros past `last` and past head_dim. base: those of the
// page that holds them, run: of the head in it.
__device__ __forceinline__ void stage(const Cache& c, const uint8_t* base, uint32_t run, uint32_t begin, uint32_t last,
                                      uint32_t stride, uint16_t* to) {
  const uint32_t d = c.head_dim, pieces = (d + 7) / 8;
  for (uint32_t i = threadIdx.x; i < kBlock * pieces; i += kWarps * kWarp) {
    const uint32_t j = i / pieces, column = i % pieces * 8, position = begin + j;
    const size_t from = size_t{run + position % kSegment} * d + column;
    uint4 out = {0, 0, 0, 0};
    if (position <= last) {
      if (c.bits == 16 && d % 8 == 0) {
        out = *reinterpret_cast<const uint4*>(reinterpret_cast<const uint16_t*>(base) + from);
      } else {
        uint32_t words[4] = {};
#pragma unroll
        for (uint32_t e = 0; e < 8; ++e) {
          if (column + e >= d) break;
          const uint16_t h = c.bits == 16 ? reinterpret_cast<const uint16_t*>(base)[from + e]
                                          : float_to_half(static_cast<float>(static_cast<int8_t>(base[from + e])));
          words[e / 2] |= static_cast<uint32_t>(h) << (e % 2 * 16);
        }
        out = {words[0], words[1], words[2], words[3]};
      }
    }
    *reinterpret_cast<uint4*>(to + j * stride + column) = out;
  }
}

__device__ __forceinline__ float low_half(uint32_t w) { return half_to_float(static_cast<uint16_t>(w & 0xffff)); }
__device__ __forceinline__ float high_half(uint32_t w) { return half_to_float(static_cast<uint16_t>(w >> 16)); }

// q·k of this lane's position for the warp's rows, in four partial sums.
template <int ROWS>
__device__ __forceinline__ void dots(const Shared& s, uint32_t stride, uint32_t d, uint32_t rows, float* out) {
  const uint32_t warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  float sum[ROWS][4] = {};
  for (uint32_t i = 0; i < d; i += 8) {
    const uint4 k = *reinterpret_cast<const uint4*>(s.k + lane * stride + i);
    const float key[8] = {low_half(k.x), high_half(k.x), low_half(k.y), high_half(k.y),
                          low_half(k.z), high_half(k.z), low_half(k.w), high_half(k.w)};
#pragma unroll
    for (int r = 0; r < ROWS; ++r) {
      if (warp + r * kWarps >= rows) break;
      const float* q = s.q + (warp + r * kWarps) * stride + i;
      const float4 a = *reinterpret_cast<const float4*>(q), b = *reinterpret_cast<const float4*>(q + 4);
      sum[r][0] = fma_rn(b.x, key[4], fma_rn(a.x, key[0], sum[r][0]));
      sum[r][1] = fma_rn(b.y, key[5], fma_rn(a.y, key[1], sum[r][1]));
      sum[r][2] = fma_rn(b.z, key[6], fma_rn(a.z, key[2], sum[r][2]));
      sum[r][3] = fma_rn(b.w, key[7], fma_rn(a.w, key[3], sum[r][3]));
    }
  }
#pragma unroll
  for (int r = 0; r < ROWS; ++r) out[r] = (sum[r][0] + sum[r][1]) + (sum[r][2] + sum[r][3]);
}

// This lane's C columns of a staged value.
template <int C>
__device__ __forceinline__ void load_columns(const uint16_t* v, float* out) {
  if constexpr (C == 2) {
    const uint32_t w = *reinterpret_cast<const uint32_t*>(v);
    out[0] = low_half(w);
    out[1] = high_half(w);
  } else if constexpr (C == 4) {
    const uint2 w = *reinterpret_cast<const uint2*>(v);
    out[0] = low_half(w.x);
    out[1] = high_half(w.x);
    out[2] = low_half(w.y);
    out[3] = high_half(w.y);
  } else {
#pragma unroll
    for (int i = 0; i < C; i += 8) {
      const uint4 w = *reinterpret_cast<const uint4*>(v + i);
      const uint32_t words[4] = {w.x, w.y, w.z, w.w};
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        out[i + 2 * j] = low_half(words[j]);
        out[i + 2 * j + 1] = high_half(words[j]);
      }
    }
  }
}

struct Range {
  uint32_t first, last;  // positions a row sees
};

// C columns a lane, C · 32 ≥ head_dim; ROWS rows a warp.
template <int C, int ROWS>
__global__ void __launch_bounds__(kWarps* kWarp, C > 8 ? 2 : 4) attend_kernel(const Attend a, bool split) {
  constexpr uint32_t kRows = kWarps * ROWS;
  if (blockIdx.z == segments_of(a.cache.positions)) {
    return prefetch(a.prefetch, blockIdx.y * gridDim.x + blockIdx.x, gridDim.x * gridDim.y);
  }
  const uint32_t d = a.cache.head_dim, stride = row_stride(d), group = a.n_heads / a.n_kv_heads;
  const uint32_t warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp, kv = blockIdx.y;
  const uint32_t first_row = blockIdx.x * kRows, all_rows = a.n * group;
  const uint32_t rows = all_rows - first_row < kRows ? all_rows - first_row : kRows;
  const uint32_t start = a.step->position;
  const auto range_of = [&](uint32_t row) {
    const uint32_t last = start + row / group;
    return Range{a.window != 0 && last >= a.window ? last - a.window + 1 : 0, last};
  };
  const uint32_t from = range_of(first_row).first, to = range_of(first_row + rows - 1).last;
  uint32_t segment = from / kSegment, segment_end = to / kSegment + 1;
  const uint32_t parts = segment_end - segment, first_segment = segment;
  if (split) {
    if (blockIdx.z < segment || blockIdx.z >= segment_end) return;
    segment = blockIdx.z;
    segment_end = segment + 1;
  }
  const Shared s = carve(kRows, stride);
  const auto q_of = [&](uint32_t row) {  // offset of a row's head in q and out
    return size_t{row / group} * a.n_heads * d + size_t{kv * group + row % group} * d;
  };
  for (uint32_t i = threadIdx.x; i < rows * stride; i += kWarps * kWarp) {
    const uint32_t column = i % stride;
    s.q[i] = column < d ? a.q[q_of(first_row + i / stride) + column] : 0.0f;
  }
  const bool holds = lane * C < d;  // this lane has columns
  const uint32_t run = kv * kSegment;
  State<C> total[ROWS], here[ROWS];
#pragma unroll
  for (int r = 0; r < ROWS; ++r) total[r].clear();

  for (; segment < segment_end; ++segment) {
#pragma unroll
    for (int r = 0; r < ROWS; ++r) here[r].clear();
    const uint32_t begin = segment * kSegment > from ? segment * kSegment : from;
    const uint32_t end = (segment + 1) * kSegment < to + 1 ? (segment + 1) * kSegment : to + 1;
    const uint8_t* page = in_global(a.cache.pages[segment]);
    for (uint32_t block = begin / kBlock * kBlock; block < end; block += kBlock) {
      __syncthreads();
      stage(a.cache, page + a.cache.k, run, block, to, stride, s.k);
      stage(a.cache, page + a.cache.v, run, block, to, stride, s.v);
      if (a.cache.bits != 16 && threadIdx.x < kBlock) {
        const bool valid = block + threadIdx.x <= to;
        const uint32_t at = run + block % kSegment + threadIdx.x;
        s.k_scale[threadIdx.x] = valid ? reinterpret_cast<const float*>(page + a.cache.k_scale)[at] : 0.0f;
        s.v_scale[threadIdx.x] = valid ? reinterpret_cast<const float*>(page + a.cache.v_scale)[at] : 0.0f;
      }
      __syncthreads();
      float score[ROWS];
      dots<ROWS>(s, stride, d, rows, score);
      // Positions [low, high) of the block for each row.
      uint32_t low[ROWS], high[ROWS], lowest = kBlock, highest = 0;
#pragma unroll
      for (int r = 0; r < ROWS; ++r) {
        low[r] = high[r] = 0;
        const uint32_t row = warp + r * kWarps;
        if (row >= rows) continue;
        const Range range = range_of(first_row + row);
        if (range.last < block || range.first >= block + kBlock) continue;
        low[r] = range.first > block ? range.first - block : 0;
        high[r] = range.last - block + 1 < kBlock ? range.last - block + 1 : kBlock;
        lowest = low[r] < lowest ? low[r] : lowest;
        highest = high[r] > highest ? high[r] : highest;
        const bool valid = lane >= low[r] && lane < high[r];
        float x = score[r] * a.scale;
        if (a.cache.bits != 16) x = score[r] * s.k_scale[lane] * a.scale;
        if (!valid) x = minus_infinity();
        const float most = warp_max(x), now = most > here[r].largest ? most : here[r].largest;
        const float p = valid ? exp_approx(x - now) : 0.0f;
        const float shrink = exp_approx(here[r].largest - now);
        here[r].sum = fma_rn(here[r].sum, shrink, warp_sum(p));
        here[r].largest = now;
#pragma unroll
        for (int c = 0; c < C; ++c) here[r].acc[c] *= shrink;
        s.p[row * kBlock + lane] = valid && a.cache.bits != 16 ? p * s.v_scale[lane] : p;
      }
      __syncwarp();
      for (uint32_t j = lowest; holds && j < highest; ++j) {
        float v[C];
        load_columns<C>(s.v + j * stride + lane * C, v);
#pragma unroll
        for (int r = 0; r < ROWS; ++r) {
          if (j < low[r] || j >= high[r]) continue;
          const float p = s.p[(warp + r * kWarps) * kBlock + j];
#pragma unroll
          for (int c = 0; c < C; ++c) here[r].acc[c] = fma_rn(p, v[c], here[r].acc[c]);
        }
      }
    }
#pragma unroll
    for (int r = 0; r < ROWS; ++r) {
      const uint32_t row = warp + r * kWarps;
      if (row >= rows) continue;
      const Range range = range_of(first_row + row);
      if (range.last / kSegment < segment || range.first / kSegment > segment) continue;
      if (!split) {
        total[r].merge(here[r]);
        continue;
      }
      float* out =
          a.partial + ((size_t{kv} * all_rows + first_row + row) * segments_of(a.cache.positions) + segment) * (d + 2);
      if (lane == 0) {
        out[0] = here[r].largest;
        out[1] = here[r].sum;
      }
#pragma unroll
      for (int c = 0; c < C; ++c) {
        if (lane * C + c < d) out[2 + lane * C + c] = here[r].acc[c];
      }
    }
  }

  if (split) {
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) *s.last = atomicInc(a.counters + blockIdx.y * gridDim.x + blockIdx.x, parts - 1) == parts - 1;
    __syncthreads();
    if (*s.last == 0) return;
    __threadfence();
  }
#pragma unroll
  for (int r = 0; r < ROWS; ++r) {
    const uint32_t row = warp + r * kWarps;
    if (row >= rows) continue;
    if (split) {
      const Range range = range_of(first_row + row);
      for (uint32_t i = first_segment; i < first_segment + parts; ++i) {
        if (range.last / kSegment < i || range.first / kSegment > i) continue;
        const float* in =
            a.partial + ((size_t{kv} * all_rows + first_row + row) * segments_of(a.cache.positions) + i) * (d + 2);
        here[r].largest = load_fresh(in);
        here[r].sum = load_fresh(in + 1);
#pragma unroll
        for (int c = 0; c < C; ++c) here[r].acc[c] = lane * C + c < d ? load_fresh(in + 2 + lane * C + c) : 0.0f;
        total[r].merge(here[r]);
      }
    }
    float* out = a.out + q_of(first_row + row);
#pragma unroll
    for (int c = 0; c < C; ++c) {
      if (lane * C + c < d) out[lane * C + c] = total[r].acc[c] / total[r].sum;
    }
  }
}

template <int C, int ROWS>
void launch_attend(Stream stream, const Attend& a) {
  const uint32_t rows = a.n * (a.n_heads / a.n_kv_heads), tiles = (rows + kWarps * ROWS - 1) / (kWarps * ROWS);
  const bool split = a.n <= kDecodeTokens;
  const uint32_t segments = segments_of(a.cache.positions), more = a.prefetch.blocks != 0;
  launch(stream, "attend", attend_kernel<C, ROWS>, Dim(tiles, a.n_kv_heads, split ? segments + more : 1),
         Dim(kWarps * kWarp), shared_bytes(kWarps * ROWS, a.cache.head_dim), a, split);
}

}  // namespace

void attend(Stream stream, const Attend& a) {
  if (a.cache.head_dim <= 64) {
    launch_attend<2, 4>(stream, a);
  } else if (a.cache.head_dim <= 128) {
    launch_attend<4, 4>(stream, a);
  } else if (a.cache.head_dim <= 256) {
    launch_attend<8, 2>(stream, a);
  } else {
    launch_attend<32, 1>(stream, a);
  }
}

}  // namespace SVQ_CUDA_IMPL
}  // namespace svq::cuda
