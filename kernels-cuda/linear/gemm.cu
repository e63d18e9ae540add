// Codes times many tokens by mma m16n8k32 (u8 × s8). Four warps; each takes R row blocks of 16 rows, all of them the same
// NT · 8 tokens. 64 columns at a time, weights and activations, go through kStages buffers in shared memory.
//
// Which columns an mma sums over does not matter as long as both operands agree. Lane (g, t) therefore reads its 16
// bytes of activations, columns 16 t … 16 t + 15 of the 64, in one load, and of the weights the words g % 4 of the tiles
// 4 t … 4 t + 3. Rows g and g + 8 are crumbs g / 4 and g / 4 + 2 of those words: masked, not shifted, which scales a
// lane's sums by powers of four, divided out at the end (exactly: |sum| ≤ 192 · 128 · 65536 < 2^31).
#include "kernels-cuda/linear/linear.cuh"
#include "kernels-cuda/table.cuh"

namespace svq::cuda {
namespace SVQ_CUDA_IMPL {
namespace {

constexpr uint32_t kWarps = 4, kStages = 4, kColumns = 64;

// Where tile i of 16 lies in a stage: so that a warp's words are in different banks.
__device__ __forceinline__ uint32_t place_of(uint32_t tile) { return tile ^ (tile >> 3 & 1); }

// What one block does for one plane.
struct Job {
  const uint8_t* tiles;  // of the first row block
  uint32_t last_block;   // row blocks past it repeat it; their results are dropped
  uint32_t row_bytes;    // of a row block
  const int8_t* codes;   // of the first token
  uint32_t last_token;
  uint32_t columns;      // padded: bytes of a token
  uint32_t chunk, chunk_end;
};

template <int NT, int R, int BITS>
struct Stage {
  static constexpr uint32_t kPieces = 8 * BITS;  // of 16 bytes, in a row block's 64 columns
  static constexpr uint32_t kWeights = kWarps * R * kPieces * 16, kTokens = NT * 8 * kColumns;
};

template <int NT, int R, int BITS>
__device__ __forceinline__ void fetch(const Job& job, uint32_t chunk, uint8_t* stage) {
  using S = Stage<NT, R, BITS>;
  if (chunk < job.chunk_end) {
#pragma unroll
    for (uint32_t i = threadIdx.x; i < kWarps * R * S::kPieces; i += kWarps * kWarp) {
      const uint32_t block = i / S::kPieces, tile = i % S::kPieces;
      const uint32_t from = block < job.last_block ? block : job.last_block;
      const uint32_t to = BITS == 2 ? place_of(tile) : tile;
      copy16_async(stage + (block * S::kPieces + to) * 16,
                   job.tiles + size_t{from} * job.row_bytes + (chunk * S::kPieces + tile) * 16);
    }
#pragma unroll
    for (uint32_t i = threadIdx.x; i < NT * 8 * 4; i += kWarps * kWarp) {
      const uint32_t token = i / 4, from = token < job.last_token ? token : job.last_token;
      copy16_async(stage + S::kWeights + i * 16,
                   job.codes + size_t{from} * job.columns + chunk * kColumns + i % 4 * 16);
    }
  }
  copy_commit();
}

template <int NT, int R, int BITS>
__device__ __forceinline__ void multiply(const uint8_t* stage, int (*acc)[NT][4]) {
  using S = Stage<NT, R, BITS>;
  const uint32_t warp = threadIdx.x / kWarp, g = threadIdx.x % kWarp / 4, t = threadIdx.x % 4;
  const uint32_t low = 0x03030303u << (g / 4 * 2), high = low << 4;
  uint32_t w[R][4];
#pragma unroll
  for (int r = 0; r < R; ++r) {
    const auto* words = reinterpret_cast<const uint32_t*>(stage + (warp * R + r) * S::kPieces * 16) + g % 4;
    if constexpr (BITS == 2) {
#pragma unroll
      for (uint32_t j = 0; j < 4; ++j) w[r][j] = words[place_of(4 * t + j) * 4];
    } else {
#pragma unroll
      for (uint32_t j = 0; j < 2; ++j) {
        const uint32_t word = words[(2 * t + j) * 4];
        w[r][2 * j] = word & 0x55555555u;
        w[r][2 * j + 1] = word >> 1 & 0x55555555u;
      }
    }
  }
  const uint8_t* tokens = stage + S::kWeights;
  uint4 z[NT];
#pragma unroll
  for (int n = 0; n < NT; ++n) z[n] = *reinterpret_cast<const uint4*>(tokens + (n * 8 + g) * kColumns + t * 16);
#pragma unroll
  for (int step = 0; step < 2; ++step) {
#pragma unroll
    for (int r = 0; r < R; ++r) {
      const uint32_t first = w[r][2 * step], second = w[r][2 * step + 1];
      const uint32_t a[4] = {first & low, first & high, second & low, second & high};
#pragma unroll
      for (int n = 0; n < NT; ++n) {
        const uint32_t b[2] = {step == 0 ? z[n].x : z[n].z, step == 0 ? z[n].y : z[n].w};
        mma(acc[r][n], a, b);
      }
    }
  }
}

template <int NT, int R, int BITS>
__device__ __forceinline__ void run_plane(const Job& job, uint8_t* shared, int (*acc)[NT][4]) {
  using S = Stage<NT, R, BITS>;
  constexpr uint32_t kSize = S::kWeights + S::kTokens;
  __syncthreads();
#pragma unroll
  for (uint32_t s = 0; s + 1 < kStages; ++s) fetch<NT, R, BITS>(job, job.chunk + s, shared + s * kSize);
  uint32_t now = 0, next = kStages - 1;
  for (uint32_t chunk = job.chunk; chunk < job.chunk_end; ++chunk) {
    copy_wait<kStages - 2>();
    __syncthreads();
    fetch<NT, R, BITS>(job, chunk + kStages - 1, shared + next * kSize);
    multiply<NT, R, BITS>(shared + now * kSize, acc);
    now = now + 1 == kStages ? 0 : now + 1;
    next = next + 1 == kStages ? 0 : next + 1;
  }
  copy_wait<0>();
}

template <int NT, int R>
__global__ void __launch_bounds__(kWarps* kWarp) gemm_kernel(const PackedProduct p) {
  uint32_t unit = blockIdx.x;
  const uint32_t member = find_member(p, &unit, kWarps * R);
  const Packed& w = p.w[member];
  const uint32_t first_block = unit * kWarps * R, first_token = blockIdx.y * NT * 8;
  const uint32_t columns = (w.columns + 63) / 64 * 64, chunks = columns / kColumns;
  Job job;
  job.last_block = (w.rows + 15) / 16 - 1 - first_block;
  job.codes = p.codes + size_t{first_token} * columns;
  job.last_token = p.n - 1 - first_token;
  job.columns = columns;
  job.chunk = static_cast<uint32_t>(uint64_t{chunks} * blockIdx.z / gridDim.z);
  job.chunk_end = static_cast<uint32_t>(uint64_t{chunks} * (blockIdx.z + 1) / gridDim.z);
  const uint32_t warp = threadIdx.x / kWarp, g = threadIdx.x % kWarp / 4, t = threadIdx.x % 4;
  for (uint32_t plane = 0; plane < w.n_planes; ++plane) {
    int acc[R][NT][4] = {};
    job.row_bytes = columns * 2 * w.plane_bits[plane];
    job.tiles = w.plane[plane] + size_t{first_block} * job.row_bytes;
    if (w.plane_bits[plane] == 2) {
      run_plane<NT, R, 2>(job, dynamic_shared<uint8_t>(), acc);
    } else {
      run_plane<NT, R, 1>(job, dynamic_shared<uint8_t>(), acc);
    }
#pragma unroll
    for (int r = 0; r < R; ++r) {
      const uint32_t block = warp * R + r;
      if (block > job.last_block) continue;
#pragma unroll
      for (int n = 0; n < NT; ++n) {
#pragma unroll
        for (uint32_t i = 0; i < 4; ++i) {
          const uint32_t token = n * 8 + 2 * t + i % 2, row = (first_block + block) * 16 + g + i / 2 * 8;
          if (token > job.last_token) continue;
          const int v = (acc[r][n][i] >> (g / 4 * 2 + i / 2 * 4)) << (2 * plane);
          int* to = p.acc[member] + size_t{first_token + token} * p.acc_stride[member] + row;
          if (gridDim.z > 1) {
            atomicAdd(to, v);
          } else {
            *to = plane == 0 ? v : *to + v;
          }
        }
      }
    }
  }
}

__global__ void __launch_bounds__(256) zero_kernel(const PackedProduct p) {
  const uint32_t member = blockIdx.z, rows = (p.w[member].rows + 15) / 16 * 16;
  const uint32_t row = blockIdx.x * blockDim.x + threadIdx.x;
  if (row < rows) p.acc[member][size_t{blockIdx.y} * p.acc_stride[member] + row] = 0;
}

template <int NT, int R>
void launch_gemm(Stream stream, const PackedProduct& p) {
  const uint32_t units = count_blocks(p, kWarps * R), tiles = (p.n + NT * 8 - 1) / (NT * 8);
  const uint32_t chunks = (p.w[0].columns + 63) / 64;
  // Columns are shared between blocks where there are too few of them; integer sums do not mind.
  uint32_t splits = 1;
  while (splits < 8 && units * tiles * splits < 2 * p.multiprocessors && chunks >= 16 * splits) splits *= 2;
  if (splits > 1) {
    uint32_t rows = 0;
    for (uint32_t i = 0; i < p.count; ++i) rows = p.w[i].rows > rows ? p.w[i].rows : rows;
    launch(stream, "zero", zero_kernel, Dim((rows + 15 + 255) / 256, p.n, p.count), Dim(256), 0, p);
  }
  using S = Stage<NT, R, 2>;
  launch(stream, "gemm", gemm_kernel<NT, R>, Dim(units, tiles, splits), Dim(kWarps * kWarp),
         kStages * (S::kWeights + S::kTokens), p);
}

}  // namespace

void gemm(Stream stream, const PackedProduct& p) {
  if (p.n <= 8) {
    launch_gemm<1, 1>(stream, p);
  } else if (p.n <= 16) {
    launch_gemm<2, 2>(stream, p);
  } else if (p.n <= 32) {
    launch_gemm<4, 2>(stream, p);
  } else if (count_blocks(p, kWarps * 4) * ((p.n + 63) / 64) >= 2 * p.multiprocessors) {
    launch_gemm<8, 4>(stream, p);
  } else {
    launch_gemm<8, 2>(stream, p);
  }
}

void packed_product(Stream stream, const PackedProduct& p, ProductKernel kernel) {
  if (kernel == ProductKernel::kGemv || (kernel == ProductKernel::kAuto && p.n <= kGemvTokens)) {
    gemv(stream, p);
  } else {
    gemm(stream, p);
  }
}

}  // namespace SVQ_CUDA_IMPL
}  // namespace svq::cuda
