// One function per block type: `blocks` consecutive blocks at `in` to f32 at `out`. The arithmetic is f32 in the order
// that the formats' reference uses, so that results are equal to it bit for bit.
#pragma once
#include <bit>
#include <cstdint>
#include <cstring>

namespace svq::convert::blocks {

inline uint16_t load_u16(const uint8_t* p) {
  uint16_t value;
  std::memcpy(&value, p, sizeof value);
  return value;
}
inline uint32_t load_u32(const uint8_t* p) {
  uint32_t value;
  std::memcpy(&value, p, sizeof value);
  return value;
}

// IEEE binary16 to binary32, exact, NaN payloads kept; free of branches, so that loops over it vectorise.
inline float half_to_float(uint16_t half) {
  const uint32_t magnitude = half & 0x7FFFu;
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16;
  const uint32_t normal = (magnitude << 13) + (112u << 23);
  const uint32_t special = (magnitude << 13) | (255u << 23);  // infinity, NaN
  // A subnormal is magnitude · 2^-24, exact in f32.
  const uint32_t subnormal = std::bit_cast<uint32_t>(static_cast<float>(static_cast<int32_t>(magnitude)) * 0x1p-24f);
  const uint32_t bits = magnitude < 0x400u ? subnormal : magnitude >= 0x7C00u ? special : normal;
  return std::bit_cast<float>(bits | sign);
}
inline float load_half(const uint8_t* p) { return half_to_float(load_u16(p)); }

void q2_k(const uint8_t* in, uint64_t blocks, float* out);
void q3_k(const uint8_t* in, uint64_t blocks, float* out);
void q4_k(const uint8_t* in, uint64_t blocks, float* out);
void q5_k(const uint8_t* in, uint64_t blocks, float* out);
void q6_k(const uint8_t* in, uint64_t blocks, float* out);

}  // namespace svq::convert::blocks
