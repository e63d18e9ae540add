// f32 activations over a vector struct (simd/). A vector holds kLanes / 4 of the rows l of a tile (4 columns each);
// lane sums run over the tiles, then the 4 columns of a row are added.
#pragma once
#include "kernels-neon/gemv_f32/gemv_f32.h"

namespace svq::kernels {
namespace {

template <class V, int Bits>
void plane_f32(const uint8_t* tiles, const float* zf, size_t columns, float weight, bool add, float* acc) {
  using F = typename V::F;
  constexpr size_t kParts = 16 / V::kLanes;  // vectors in a tile
  constexpr int kMask = Bits == 2 ? 3 : 1;
  F sum[4][kParts];
  for (int p = 0; p < 4; ++p) {
    for (size_t i = 0; i < kParts; ++i) sum[p][i] = V::zero();
  }
  for (size_t k = 0; k < columns; k += 4) {
    float tail[4] = {};
    const float* z4 = zf + k;
    if (k + 4 > columns) {
      for (size_t c = 0; k + c < columns; ++c) tail[c] = zf[k + c];
      z4 = tail;
    }
    const F z = V::load_quad(z4);
    const uint8_t* tile = Bits == 2 ? tiles + k * 4 : tiles + k / 8 * 16;
    for (size_t i = 0; i < kParts; ++i) {
      const auto codes = V::load_codes(tile + i * V::kLanes);
      if (Bits == 2 || k / 4 % 2 == 0) {
        sum[0][i] = V::fma(V::template crumb<0>(codes, kMask), z, sum[0][i]);
        sum[1][i] = V::fma(V::template crumb<2>(codes, kMask), z, sum[1][i]);
        sum[2][i] = V::fma(V::template crumb<4>(codes, kMask), z, sum[2][i]);
        sum[3][i] = V::fma(V::template crumb<6>(codes, kMask), z, sum[3][i]);
      } else {
        sum[0][i] = V::fma(V::template crumb<1>(codes, kMask), z, sum[0][i]);
        sum[1][i] = V::fma(V::template crumb<3>(codes, kMask), z, sum[1][i]);
        sum[2][i] = V::fma(V::template crumb<5>(codes, kMask), z, sum[2][i]);
        sum[3][i] = V::fma(V::template crumb<7>(codes, kMask), z, sum[3][i]);
      }
    }
  }
#pragma GCC unroll 4  // sums that are indexed would be kept in memory, also in the loop above
  for (int p = 0; p < 4; ++p) {
    float rows[4];
#pragma GCC unroll 4
    for (size_t i = 0; i < kParts; ++i) V::sum_quads(sum[p][i], rows + i * V::kLanes / 4);
    for (int l = 0; l < 4; ++l) acc[4 * p + l] = (add ? acc[4 * p + l] : 0.0f) + weight * rows[l];
  }
}

template <class V>
void gemv_f32_body(const Packed& w, const float* zf, uint32_t block_begin, uint32_t block_end, float* acc) {
  const size_t padded = (static_cast<size_t>(w.columns) + 63) / 64 * 64;
  for (uint32_t block = block_begin; block < block_end; ++block, acc += 16) {
    for (uint32_t i = 0; i < w.n_planes; ++i) {
      const uint8_t* tiles = w.plane[i] + block * (padded * 2 * w.plane_bits[i]);
      const float weight = static_cast<float>(w.plane_weight[i]);
      if (w.plane_bits[i] == 2) {
        plane_f32<V, 2>(tiles, zf, w.columns, weight, i != 0, acc);
      } else {
        plane_f32<V, 1>(tiles, zf, w.columns, weight, i != 0, acc);
      }
    }
  }
}

}  // namespace
}  // namespace svq::kernels
