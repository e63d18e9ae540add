// The 256-element "K" blocks. Bytes of a block, in order:
//   Q2_K  16 scales (low nibble: scale, high: minimum, of 16 elements each), 64 qs, d f16, dmin f16
//   Q3_K  32 hmask, 64 qs, 12 scales (16 × 6 bits), d f16
//   Q4_K  d f16, dmin f16, 12 scales (8 × 6-bit scale and 6-bit minimum, of 32 elements each), 128 qs
//   Q5_K  d f16, dmin f16, 12 scales as in Q4_K, 32 qh, 128 qs
//   Q6_K  128 ql, 64 qh, 16 int8 scales, d f16
// 2-bit fields: byte j of a 32-byte half holds elements j, j + 32, j + 64, j + 96 of its 128. 4-bit fields: low nibbles
// of 32 bytes, then their high nibbles.
#include "converter/sources/dequantize_blocks.h"

namespace svq::convert::blocks {
namespace {

// The packing shared by Q4_K and Q5_K: bytes 0-3 and 4-7 carry scales and minima 0-3 in six bits; scales and minima 4-7
// have their low four bits in the nibbles of bytes 8-11 and their top two in the top bits of bytes 0-3 and 4-7.
void unpack_scales(const uint8_t* packed, uint8_t scale[8], uint8_t minimum[8]) {
  for (int j = 0; j < 4; ++j) {
    scale[j] = packed[j] & 63;
    minimum[j] = packed[4 + j] & 63;
    scale[4 + j] = static_cast<uint8_t>((packed[8 + j] & 15) | (packed[j] >> 6 << 4));
    minimum[4 + j] = static_cast<uint8_t>((packed[8 + j] >> 4) | (packed[4 + j] >> 6 << 4));
  }
}

}  // namespace

void q2_k(const uint8_t* in, uint64_t count, float* out) {
  for (uint64_t b = 0; b < count; ++b, in += 84) {
    const float d = load_half(in + 80), dmin = load_half(in + 82);
    const uint8_t* scales = in;
    for (int half = 0; half < 2; ++half) {
      const uint8_t* qs = in + 16 + 32 * half;
      for (int shift = 0; shift < 8; shift += 2) {
        for (int part = 0; part < 2; ++part, ++scales, qs += 16, out += 16) {
          const float scale = d * static_cast<float>(*scales & 15), minimum = dmin * static_cast<float>(*scales >> 4);
          for (int j = 0; j < 16; ++j) out[j] = scale * static_cast<float>(qs[j] >> shift & 3) - minimum;
        }
        qs -= 32;
      }
    }
  }
}

void q3_k(const uint8_t* in, uint64_t count, float* out) {
  for (uint64_t b = 0; b < count; ++b, in += 110) {
    const uint8_t* packed = in + 96;
    const float d = load_half(in + 108);
    // Scale i: low four bits in nibble i / 8 of byte i % 8; top two in bits 2·(i / 4) of byte 8 + i % 4; offset 32.
    float scales[16];
    for (int i = 0; i < 16; ++i) {
      const int low = packed[i % 8] >> (4 * (i / 8)) & 15, high = packed[8 + i % 4] >> (2 * (i / 4)) & 3;
      scales[i] = d * static_cast<float>((low | high << 4) - 32);
    }
    for (int group = 0; group < 8; ++group) {  // 32 elements each
      const uint8_t* qs = in + 32 + 32 * (group / 4);
      const int shift = 2 * (group % 4);
      for (int part = 0; part < 2; ++part, out += 16) {
        const uint8_t* low = qs + 16 * part;
        const uint8_t* high = in + 16 * part;
        const float scale = scales[2 * group + part];
        // A set bit of hmask means that nothing is subtracted.
        for (int j = 0; j < 16; ++j) {
          out[j] = scale * static_cast<float>((low[j] >> shift & 3) - ((high[j] >> group & 1) ^ 1) * 4);
        }
      }
    }
  }
}

void q4_k(const uint8_t* in, uint64_t count, float* out) {
  for (uint64_t b = 0; b < count; ++b, in += 144) {
    const float d = load_half(in), dmin = load_half(in + 2);
    uint8_t scale[8], minimum[8];
    unpack_scales(in + 4, scale, minimum);
    const uint8_t* qs = in + 16;
    for (int group = 0; group < 8; group += 2, qs += 32, out += 64) {
      const float s0 = d * static_cast<float>(scale[group]), m0 = dmin * static_cast<float>(minimum[group]);
      const float s1 = d * static_cast<float>(scale[group + 1]), m1 = dmin * static_cast<float>(minimum[group + 1]);
      for (int j = 0; j < 32; ++j) out[j] = s0 * static_cast<float>(qs[j] & 15) - m0;
      for (int j = 0; j < 32; ++j) out[32 + j] = s1 * static_cast<float>(qs[j] >> 4) - m1;
    }
  }
}

void q5_k(const uint8_t* in, uint64_t count, float* out) {
  for (uint64_t b = 0; b < count; ++b, in += 176) {
    const float d = load_half(in), dmin = load_half(in + 2);
    uint8_t scale[8], minimum[8];
    unpack_scales(in + 4, scale, minimum);
    const uint8_t* high = in + 16;
    const uint8_t* qs = in + 48;
    for (int group = 0; group < 8; group += 2, qs += 32, out += 64) {
      const float s0 = d * static_cast<float>(scale[group]), m0 = dmin * static_cast<float>(minimum[group]);
      const float s1 = d * static_cast<float>(scale[group + 1]), m1 = dmin * static_cast<float>(minimum[group + 1]);
      for (int j = 0; j < 32; ++j) {
        out[j] = s0 * static_cast<float>((qs[j] & 15) | (high[j] >> group & 1) << 4) - m0;
      }
      for (int j = 0; j < 32; ++j) {
        out[32 + j] = s1 * static_cast<float>((qs[j] >> 4) | (high[j] >> (group + 1) & 1) << 4) - m1;
      }
    }
  }
}

void q6_k(const uint8_t* in, uint64_t count, float* out) {
  for (uint64_t b = 0; b < count; ++b, in += 210) {
    const float d = load_half(in + 208);
    for (int group = 0; group < 8; ++group) {  // 32 elements each: low nibbles of 64 bytes, then their high nibbles
      const uint8_t* low = in + 64 * (group / 4) + 32 * (group % 2);
      const int low_shift = group % 4 < 2 ? 0 : 4;
      const uint8_t* high = in + 128 + 32 * (group / 4);
      const int high_shift = 2 * (group % 4);
      for (int part = 0; part < 2; ++part, low += 16, high += 16, out += 16) {
        const float scale = d * static_cast<float>(static_cast<int8_t>(in[192 + 2 * group + part]));
        for (int j = 0; j < 16; ++j) {
          out[j] = scale * static_cast<float>(((low[j] >> low_shift & 15) | (high[j] >> high_shift & 3) << 4) - 32);
        }
      }
    }
  }
}

}  // namespace svq::convert::blocks
