// Panels that interleave tokens, so that the inner loop reads one stream: tokens stand in groups of sizes that differ
// by one at most, a group's activations by units of `Unit` columns. Group g, T tokens from `begin`: [padded /
// Unit][T][Unit] at byte begin · padded.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels-neon/kernels.h"

namespace svq::kernels {
namespace {

struct TokenGroup {
  uint32_t begin, size;
};

inline uint32_t token_groups(uint32_t n_tokens, uint32_t most) { return (n_tokens + most - 1) / most; }
inline TokenGroup token_group(uint32_t n_tokens, uint32_t groups, uint32_t g) {
  const auto begin = static_cast<uint32_t>(static_cast<uint64_t>(g) * n_tokens / groups);
  return {begin, static_cast<uint32_t>(static_cast<uint64_t>(g + 1) * n_tokens / groups) - begin};
}

template <size_t Unit>
void pack_panel(const int8_t* z0, size_t z_stride, uint32_t n_tokens, uint32_t most, size_t padded, uint32_t k_begin,
                uint32_t k_end, void* panel) {
  const uint32_t groups = token_groups(n_tokens, most);
  for (uint32_t i = 0; i < groups; ++i) {
    const TokenGroup g = token_group(n_tokens, groups, i);
    int8_t* to = static_cast<int8_t*>(panel) + g.begin * padded + size_t{k_begin} * g.size;
    const int8_t* z = z0 + g.begin * z_stride;
    for (size_t k = k_begin; k < k_end; k += Unit) {
      for (uint32_t t = 0; t < g.size; ++t, to += Unit) std::memcpy(to, z + t * z_stride + k, Unit);
    }
  }
}

// The row blocks from `block` on that product() takes at a time: every group of up to `most` tokens, plane by plane.
// product(bits, tokens, first tile, bytes of a row block, the group's panel, padded, weight, add, acc of the group's
// first token).
template <class Product>
inline void gemm_block(const Packed& w, const void* panel, uint32_t n_tokens, uint32_t most, uint32_t block,
                       int32_t* acc, size_t acc_stride, const Product& product) {
  const size_t padded = (static_cast<size_t>(w.columns) + 63) / 64 * 64;
  const uint32_t groups = token_groups(n_tokens, most);
  for (uint32_t i = 0; i < groups; ++i) {
    const TokenGroup g = token_group(n_tokens, groups, i);
    const int8_t* z = static_cast<const int8_t*>(panel) + g.begin * padded;
    for (uint32_t p = 0; p < w.n_planes; ++p) {
      const size_t stride = padded * 2 * w.plane_bits[p];
      product(w.plane_bits[p], g.size, w.plane[p] + block * stride, stride, z, padded, w.plane_weight[p], p != 0,
              acc + g.begin * acc_stride);
    }
  }
}

}  // namespace
}  // namespace svq::kernels
