// Plain float types and the 32-element blocks. Bytes of a block, in order (f16 = 2 bytes, little-endian):
//   Q4_0, IQ4_NL  d f16, 16 bytes qs          Q4_1  d f16, m f16, 16 bytes qs
//   Q5_0          d f16, qh u32, 16 bytes qs  Q5_1  d f16, m f16, qh u32, 16 bytes qs
//   Q8_0          d f16, 32 int8
// Byte j of qs holds element j in its low and element j + 16 in its high nibble; bit i of qh is the fifth bit of
// element i.
#include <algorithm>
#include <vector>

#include "converter/base/error.h"
#include "converter/sources/dequantize_blocks.h"
#include "converter/sources/source.h"

namespace svq::convert {
namespace blocks {
namespace {

void f32(const uint8_t* in, uint64_t count, float* out) { std::memcpy(out, in, count * sizeof(float)); }

void f16(const uint8_t* in, uint64_t count, float* out) {
  for (uint64_t i = 0; i < count; ++i) out[i] = half_to_float(load_u16(in + 2 * i));
}

void bf16(const uint8_t* in, uint64_t count, float* out) {
  for (uint64_t i = 0; i < count; ++i) {
    out[i] = std::bit_cast<float>(static_cast<uint32_t>(load_u16(in + 2 * i)) << 16);
  }
}

void f64(const uint8_t* in, uint64_t count, float* out) {
  for (uint64_t i = 0; i < count; ++i) {
    double value;
    std::memcpy(&value, in + 8 * i, sizeof value);
    out[i] = static_cast<float>(value);
  }
}

void crumbs(const uint8_t* in, uint64_t count, float* out) {
  for (uint64_t i = 0; i < count; ++i, out += 4) {
    for (int j = 0; j < 4; ++j) out[j] = static_cast<float>(in[i] >> (6 - 2 * j) & 3);
  }
}

void q4_0(const uint8_t* in, uint64_t count, float* out) {
  for (uint64_t b = 0; b < count; ++b, in += 18, out += 32) {
    const float d = load_half(in);
    for (int j = 0; j < 16; ++j) {
      out[j] = d * static_cast<float>((in[2 + j] & 15) - 8);
      out[j + 16] = d * static_cast<float>((in[2 + j] >> 4) - 8);
    }
  }
}

void q4_1(const uint8_t* in, uint64_t count, float* out) {
  for (uint64_t b = 0; b < count; ++b, in += 20, out += 32) {
    const float d = load_half(in), m = load_half(in + 2);
    for (int j = 0; j < 16; ++j) {
      out[j] = d * static_cast<float>(in[4 + j] & 15) + m;
      out[j + 16] = d * static_cast<float>(in[4 + j] >> 4) + m;
    }
  }
}

void q5_0(const uint8_t* in, uint64_t count, float* out) {
  for (uint64_t b = 0; b < count; ++b, in += 22, out += 32) {
    const float d = load_half(in);
    const uint32_t high = load_u32(in + 2);
    for (uint32_t j = 0; j < 16; ++j) {
      const int low = (in[6 + j] & 15) | static_cast<int>((high >> j & 1) << 4);
      const int top = (in[6 + j] >> 4) | static_cast<int>((high >> (j + 16) & 1) << 4);
      out[j] = d * static_cast<float>(low - 16);
      out[j + 16] = d * static_cast<float>(top - 16);
    }
  }
}

void q5_1(const uint8_t* in, uint64_t count, float* out) {
  for (uint64_t b = 0; b < count; ++b, in += 24, out += 32) {
    const float d = load_half(in), m = load_half(in + 2);
    const uint32_t high = load_u32(in + 4);
    for (uint32_t j = 0; j < 16; ++j) {
      const int low = (in[8 + j] & 15) | static_cast<int>((high >> j & 1) << 4);
      const int top = (in[8 + j] >> 4) | static_cast<int>((high >> (j + 16) & 1) << 4);
      out[j] = d * static_cast<float>(low) + m;
      out[j + 16] = d * static_cast<float>(top) + m;
    }
  }
}

void q8_0(const uint8_t* in, uint64_t count, float* out) {
  for (uint64_t b = 0; b < count; ++b, in += 34, out += 32) {
    const float d = load_half(in);
    for (int j = 0; j < 32; ++j) out[j] = static_cast<float>(static_cast<int8_t>(in[2 + j])) * d;
  }
}

// The 16 levels of the "NL" code (ggml's kvalues_iq4nl).
constexpr float kIq4NlLevels[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

void iq4_nl(const uint8_t* in, uint64_t count, float* out) {
  for (uint64_t b = 0; b < count; ++b, in += 18, out += 32) {
    const float d = load_half(in);
    for (int j = 0; j < 16; ++j) {
      out[j] = d * kIq4NlLevels[in[2 + j] & 15];
      out[j + 16] = d * kIq4NlLevels[in[2 + j] >> 4];
    }
  }
}

}  // namespace
}  // namespace blocks

void dequantize(const TensorView& tensor, uint64_t row_begin, uint64_t row_end, float* out) {
  const uint64_t columns = tensor.shape.empty() ? 1 : tensor.shape.back();
  uint64_t rows = 1;
  for (size_t i = 0; i + 1 < tensor.shape.size(); ++i) rows *= tensor.shape[i];
  if (row_begin > row_end || row_end > rows) throw Error(tensor.name + ": rows out of range");  // caller's bug
  const BlockSize block = block_size(tensor.type);
  const uint64_t blocks_per_row = columns / block.elements;
  const auto* in = reinterpret_cast<const uint8_t*>(tensor.data) + row_begin * blocks_per_row * block.bytes;
  const uint64_t count = (row_end - row_begin) * blocks_per_row;
  switch (tensor.type) {
    case WeightType::kF32:
      return blocks::f32(in, count, out);
    case WeightType::kF16:
      return blocks::f16(in, count, out);
    case WeightType::kBF16:
      return blocks::bf16(in, count, out);
    case WeightType::kF64:
      return blocks::f64(in, count, out);
    case WeightType::kQ4_0:
      return blocks::q4_0(in, count, out);
    case WeightType::kQ4_1:
      return blocks::q4_1(in, count, out);
    case WeightType::kQ5_0:
      return blocks::q5_0(in, count, out);
    case WeightType::kQ5_1:
      return blocks::q5_1(in, count, out);
    case WeightType::kQ8_0:
      return blocks::q8_0(in, count, out);
    case WeightType::kQ2_K:
      return blocks::q2_k(in, count, out);
    case WeightType::kQ3_K:
      return blocks::q3_k(in, count, out);
    case WeightType::kQ4_K:
      return blocks::q4_k(in, count, out);
    case WeightType::kQ5_K:
      return blocks::q5_k(in, count, out);
    case WeightType::kQ6_K:
      return blocks::q6_k(in, count, out);
    case WeightType::kIQ4_NL:
      return blocks::iq4_nl(in, count, out);
    case WeightType::kU8:
      std::copy_n(in, count, out);
      return;
    case WeightType::kCrumbs:
      return blocks::crumbs(in, count, out);
  }
}

}  // namespace svq::convert
