// One plane of R row blocks times T tokens with sdot, for gemv (R = 2, T = 1) and gemm (R = 1, T ≤ 4).
//
// A tile is one 16-byte load; `and` with 3 << 2p leaves row group p's codes times 4^p, except for the top crumb, which
// is shifted down instead (0xC0 would be negative). sdot by lane takes tile t's 4 activations out of a register of 16.
// The factors 4^p are divided out of the int32 sums at the end, exactly; bound: 48 · 128 · 65536 < 2^31 (1-bit: 64 ·
// 128 · 65536).
#pragma once
#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

namespace svq::kernels {
namespace {

template <int Bits, int R, int T>
struct DotTile {
  int32x4_t sum[R][T][4];

  // Tile at w for the activations in lane Lane; Half: column half of a 1-bit tile.
  template <int Lane, int Half>
  inline void step(const uint8_t* w, size_t stride, const int8x16_t* z) {
    for (int r = 0; r < R; ++r) {
      uint8x16_t bytes = vld1q_u8(w + r * stride);
      int8x16_t codes[4];
      if constexpr (Bits == 2) {
        codes[0] = vreinterpretq_s8_u8(vandq_u8(bytes, vdupq_n_u8(0x03)));
        codes[1] = vreinterpretq_s8_u8(vandq_u8(bytes, vdupq_n_u8(0x0c)));
        codes[2] = vreinterpretq_s8_u8(vandq_u8(bytes, vdupq_n_u8(0x30)));
        codes[3] = vreinterpretq_s8_u8(vshrq_n_u8(bytes, 6));
      } else {
        if constexpr (Half) bytes = vshrq_n_u8(bytes, 1);
        codes[0] = vreinterpretq_s8_u8(vandq_u8(bytes, vdupq_n_u8(0x01)));
        codes[1] = vreinterpretq_s8_u8(vandq_u8(bytes, vdupq_n_u8(0x04)));
        codes[2] = vreinterpretq_s8_u8(vandq_u8(bytes, vdupq_n_u8(0x10)));
        codes[3] = vreinterpretq_s8_u8(vandq_u8(bytes, vdupq_n_u8(0x40)));
      }
      for (int t = 0; t < T; ++t) {
        for (int p = 0; p < 4; ++p) sum[r][t][p] = vdotq_laneq_s32(sum[r][t][p], codes[p], z[t], Lane);
      }
    }
  }
};

// z: token t at z + t · z_stride; acc: row block r, token t at acc + t · acc_stride + 16 r.
template <int Bits, int R, int T>
void dot_plane(const uint8_t* w, size_t stride, const int8_t* z, size_t z_stride, size_t padded, int32_t weight,
               bool add, int32_t* acc, size_t acc_stride) {
  DotTile<Bits, R, T> tile;
  for (int r = 0; r < R; ++r) {
    for (int t = 0; t < T; ++t) {
      for (int p = 0; p < 4; ++p) tile.sum[r][t][p] = vdupq_n_s32(0);
    }
  }
  const uint8_t* next = w + R * stride;  // the row blocks that follow
  for (size_t k = 0; k < padded; k += 16) {
    int8x16_t zs[T];
    for (int t = 0; t < T; ++t) zs[t] = vld1q_s8(z + t * z_stride + k);
    if constexpr (Bits == 2) {
      const uint8_t* at = w + 4 * k;
      for (int r = 0; r < R; ++r) __builtin_prefetch(next + r * stride + 4 * k);
      tile.template step<0, 0>(at, stride, zs);
      tile.template step<1, 0>(at + 16, stride, zs);
      tile.template step<2, 0>(at + 32, stride, zs);
      tile.template step<3, 0>(at + 48, stride, zs);
    } else {
      const uint8_t* at = w + 2 * k;
      if (k % 32 == 0) {
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
      for (int p = 0; p < 4; ++p) {
        int32_t* out = acc + t * acc_stride + 16 * r + 4 * p;
        int32x4_t rows = vmulq_n_s32(vshlq_s32(tile.sum[r][t][p], vdupq_n_s32(down[p])), weight);
        if (add) rows = vaddq_s32(rows, vld1q_s32(out));
        vst1q_s32(out, rows);
      }
    }
  }
}

}  // namespace
}  // namespace svq::kernels
