// One plane of R row blocks times T tokens with sdot, for gemv (R = 2, T = 1) and gemm (R = 1, T ≤ 8).
//
// A tile is one 16-byte load; `and` with 3 << 2p leaves row group p's codes times 4^p, except for the top crumb, which
// is shifted down instead (0xC0 would be negative). sdot by lane takes tile t's 4 activations out of a register of 16.
// The factors 4^p are divided out of the int32 sums at the end, exactly; bound: 48 · 128 · 65536 < 2^31 (1-bit: 64 ·
// 128 · 65536).
//
// More than 4 tokens take two passes over the tiles, two row groups each: 16 accumulators, 8 registers of activations,
// and one `and` for 8 sdots instead of 4.
#pragma once
#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

namespace svq::kernels {
namespace {

template <int Bits, int P>
inline int8x16_t crumb(uint8x16_t bytes) {
  if constexpr (Bits == 2 && P == 3) {
    return vreinterpretq_s8_u8(vshrq_n_u8(bytes, 6));
  } else {
    return vreinterpretq_s8_u8(vandq_u8(bytes, vdupq_n_u8((Bits == 2 ? 3 : 1) << 2 * P)));
  }
}

// Row groups First … First + Count − 1.
template <int Bits, int R, int T, int First, int Count>
struct DotTile {
  int32x4_t sum[R][T][Count];

  template <int Lane, int P>
  inline void multiply(int r, uint8x16_t bytes, const int8x16_t* z) {
    const int8x16_t codes = crumb<Bits, First + P>(bytes);
    for (int t = 0; t < T; ++t) sum[r][t][P] = vdotq_laneq_s32(sum[r][t][P], codes, z[t], Lane);
    if constexpr (P + 1 < Count) multiply<Lane, P + 1>(r, bytes, z);
  }
  // Tile at w for the activations in lane Lane; Half: column half of a 1-bit tile.
  template <int Lane, int Half>
  inline void step(const uint8_t* w, size_t stride, const int8x16_t* z) {
    for (int r = 0; r < R; ++r) {
      uint8x16_t bytes = vld1q_u8(w + r * stride);
      if constexpr (Half) bytes = vshrq_n_u8(bytes, 1);
      multiply<Lane, 0>(r, bytes, z);
    }
  }
};

template <int Bits, int R, int T, int First, int Count>
void dot_groups(const uint8_t* w, size_t stride, const int8_t* z, size_t padded, int32_t weight, bool add, int32_t* acc,
                size_t acc_stride) {
  DotTile<Bits, R, T, First, Count> tile;
  for (int r = 0; r < R; ++r) {
    for (int t = 0; t < T; ++t) {
      for (int p = 0; p < Count; ++p) tile.sum[r][t][p] = vdupq_n_s32(0);
    }
  }
  const uint8_t* next = w + R * stride;  // the row blocks that follow
  for (size_t k = 0; k < padded; k += 16) {
    int8x16_t zs[T];
    for (int t = 0; t < T; ++t) zs[t] = vld1q_s8(z + k * T + 16 * t);
    if constexpr (Bits == 2) {
      const uint8_t* at = w + 4 * k;
      if (First == 0) {
        for (int r = 0; r < R; ++r) __builtin_prefetch(next + r * stride + 4 * k);
      }
      tile.template step<0, 0>(at, stride, zs);
      tile.template step<1, 0>(at + 16, stride, zs);
      tile.template step<2, 0>(at + 32, stride, zs);
      tile.template step<3, 0>(at + 48, stride, zs);
    } else {
      const uint8_t* at = w + 2 * k;
      if (First == 0 && k % 32 == 0) {
        for (int r = 0; r < R; ++r) __builtin_prefetch(next + r * stride + 2 * k);
      }
      tile.template step<0, 0>(at, stride, zs);
      tile.template step<1, 1>(at, stride, zs);
      tile.template step<2, 0>(at + 16, stride, zs);
      tile.template step<3, 1>(at + 16, stride, zs);
    }
  }
  const int down[4] = {0, -2, -4, Bits == 2 ? 0 : -6};
  for (int r = 0; r < R; ++r) {
    for (int t = 0; t < T; ++t) {
      for (int p = 0; p < Count; ++p) {
        int32_t* out = acc + t * acc_stride + 16 * r + 4 * (First + p);
        int32x4_t rows = vmulq_n_s32(vshlq_s32(tile.sum[r][t][p], vdupq_n_s32(down[First + p])), weight);
        if (add) rows = vaddq_s32(rows, vld1q_s32(out));
        vst1q_s32(out, rows);
      }
    }
  }
}

// z: [padded / 16][T][16]. acc: row block r, token t at acc + t · acc_stride + 16 r.
template <int Bits, int R, int T>
void dot_plane(const uint8_t* w, size_t stride, const int8_t* z, size_t padded, int32_t weight, bool add, int32_t* acc,
               size_t acc_stride) {
  if constexpr (R * T <= 4) {
    dot_groups<Bits, R, T, 0, 4>(w, stride, z, padded, weight, add, acc, acc_stride);
  } else {
    dot_groups<Bits, R, T, 0, 2>(w, stride, z, padded, weight, add, acc, acc_stride);
    dot_groups<Bits, R, T, 2, 2>(w, stride, z, padded, weight, add, acc, acc_stride);
  }
}

}  // namespace
}  // namespace svq::kernels
