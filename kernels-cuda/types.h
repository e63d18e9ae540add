// What launchers take: views of device memory, in plain C++. Pointers are the device's unless said.
#pragma once
#include <cstddef>
#include <cstdint>

namespace svq::cuda {

using Stream = void*;  // cudaStream_t, or the emulation's

// Tokens that one decode step may hold: up to here attention is split over the context.
inline constexpr uint32_t kDecodeTokens = 4;
inline constexpr uint32_t kMaxGroup = 3;    // linears that read the same x
inline constexpr uint32_t kSegment = 256;   // positions of an attention segment, aligned to absolute positions
inline constexpr uint32_t kTop = 128;       // candidates that top_k returns
inline constexpr uint32_t kHeadTokens = 8;  // tokens whose logits are computed at once

// Rotation of n = block · factor values (schema/FORMAT.md). forward[j][i] = M[i][j] and inverse[j][i] = M[j][i], rows
// padded with zeros to a multiple of 4: four outputs' coefficients lie side by side.
struct Rotation {
  uint32_t kind = 0;  // 0: none, 1: blocks, 2: mixed
  uint32_t block = 1, factor = 1;
  const float* forward = nullptr;  // (factor, mix_stride(factor))
  const float* inverse = nullptr;
};
constexpr uint32_t mix_stride(uint32_t factor) { return (factor + 3) / 4 * 4; }

struct Affine {
  uint32_t dim = 4, columns_per_map = 0;
  const float* a = nullptr;  // (n_maps, dim, dim)
  const float* b = nullptr;  // (n_maps, dim)
};

// Codes of one linear; plane i counts 4^i.
struct Packed {
  uint32_t rows = 0, columns = 0, n_planes = 0;
  const uint8_t* plane[4] = {};
  uint8_t plane_bits[4] = {};
};

// One token's rounded activations: z · delta ≈ Aᵀu, beta = Σ B·u, lost = Σ (Aᵀu − z · delta).
struct Scale {
  float delta, beta, lost;
};

// Integer products waiting for their output transform, of one linear.
struct Product {
  uint32_t rows = 0;
  Rotation rotation;                // of rows values, applied inversely
  const uint16_t* scale = nullptr;  // f16 (rows)
  const float* bias = nullptr;      // f32 (rows)
  const int32_t* acc = nullptr;     // (n, acc_stride)
  uint32_t acc_stride = 0;
  const Scale* scales = nullptr;  // (n)
  float middle = 0;               // of the codes: what rounding took from the sum of z counts so much
};

// What changes from step to step, in device memory: a captured graph reads it.
struct Step {
  uint32_t position;
  uint32_t n;
};

// Keys and values of one layer. They lie in pages of kSegment positions that hold all layers, and that sessions may
// share. In a page, from its bytes k and v on: (n_kv_heads, kSegment, head_dim) f16, or int8 with scales (n_kv_heads,
// kSegment).
struct Cache {
  uint32_t bits = 16, positions = 0, head_dim = 0;
  uint8_t* const* pages = nullptr;  // (positions / kSegment, rounded up)
  uint64_t k = 0, v = 0, k_scale = 0, v_scale = 0;
};

// What the next product will read, to be brought to the L2 cache meanwhile: lines of 128 bytes. `blocks` more blocks
// than a kernel needs do it.
inline constexpr uint32_t kPrefetchRanges = 4, kLine = 128;
struct Prefetch {
  uint32_t blocks = 0;
  uint32_t lines[kPrefetchRanges] = {};
  const uint8_t* at[kPrefetchRanges] = {};
};

struct Candidate {
  float logit;
  int32_t id;
};

}  // namespace svq::cuda
