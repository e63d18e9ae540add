// Codes times one or two tokens by dp4a. A warp takes rows of 16 and walks over the columns, a lane one tile at a time.
//
// A word of a tile holds rows l, l + 4, l + 8, l + 12 as crumbs 0 … 3. The sums of the word under the masks 0x03, 0x0f,
// 0x3f and of the word itself are S0, S0 + 4 S1, S0 + 4 S1 + 16 S2, … : three masks serve four rows, and the sums come
// apart exactly at the end. Partial sums stay below 255 · 128 · 65536 < 2^31.
#include "kernels-cuda/linear/linear.cuh"
#include "kernels-cuda/table.cuh"

namespace svq::cuda {
namespace SVQ_CUDA_IMPL {
namespace {

constexpr uint32_t kWarps = 8, kUnroll = 4;

template <int T>
__device__ __forceinline__ void multiply_word(uint32_t w, const int* z, int (*acc)[4]) {
#pragma unroll
  for (int t = 0; t < T; ++t) {
    acc[t][0] = dp4a(w & 0x03030303u, z[t], acc[t][0]);
    acc[t][1] = dp4a(w & 0x0f0f0f0fu, z[t], acc[t][1]);
    acc[t][2] = dp4a(w & 0x3f3f3f3fu, z[t], acc[t][2]);
    acc[t][3] = dp4a(w, z[t], acc[t][3]);
  }
}

// acc[l][t][crumb] += one tile of 4 columns, z[t] its activations.
template <int T>
__device__ __forceinline__ void multiply_tile(const uint4& w, const int* z, int (*acc)[T][4]) {
  multiply_word<T>(w.x, z, acc[0]);
  multiply_word<T>(w.y, z, acc[1]);
  multiply_word<T>(w.z, z, acc[2]);
  multiply_word<T>(w.w, z, acc[3]);
}

__device__ __forceinline__ uint4 bits_of(const uint4& w, int shift) {
  return {(w.x >> shift) & 0x55555555u, (w.y >> shift) & 0x55555555u, (w.z >> shift) & 0x55555555u,
          (w.w >> shift) & 0x55555555u};
}

// Of a 1-bit plane: registers are short on sm_75 and sm_80.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 860
constexpr int kBitsUnroll = 1;
#else
constexpr int kBitsUnroll = 2;
#endif

// This lane's tiles of one row block: first, first + 32, … below `end`, of a 2-bit plane.
template <int T>
__device__ __forceinline__ void walk2(const uint8_t* tiles, uint32_t first, uint32_t end, const int* z,
                                      uint32_t z_stride, int (*acc)[T][4]) {
  constexpr uint32_t step = kWarp;  // known: offsets go into the load instructions
  const uint8_t* at = tiles + size_t{first} * 16;
  const int* za = z + first;
  const uint8_t* const stop = tiles + size_t{end} * 16;
  for (; at + (kUnroll - 1) * step * 16 < stop; at += kUnroll * step * 16, za += kUnroll * step) {
    uint4 w[kUnroll];
    int zs[kUnroll][T];
#pragma unroll
    for (uint32_t u = 0; u < kUnroll; ++u) {
      w[u] = load_streaming(at + u * step * 16);
#pragma unroll
      for (int t = 0; t < T; ++t) zs[u][t] = __ldg(za + u * step + t * z_stride);
    }
#pragma unroll
    for (uint32_t u = 0; u < kUnroll; ++u) multiply_tile<T>(w[u], zs[u], acc);
  }
#pragma unroll 1
  for (; at < stop; at += step * 16, za += step) {
    int zs[T];
#pragma unroll
    for (int t = 0; t < T; ++t) zs[t] = __ldg(za + t * z_stride);
    multiply_tile<T>(load_streaming(at), zs, acc);
  }
}

// The same for a 1-bit plane, whose tiles are 8 columns wide.
template <int T>
__device__ __forceinline__ void walk1(const uint8_t* tiles, uint32_t first, uint32_t end, const int* z,
                                      uint32_t z_stride, int (*acc)[T][4]) {
  const uint8_t* at = tiles + size_t{first} * 16;
  const uint8_t* const stop = tiles + size_t{end} * 16;
  const int* za = z + 2 * first;
#pragma unroll kBitsUnroll
  for (; at < stop; at += kWarp * 16, za += 2 * kWarp) {
    const uint4 w = load_streaming(at);
    int low[T], high[T];
#pragma unroll
    for (int t = 0; t < T; ++t) {
      low[t] = __ldg(za + t * z_stride);
      high[t] = __ldg(za + 1 + t * z_stride);
    }
    multiply_tile<T>(bits_of(w, 0), low, acc);
    multiply_tile<T>(bits_of(w, 1), high, acc);
  }
}

// 16 sums over the warp by halving: lane 2r + any ends with the sum of v[r].
template <int HALF>
__device__ __forceinline__ void halve(int* v) {
  const bool upper = threadIdx.x & (HALF * 2);
#pragma unroll
  for (int j = 0; j < HALF; ++j) {
    const int keep = upper ? v[j + HALF] : v[j], give = upper ? v[j] : v[j + HALF];
    v[j] = keep + __shfl_xor_sync(kFullMask, give, HALF * 2);
  }
}
__device__ __forceinline__ int reduce16(int* v) {
  halve<8>(v);
  halve<4>(v);
  halve<2>(v);
  halve<1>(v);
  return v[0] + __shfl_xor_sync(kFullMask, v[0], 1);
}

// T tokens; ONE: a single 2-bit plane. `parts` warps share a row block.
template <int T, bool ONE>
__global__ void __launch_bounds__(kWarps* kWarp, T == 1 ? 4 : 2) gemv_kernel(const PackedProduct p, uint32_t parts) {
  const uint32_t warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const uint32_t per_block = kWarps / parts, part = warp % parts;
  uint32_t block = blockIdx.x * per_block + warp / parts;
  const uint32_t member = find_member(p, &block, 1);
  const bool inside = member < p.count;
  const Packed& w = p.w[inside ? member : 0];
  const uint32_t columns = (w.columns + 63) / 64 * 64;
  const auto* z = reinterpret_cast<const int*>(p.codes);
  int total[T][16] = {};  // rows 4 p + l
  if (inside) {
    const uint32_t planes = ONE ? 1 : w.n_planes;
    for (uint32_t plane = 0; plane < planes; ++plane) {
      int acc[4][T][4] = {};
      // A part is a run of tiles, whole warps of them.
      const bool two = ONE || w.plane_bits[plane] == 2;
      const uint32_t n = columns / (two ? 4 : 8), run = (n + parts * kWarp - 1) / (parts * kWarp) * kWarp;
      const uint32_t first = part * run + lane, end = part * run + run < n ? part * run + run : n;
      const uint8_t* tiles = w.plane[plane] + size_t{block} * n * 16;
      if (two) {
        walk2<T>(tiles, first, end, z, columns / 4, acc);
      } else {
        walk1<T>(tiles, first, end, z, columns / 4, acc);
      }
#pragma unroll
      for (int t = 0; t < T; ++t) {
#pragma unroll
        for (int l = 0; l < 4; ++l) {
          const int* a = acc[l][t];
          total[t][l] += a[0] << (2 * plane);
          total[t][4 + l] += ((a[1] - a[0]) >> 2) << (2 * plane);
          total[t][8 + l] += ((a[2] - a[1]) >> 4) << (2 * plane);
          total[t][12 + l] += ((a[3] - a[2]) >> 6) << (2 * plane);
        }
      }
    }
  }
  int* sums = dynamic_shared<int>();  // (kWarps, T, 16)
#pragma unroll
  for (int t = 0; t < T; ++t) {
    const int sum = reduce16(total[t]);
    if (lane % 2 == 0) sums[(warp * T + t) * 16 + lane / 2] = sum;
  }
  __syncthreads();
  if (part != 0 || !inside || lane >= 16) return;
#pragma unroll
  for (int t = 0; t < T; ++t) {
    int sum = 0;
    for (uint32_t q = 0; q < parts; ++q) sum += sums[((warp + q) * T + t) * 16 + lane];
    p.acc[member][t * p.acc_stride[member] + block * 16 + lane] = sum;
  }
}

template <int T>
void launch_gemv(Stream stream, const PackedProduct& p, bool one, uint32_t grid, uint32_t parts) {
  const size_t shared = kWarps * T * 16 * sizeof(int);
  launch(stream, "gemv", one ? gemv_kernel<T, true> : gemv_kernel<T, false>, Dim(grid), Dim(kWarps * kWarp), shared, p,
         parts);
}

}  // namespace

void gemv(Stream stream, const PackedProduct& p) {
  const uint32_t blocks = count_blocks(p, 1);
  const uint32_t tiles = (p.w[0].columns + 63) / 64 * 16;
  // Enough warps to keep memory busy, but at least some tiles a lane.
  uint32_t parts = 1;
  while (parts < kWarps && blocks * parts < p.multiprocessors * 32 && tiles >= 2 * parts * kWarp * kUnroll) parts *= 2;
  bool one = true;
  for (uint32_t i = 0; i < p.count; ++i) one = one && p.w[i].n_planes == 1;
  const uint32_t grid = (blocks * parts + kWarps - 1) / kWarps;
  if (p.n == 1) {
    launch_gemv<1>(stream, p, one, grid, parts);
  } else {
    launch_gemv<2>(stream, p, one, grid, parts);
  }
}

}  // namespace SVQ_CUDA_IMPL
}  // namespace svq::cuda
