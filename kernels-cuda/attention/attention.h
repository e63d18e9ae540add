// attend   out[t][h] = Σ_p softmax_p(scale · q·k_p) v_p over the cached positions of each token's window, up to itself.
//
// One kernel serves decode and prefill, and a row (a query head of a token) is computed by one warp in one order:
//   segments of kSegment positions, aligned to absolute positions; in a segment, online softmax over blocks of 32; the
//   segments' results are merged one after another from the first.
// Up to kDecodeTokens tokens, each segment is a block of its own (flash decoding) and the last block to end merges;
// with more, a block takes 16 rows that read the same keys and values and walks over all segments. The result is equal
// bit for bit. Sums are f32, exp as on the CPU: within 4e-6 · max|v| of exact attention over the cache's values. A NaN
// that takes part stays one; positions that do not take part are not read into a result.
#pragma once
#include "kernels-cuda/types.h"

namespace svq::cuda {

struct Attend {
  uint32_t n = 0, n_heads = 0, n_kv_heads = 0;
  const float* q = nullptr;  // (n, n_heads · head_dim)
  float* out = nullptr;      // the same
  Cache cache;
  const Step* step = nullptr;
  uint32_t window = 0;  // 0: all
  float scale = 0;
  float* partial = nullptr;      // attend_scratch floats
  uint32_t* counters = nullptr;  // (kDecodeTokens · n_heads) zero before and after
  Prefetch prefetch;             // with up to kDecodeTokens tokens
};

constexpr uint32_t segments_of(uint32_t positions) { return (positions + kSegment - 1) / kSegment; }
// Floats of scratch for a cache of `positions`.
constexpr uint64_t attend_scratch(uint32_t n_heads, uint32_t head_dim, uint32_t positions) {
  return uint64_t{kDecodeTokens} * n_heads * segments_of(positions) * (head_dim + 2);
}
using AttendFn = void(Stream stream, const Attend& a);

}  // namespace svq::cuda
