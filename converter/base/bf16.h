// bfloat16 as its bits, in plain C++ that compilers vectorise.
#pragma once
#include <bit>
#include <cstdint>

#include "converter/base/clones.h"

namespace svq::convert {

// To the nearest, ties to even.
SVQ_INLINE uint16_t to_bf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

SVQ_INLINE float from_bf16(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

// What a stored value stands for; as uint16_t it is bfloat16.
SVQ_INLINE float to_float(float x) { return x; }
SVQ_INLINE float to_float(uint16_t x) { return from_bf16(x); }

}  // namespace svq::convert
