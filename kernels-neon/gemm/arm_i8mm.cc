// ARMv8.6 matrix multiply (i8mm). usmmla multiplies two rows by two tokens over 8 columns. Two neighbouring tiles give
// rows of 8 columns by zipping their dwords: zip1 holds rows 4p, 4p + 1, zip2 rows 4p + 2, 4p + 3, for all four p at
// once. `and` with 3 << 2p leaves row group p's codes times 4^p; the top group is what remains of the whole byte's sum
// once the other three are taken off, which usmmla allows as codes are unsigned. A 1-bit tile is zipped with itself
// shifted by one. Bounds as in gemv/: 255 · 128 · 65536 < 2^31; the factors 4^p are divided out at the end, exactly.
//
// Blocking: 1 row block × up to 4 pairs of tokens, in two passes over the tiles, one half of the rows each: 16
// accumulators, 4 registers of activations. Up to 2 pairs take one pass. Pairs are interleaved in the panel by 8
// columns, in groups as in panel.h. Row blocks are the outer loop: a block's tiles (4·K bytes) stay in L1 while the
// tokens pass.
#include <arm_neon.h>

#include <cstring>

#include "kernels-neon/gemm/gemm.h"
#include "kernels-neon/gemm/panel.h"

namespace svq::kernels::i8mm {
namespace {

constexpr uint32_t kPairs = 4;

// Row pairs First … First + Count − 1 of every row group. z: [padded / 8][Pairs][2 tokens][8 columns]. acc: token t at
// acc + t · acc_stride.
template <int Bits, int Pairs, int First, int Count>
void row_pairs(const uint8_t* w, const int8_t* z, size_t padded, uint32_t n_tokens, int32_t weight, bool add,
               int32_t* acc, size_t acc_stride) {
  constexpr int kMasks = Bits == 2 ? 3 : 4;
  int32x4_t sum[Pairs][4][Count];  // [row group]: row 0 by tokens 0, 1, row 1 by tokens 0, 1
  for (int j = 0; j < Pairs; ++j) {
    for (int p = 0; p < 4; ++p) {
      for (int i = 0; i < Count; ++i) sum[j][p][i] = vdupq_n_s32(0);
    }
  }
  for (size_t k = 0; k < padded; k += 8, w += 16 * Bits, z += 16 * Pairs) {
    int8x16_t zs[Pairs];
    for (int j = 0; j < Pairs; ++j) zs[j] = vld1q_s8(z + 16 * j);
    const uint8x16_t first = vld1q_u8(w), second = Bits == 2 ? vld1q_u8(w + 16) : vshrq_n_u8(first, 1);
    const uint32x4_t a = vreinterpretq_u32_u8(first), b = vreinterpretq_u32_u8(second);
    for (int i = 0; i < Count; ++i) {
      const uint8x16_t rows = vreinterpretq_u8_u32(First + i == 0 ? vzip1q_u32(a, b) : vzip2q_u32(a, b));
      for (int p = 0; p < 4; ++p) {
        const uint8x16_t codes =
            p < kMasks ? vandq_u8(rows, vdupq_n_u8(static_cast<uint8_t>((Bits == 2 ? 3 : 1) << 2 * p))) : rows;
        for (int j = 0; j < Pairs; ++j) sum[j][p][i] = vusmmlaq_s32(sum[j][p][i], codes, zs[j]);
      }
    }
  }
  for (int j = 0; j < Pairs; ++j) {
    for (int i = 0; i < Count; ++i) {
      if (kMasks == 3) {
        const int32x4_t lower = vaddq_s32(vaddq_s32(sum[j][0][i], sum[j][1][i]), sum[j][2][i]);
        sum[j][3][i] = vsubq_s32(sum[j][3][i], lower);
      }
      for (int p = 0; p < 4; ++p) {
        const int32x4_t rows = vmulq_n_s32(vshlq_s32(sum[j][p][i], vdupq_n_s32(-2 * p)), weight);
        const int32x4_t by_token = vuzp1q_s32(rows, vextq_s32(rows, rows, 1));  // rows of token 0, rows of token 1
        for (uint32_t t = 0; t < 2 && 2 * j + t < n_tokens; ++t) {
          int32_t* out = acc + (2 * j + t) * acc_stride + 4 * p + 2 * (First + i);
          int32x2_t result = t == 0 ? vget_low_s32(by_token) : vget_high_s32(by_token);
          if (add) result = vadd_s32(result, vld1_s32(out));
          vst1_s32(out, result);
        }
      }
    }
  }
}

template <int Bits, int Pairs>
void plane(const uint8_t* w, const int8_t* z, size_t padded, uint32_t n_tokens, int32_t weight, bool add, int32_t* acc,
           size_t acc_stride) {
  if constexpr (Pairs <= 2) {
    row_pairs<Bits, Pairs, 0, 2>(w, z, padded, n_tokens, weight, add, acc, acc_stride);
  } else {
    row_pairs<Bits, Pairs, 0, 1>(w, z, padded, n_tokens, weight, add, acc, acc_stride);
    row_pairs<Bits, Pairs, 1, 1>(w, z, padded, n_tokens, weight, add, acc, acc_stride);
  }
}

using Plane = void (*)(const uint8_t*, const int8_t*, size_t, uint32_t, int32_t, bool, int32_t*, size_t);
constexpr Plane kPlane[2][kPairs] = {{plane<1, 1>, plane<1, 2>, plane<1, 3>, plane<1, 4>},
                                     {plane<2, 1>, plane<2, 2>, plane<2, 3>, plane<2, 4>}};  // [bits − 1][pairs − 1]

}  // namespace

size_t gemm_panel(uint32_t columns, uint32_t n_tokens) {
  return (static_cast<size_t>(columns) + 63) / 64 * 64 * ((n_tokens + size_t{1}) / 2 * 2);
}

void gemm_pack(const int8_t* z0, size_t z_stride, uint32_t n_tokens, uint32_t columns, uint32_t k_begin, uint32_t k_end,
               void* panel) {
  const size_t padded = (static_cast<size_t>(columns) + 63) / 64 * 64;
  const uint32_t pairs = (n_tokens + 1) / 2, groups = token_groups(pairs, kPairs);
  for (uint32_t i = 0; i < groups; ++i) {
    const TokenGroup g = token_group(pairs, groups, i);
    int8_t* to = static_cast<int8_t*>(panel) + 2 * (g.begin * padded + size_t{k_begin} * g.size);
    for (size_t k = k_begin; k < k_end; k += 8) {
      for (uint32_t t = 2 * g.begin; t < 2 * (g.begin + g.size); ++t, to += 8) {
        if (t < n_tokens) {
          std::memcpy(to, z0 + t * z_stride + k, 8);
        } else {
          std::memset(to, 0, 8);
        }
      }
    }
  }
}

void gemm(const Packed& w, const void* panel, uint32_t n_tokens, uint32_t block_begin, uint32_t block_end, int32_t* acc,
          size_t acc_stride) {
  const size_t padded = (static_cast<size_t>(w.columns) + 63) / 64 * 64;
  const uint32_t pairs = (n_tokens + 1) / 2, groups = token_groups(pairs, kPairs);
  for (uint32_t block = block_begin; block < block_end; ++block, acc += 16) {
    for (uint32_t i = 0; i < groups; ++i) {
      const TokenGroup g = token_group(pairs, groups, i);
      const int8_t* z = static_cast<const int8_t*>(panel) + 2 * g.begin * padded;
      for (uint32_t p = 0; p < w.n_planes; ++p) {
        kPlane[w.plane_bits[p] - 1][g.size - 1](w.plane[p] + block * (padded * 2 * w.plane_bits[p]), z, padded,
                                                n_tokens - 2 * g.begin, w.plane_weight[p], p != 0,
                                                acc + 2 * g.begin * acc_stride, acc_stride);
      }
    }
  }
}

}  // namespace svq::kernels::i8mm
