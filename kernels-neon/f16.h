// binary16 ↔ binary32 in integer arithmetic. static: every translation unit has its own copy, so that code compiled for
// a wider instruction set is never shared with the baseline.
#pragma once
#include <cstdint>
#include <cstring>

namespace svq::kernels::soft {

static inline float half_to_float(uint16_t h) {
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000) << 16;
  uint32_t exponent = (h >> 10) & 0x1f;
  uint32_t mantissa = h & 0x3ff;
  uint32_t bits;
  if (exponent == 31) {  // infinity; a NaN becomes quiet and keeps its payload
    bits = sign | 0x7f800000 | (mantissa << 13) | (mantissa ? 0x00400000 : 0);
  } else if (exponent == 0 && mantissa == 0) {
    bits = sign;
  } else {
    if (exponent == 0) {  // subnormal: shift the leading one up to bit 10
      const int shift = __builtin_clz(mantissa) - 21;
      mantissa = (mantissa << shift) & 0x3ff;
      exponent = static_cast<uint32_t>(1 - shift);
    }
    bits = sign | ((exponent + 112) << 23) | (mantissa << 13);
  }
  float f;
  std::memcpy(&f, &bits, 4);
  return f;
}

// Round to nearest even; above 65504 + half a step gives infinity.
static inline uint16_t float_to_half(float f) {
  uint32_t bits;
  std::memcpy(&bits, &f, 4);
  const uint16_t sign = static_cast<uint16_t>((bits >> 16) & 0x8000);
  bits &= 0x7fffffff;
  if (bits > 0x7f800000) return static_cast<uint16_t>(sign | 0x7e00 | ((bits >> 13) & 0x1ff));
  if (bits >= 0x47800000) return sign | 0x7c00;            // 65536 and above
  if (bits < 0x38800000) {                                 // below 2^-14: subnormal, a multiple of 2^-24
    if (bits < 0x33000000) return sign;                    // below 2^-25
    const int shift = 126 - static_cast<int>(bits >> 23);  // 14 … 24
    const uint32_t mantissa = (bits & 0x7fffff) | 0x800000;
    const uint32_t half = 1u << (shift - 1);
    const uint32_t rest = mantissa & ((1u << shift) - 1);
    uint32_t value = mantissa >> shift;
    value += rest > half || (rest == half && (value & 1));
    return static_cast<uint16_t>(sign | value);
  }
  // A carry out of the mantissa moves the exponent, up to infinity, by itself.
  const uint32_t value = bits - 0x38000000 + 0xfff + ((bits >> 13) & 1);
  return static_cast<uint16_t>(sign | (value >> 13));
}

}  // namespace svq::kernels::soft
