// bfloat16 as its bits, in plain C++ that compilers vectorise.
#pragma once
#include <bit>
#include <cstdint>

namespace svq::convert {

// To the nearest, ties to even.
inline __attribute__((always_inline)) uint16_t to_bf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

inline __attribute__((always_inline)) float from_bf16(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

// What a stored value stands for; as uint16_t it is bfloat16.
inline __attribute__((always_inline)) float to_float(float x) { return x; }
inline __attribute__((always_inline)) float to_float(uint16_t x) { return from_bf16(x); }

}  // namespace svq::convert
