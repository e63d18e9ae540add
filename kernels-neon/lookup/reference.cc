#include <cstring>

#include "kernels-neon/lookup/lookup.h"
#include "schema/packing.h"

namespace svq::kernels::scalar {
namespace {

// Codes of columns k … k + 3 of a row, k a multiple of 4: 16 bits each, the first lowest.
uint64_t four_codes(const Packed& w, uint32_t row, size_t k) {
  const size_t padded = format::padded_columns(w.columns);
  const uint32_t block = row / 16, p = row % 16 / 4, l = row % 4;
  uint64_t sum = 0;
  for (uint32_t i = 0; i < w.n_planes; ++i) {
    const bool two = w.plane_bits[i] == 2;
    const size_t tile = two ? k / 4 : k / 8;
    uint32_t bytes;
    std::memcpy(&bytes, w.plane[i] + block * (padded * 2 * w.plane_bits[i]) + tile * 16 + 4 * l, 4);
    const uint32_t shift = 2 * p + (two ? 0 : k / 4 % 2);
    uint64_t codes = (bytes >> shift) & (two ? 0x03030303 : 0x01010101);
    codes = (codes | codes << 16) & 0x0000ffff0000ffff;
    codes = (codes | codes << 8) & 0x00ff00ff00ff00ff;
    sum += codes * static_cast<uint32_t>(w.plane_weight[i]);  // below 256 each
  }
  return sum;
}

}  // namespace

void decode_row(const Packed& w, const Affine& a, uint32_t row, float* out) {
  const uint32_t d = a.dim;
  float code[8];
  for (size_t k = 0; k < w.columns; k += d) {
    const size_t map = a.columns_per_map ? k / a.columns_per_map : 0;
    const float* matrix = a.a + map * d * d;  // [d, d]
    const float* offset = a.b + map * d;      // [d]
    for (uint32_t i = 0; i < d; i += 4) {
      const uint64_t four = four_codes(w, row, k + i);
      for (uint32_t c = 0; c < 4; ++c) code[i + c] = static_cast<float>(four >> (16 * c) & 0xff);
    }
    for (uint32_t i = 0; i < d; ++i) {
      float sum = offset[i];
      for (uint32_t j = 0; j < d; ++j) sum += matrix[i * d + j] * code[j];
      out[k + i] = sum;
    }
  }
}

void decode_block(const Packed& w, uint32_t block, uint16_t* out) {
  for (uint32_t r = 0; r < 16; ++r, out += w.columns) {
    size_t k = 0;
    for (; k + 4 <= w.columns; k += 4) {
      const uint64_t four = four_codes(w, 16 * block + r, k);
      std::memcpy(out + k, &four, 8);
    }
    if (k == w.columns) continue;
    const uint64_t four = four_codes(w, 16 * block + r, k);
    std::memcpy(out + k, &four, (w.columns - k) * sizeof(uint16_t));
  }
}

}  // namespace svq::kernels::scalar
