// Codes times many tokens by mma m16n8k32 (u8 × s8). Four warps; each takes R row blocks of 16 rows, all of them the
// same NT · 8 tokens. SUB · 64 columns at a time, weights and activations, go through STAGES buffers in shared memory.
//
// Which columns an mma sums over does not matter as long as both operands agree. Lane (g, t) therefore reads its 16
// bytes of activations, columns 16 t … 16 t + 15 of the 64, in one load, and of the weights the words g % 4 of the
// tiles 4 t … 4 t + 3. Rows g and g + 8 are crumbs g / 4 and g / 4 + 2 of those words: masked, not shifted, which
// scales a lane's sums by powers of four, divided out at the end (exactly: |sum| ≤ 192 · 128 · 65536 < 2^31).
#include "kernels-cuda/linear/linear.cuh"
#include "kernels-cuda/table.cuh"

namespace svq::cuda {
namespace SVQ_CUDA_IMPL {
namespace {

constexpr uint32_t kWarps = 4, kThreads = kWarps * kWarp, kColumns = 64;

// Tiles 8 … 15 of a 64-column run of a 2-bit plane lie in pairs the other way round: so that the words that a warp
// reads at once are in different banks.
__device__ __forceinline__ uint32_t place_of(uint32_t tile) { return tile ^ (tile >> 3 & 1); }

// What one block does for one plane.
struct Job {
  const uint8_t* tiles;  // of the first row block
  uint32_t last_block;   // row blocks past it repeat it; their results are dropped
  uint32_t row_bytes;    // of a row block
  const int8_t* codes;   // of the first token
  uint32_t last_token;
  uint32_t columns;           // padded: bytes of a token
  uint32_t chunk, chunk_end;  // of 64 columns
};

// A stage: SUB runs of 64 columns; a run's weights, (kWarps · R row blocks, tiles), then its activations, (tokens, 64).
template <int NT, int R, int BITS>
struct Shape {
  static constexpr uint32_t kPieces = 8 * BITS;  // of 16 bytes, in a row block's 64 columns
  static constexpr uint32_t kWeights = kWarps * R * kPieces * 16, kTokens = NT * 8 * kColumns;
  static constexpr uint32_t kRun = kWeights + kTokens;
  // Pieces that a thread copies.
  static constexpr uint32_t kOwnWeights = (kWarps * R * kPieces + kThreads - 1) / kThreads;
  static constexpr uint32_t kOwnTokens = (NT * 8 * 4 + kThreads - 1) / kThreads;
};

// Where a thread's pieces of the next run come from, and where they go in a run.
template <int NT, int R, int BITS>
struct Source {
  using S = Shape<NT, R, BITS>;
  const uint8_t* weights[S::kOwnWeights];
  const int8_t* tokens[S::kOwnTokens];
  uint32_t weights_to[S::kOwnWeights];

  __device__ __forceinline__ explicit Source(const Job& job) {
#pragma unroll
    for (uint32_t j = 0; j < S::kOwnWeights; ++j) {
      const uint32_t i = threadIdx.x + j * kThreads, block = i / S::kPieces, tile = i % S::kPieces;
      const uint32_t from = block < job.last_block ? block : job.last_block;
      weights[j] = job.tiles + size_t{from} * job.row_bytes + (job.chunk * S::kPieces + tile) * 16;
      weights_to[j] = (block * S::kPieces + (BITS == 2 ? place_of(tile) : tile)) * 16;
    }
#pragma unroll
    for (uint32_t j = 0; j < S::kOwnTokens; ++j) {
      const uint32_t i = threadIdx.x + j * kThreads, token = i / 4;
      const uint32_t from = token < job.last_token ? token : job.last_token;
      tokens[j] = job.codes + size_t{from} * job.columns + job.chunk * kColumns + i % 4 * 16;
    }
  }
  template <int SUB>
  __device__ __forceinline__ void fetch(uint8_t* stage) {
#pragma unroll
    for (uint32_t j = 0; j < S::kOwnWeights; ++j) {
      if (kWarps * R * S::kPieces % kThreads == 0 || threadIdx.x + j * kThreads < kWarps * R * S::kPieces) {
#pragma unroll
        for (uint32_t s = 0; s < SUB; ++s)
          copy16_async(stage + s * S::kRun + weights_to[j], weights[j] + s * S::kPieces * 16);
      }
      weights[j] += SUB * S::kPieces * 16;
    }
#pragma unroll
    for (uint32_t j = 0; j < S::kOwnTokens; ++j) {
      if (NT * 8 * 4 % kThreads == 0 || threadIdx.x + j * kThreads < NT * 8 * 4) {
#pragma unroll
        for (uint32_t s = 0; s < SUB; ++s)
          copy16_async(stage + s * S::kRun + S::kWeights + (threadIdx.x + j * kThreads) * 16, tokens[j] + s * kColumns);
      }
      tokens[j] += SUB * kColumns;
    }
  }
};

// Where a lane reads in a run.
struct Lane {
  uint32_t even, odd;  // bytes of its word in tiles 4 t and 4 t + 1; in 4 t + 2 and 4 t + 3 it lies 32 bytes on
  uint32_t tokens;     // bytes of its columns of token g
  uint32_t low, high;  // masks of rows g and g + 8
};
template <int NT, int R, int BITS>
__device__ __forceinline__ Lane lane_of() {
  using S = Shape<NT, R, BITS>;
  const uint32_t warp = threadIdx.x / kWarp, g = threadIdx.x % kWarp / 4, t = threadIdx.x % 4;
  const uint32_t base = warp * R * S::kPieces * 16 + g % 4 * 4;
  Lane lane;
  lane.even = base + (BITS == 2 ? place_of(4 * t) : 2 * t) * 16;
  lane.odd = base + (BITS == 2 ? place_of(4 * t + 1) : 2 * t + 1) * 16;
  lane.tokens = S::kWeights + g * kColumns + t * 16;
  lane.low = 0x03030303u << (g / 4 * 2);
  lane.high = lane.low << 4;
  return lane;
}

template <int NT, int R, int BITS>
__device__ __forceinline__ void multiply(const uint8_t* run, const Lane& lane, int (*acc)[NT][4]) {
  using S = Shape<NT, R, BITS>;
  uint32_t w[R][4];
#pragma unroll
  for (int r = 0; r < R; ++r) {
    const uint8_t* at = run + r * S::kPieces * 16;
    w[r][0] = *reinterpret_cast<const uint32_t*>(at + lane.even);
    w[r][1] = *reinterpret_cast<const uint32_t*>(at + lane.odd);
    if constexpr (BITS == 2) {
      w[r][2] = *reinterpret_cast<const uint32_t*>(at + lane.even + 32);
      w[r][3] = *reinterpret_cast<const uint32_t*>(at + lane.odd + 32);
    } else {
      w[r][3] = w[r][1] >> 1 & 0x55555555u;
      w[r][2] = w[r][1] & 0x55555555u;
      w[r][1] = w[r][0] >> 1 & 0x55555555u;
      w[r][0] &= 0x55555555u;
    }
  }
#pragma unroll
  for (int n = 0; n < NT; ++n) {
    const uint4 z = *reinterpret_cast<const uint4*>(run + lane.tokens + n * 8 * kColumns);
    const uint32_t first[2] = {z.x, z.y}, second[2] = {z.z, z.w};
#pragma unroll
    for (int r = 0; r < R; ++r) {
      const uint32_t a[4] = {w[r][0] & lane.low, w[r][0] & lane.high, w[r][1] & lane.low, w[r][1] & lane.high};
      const uint32_t b[4] = {w[r][2] & lane.low, w[r][2] & lane.high, w[r][3] & lane.low, w[r][3] & lane.high};
      mma(acc[r][n], a, first);
      mma(acc[r][n], b, second);
    }
  }
}

template <int NT, int R, int SUB, int STAGES, int BITS>
__device__ __forceinline__ void run_plane(const Job& job, uint8_t* shared, int (*acc)[NT][4]) {
  constexpr uint32_t kRun = Shape<NT, R, BITS>::kRun, kStage = SUB * kRun;
  Source<NT, R, BITS> source(job);
  const Lane lane = lane_of<NT, R, BITS>();
  const uint32_t stages = (job.chunk_end - job.chunk) / SUB;
  uint32_t fetched = 0;
  const auto fetch_stage = [&](uint8_t* stage) {
    if (fetched < stages) source.template fetch<SUB>(stage);
    ++fetched;
    copy_commit();
  };
  __syncthreads();
#pragma unroll
  for (uint32_t s = 0; s + 1 < STAGES; ++s) fetch_stage(shared + s * kStage);
  uint8_t *now = shared, *next = shared + (STAGES - 1) * kStage, *const end = shared + STAGES * kStage;
  for (uint32_t i = 0; i < stages; ++i) {
    copy_wait<STAGES - 2>();
    __syncthreads();
    fetch_stage(next);
#pragma unroll
    for (uint32_t s = 0; s < SUB; ++s) multiply<NT, R, BITS>(now + s * kRun, lane, acc);
    now = now + kStage == end ? shared : now + kStage;
    next = next + kStage == end ? shared : next + kStage;
  }
  copy_wait<0>();
}

// SUB divides the number of 64-column chunks that a block walks over.
template <int NT, int R, int SUB, int STAGES>
__global__ void __launch_bounds__(kThreads) gemm_kernel(const PackedProduct p) {
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
  job.chunk = chunks / SUB * blockIdx.z / gridDim.z * SUB;
  job.chunk_end = chunks / SUB * (blockIdx.z + 1) / gridDim.z * SUB;
  const uint32_t warp = threadIdx.x / kWarp, g = threadIdx.x % kWarp / 4, t = threadIdx.x % 4;
  for (uint32_t plane = 0; plane < w.n_planes; ++plane) {
    int acc[R][NT][4] = {};
    job.row_bytes = columns * 2 * w.plane_bits[plane];
    job.tiles = w.plane[plane] + size_t{first_block} * job.row_bytes;
    if (w.plane_bits[plane] == 2) {
      run_plane<NT, R, SUB, STAGES, 2>(job, dynamic_shared<uint8_t>(), acc);
    } else {
      run_plane<NT, R, SUB, STAGES, 1>(job, dynamic_shared<uint8_t>(), acc);
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

// Shorter runs where the columns do not divide, or shared memory does not suffice.
template <int NT, int R, int SUB>
void launch_gemm(Stream stream, const PackedProduct& p) {
  // Long stages overlap with the next one's copies enough by themselves, and leave room for two blocks.
  constexpr int kStages = SUB == 4 ? 2 : 3;
  constexpr uint32_t kShared = kStages * SUB * Shape<NT, R, 2>::kRun;
  if constexpr (SUB > 1) {
    if ((p.w[0].columns + 63) / 64 % SUB != 0 || (SUB > 2 && kShared > p.max_shared)) {
      return launch_gemm<NT, R, SUB / 2>(stream, p);
    }
  }
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
  launch(stream, "gemm", gemm_kernel<NT, R, SUB, kStages>, Dim(units, tiles, splits), Dim(kThreads), kShared, p);
}

}  // namespace

void gemm(Stream stream, const PackedProduct& p) {
  if (p.n <= 8) {
    launch_gemm<1, 1, 1>(stream, p);
  } else if (p.n <= 16) {
    launch_gemm<2, 2, 1>(stream, p);
  } else if (p.n <= 32) {
    launch_gemm<4, 2, 1>(stream, p);
  } else if (p.n <= 64) {
    launch_gemm<8, 2, 4>(stream, p);
  } else {
    launch_gemm<16, 2, 4>(stream, p);
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
