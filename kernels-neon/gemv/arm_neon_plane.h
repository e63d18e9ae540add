// One plane of one row block times T tokens without sdot (ARMv8.0), for gemv (T = 1) and gemm (T ≤ 2).
//
// smlal multiplies 8 codes by 8 activations into int16 sums. Row groups 0 and 1 are masked from w, 2 and 3 from w >> 4;
// groups 1 and 3 thus carry a factor 4, divided out of the int32 sum at the end, exactly. The int16 sums are widened
// every 64 columns, that is after 16 products: 16 · 12 · 128 = 24576 < 32768 (1-bit: 16 · 4 · 128).
#pragma once
#include <arm_neon.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace svq::kernels {
namespace {

inline int8x8_t repeat4(const int8_t* z) {
  int32_t four;
  std::memcpy(&four, z, 4);
  return vreinterpret_s8_s32(vdup_n_s32(four));
}

// z: token t at z + t · z_stride; acc: token t at acc + t · acc_stride.
template <int Bits, int T>
void mul_plane(const uint8_t* w, const int8_t* z, size_t z_stride, size_t padded, int32_t weight, bool add,
               int32_t* acc, size_t acc_stride) {
  const uint8x16_t low = vdupq_n_u8(Bits == 2 ? 3 : 1), high = vdupq_n_u8(Bits == 2 ? 12 : 4);
  int32x4_t sum[T][4][2];
  for (int t = 0; t < T; ++t) {
    for (int p = 0; p < 4; ++p) sum[t][p][0] = sum[t][p][1] = vdupq_n_s32(0);
  }
  for (size_t k = 0; k < padded; k += 64) {
    int16x8_t part[T][4][2];
    for (int t = 0; t < T; ++t) {
      for (int p = 0; p < 4; ++p) part[t][p][0] = part[t][p][1] = vdupq_n_s16(0);
    }
    for (size_t c = k; c < k + 64; c += 4) {
      // A 1-bit tile serves two steps: its low bits, then its high bits.
      uint8x16_t bytes = vld1q_u8(Bits == 2 ? w + 4 * c : w + c / 8 * 16);
      if (Bits == 1 && c / 4 % 2) bytes = vshrq_n_u8(bytes, 1);
      const uint8x16_t upper = vshrq_n_u8(bytes, 4);
      const int8x16_t codes[4] = {vreinterpretq_s8_u8(vandq_u8(bytes, low)), vreinterpretq_s8_u8(vandq_u8(bytes, high)),
                                  vreinterpretq_s8_u8(vandq_u8(upper, low)),
                                  vreinterpretq_s8_u8(vandq_u8(upper, high))};
      for (int t = 0; t < T; ++t) {
        const int8x8_t z4 = repeat4(z + t * z_stride + c);
        for (int p = 0; p < 4; ++p) {
          part[t][p][0] = vmlal_s8(part[t][p][0], vget_low_s8(codes[p]), z4);
          part[t][p][1] = vmlal_s8(part[t][p][1], vget_high_s8(codes[p]), z4);
        }
      }
    }
    for (int t = 0; t < T; ++t) {
      for (int p = 0; p < 4; ++p) {
        for (int i = 0; i < 2; ++i) sum[t][p][i] = vpadalq_s16(sum[t][p][i], part[t][p][i]);
      }
    }
  }
  for (int t = 0; t < T; ++t) {
    for (int p = 0; p < 4; ++p) {
      int32_t* out = acc + t * acc_stride + 4 * p;
      int32x4_t rows = vpaddq_s32(sum[t][p][0], sum[t][p][1]);
      rows = vmulq_n_s32(vshlq_s32(rows, vdupq_n_s32(p % 2 ? -2 : 0)), weight);
      if (add) rows = vaddq_s32(rows, vld1q_s32(out));
      vst1q_s32(out, rows);
    }
  }
}

}  // namespace
}  // namespace svq::kernels
