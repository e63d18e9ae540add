#include <cstring>

#include "kernels-neon/lookup/lookup.h"
#include "schema/packing.h"

namespace svq::kernels::scalar {
namespace {

// Codes of columns [k, k + n) of a row, n at most 8.
void codes_of(const Packed& w, uint32_t row, size_t k, uint32_t n, float* code) {
  const size_t padded = format::padded_columns(w.columns);
  const uint32_t block = row / 16, p = row % 16 / 4, l = row % 4;
  for (uint32_t c = 0; c < n; ++c) code[c] = 0;
  for (uint32_t i = 0; i < w.n_planes; ++i) {
    const bool two = w.plane_bits[i] == 2;
    const size_t tile_columns = two ? 4 : 8;
    const uint8_t* tiles = w.plane[i] + block * (padded / tile_columns) * 16;
    for (uint32_t c = 0; c < n; ++c) {
      const size_t at = (k + c) % tile_columns;
      const uint32_t byte = tiles[(k + c) / tile_columns * 16 + 4 * l + at % 4];
      const uint32_t value = two ? (byte >> (2 * p)) & 3 : (byte >> (2 * p + at / 4)) & 1;
      code[c] += static_cast<float>(static_cast<uint32_t>(w.plane_weight[i]) * value);
    }
  }
}

// out[k] += weight · the codes of one row in a plane; tiles: the row's four bytes of its block's first tile. Four codes
// at once, 16 bits each, which no sum leaves.
template <int Bits>
void add_plane(const uint8_t* tiles, uint32_t shift, uint32_t weight, size_t columns, uint16_t* out) {
  const auto four_codes = [&](size_t k) {
    uint32_t bytes;
    std::memcpy(&bytes, tiles + (Bits == 2 ? k / 4 : k / 8) * 16, 4);
    uint64_t codes = (bytes >> (shift + (Bits == 2 ? 0 : k / 4 % 2))) & (Bits == 2 ? 0x03030303 : 0x01010101);
    codes = (codes | codes << 16) & 0x0000ffff0000ffff;
    codes = (codes | codes << 8) & 0x00ff00ff00ff00ff;
    return codes * weight;
  };
  size_t k = 0;
  for (; k + 4 <= columns; k += 4) {
    uint64_t sum;
    std::memcpy(&sum, out + k, 8);
    sum += four_codes(k);
    std::memcpy(out + k, &sum, 8);
  }
  if (k == columns) return;
  for (uint64_t rest = four_codes(k); k < columns; ++k, rest >>= 16) out[k] += rest & 0xff;
}

}  // namespace

void decode_row(const Packed& w, const Affine& a, uint32_t row, float* out) {
  const uint32_t d = a.dim;
  float code[8];
  for (size_t k = 0; k < w.columns; k += d) {
    const size_t map = a.columns_per_map ? k / a.columns_per_map : 0;
    const float* matrix = a.a + map * d * d;  // [d, d]
    const float* offset = a.b + map * d;      // [d]
    codes_of(w, row, k, d, code);
    for (uint32_t i = 0; i < d; ++i) {
      float sum = offset[i];
      for (uint32_t j = 0; j < d; ++j) sum += matrix[i * d + j] * code[j];
      out[k + i] = sum;
    }
  }
}

void decode_block(const Packed& w, uint32_t block, uint16_t* out) {
  const size_t padded = format::padded_columns(w.columns);
  for (uint32_t r = 0; r < 16; ++r, out += w.columns) {
    for (size_t k = 0; k < w.columns; ++k) out[k] = 0;
    for (uint32_t i = 0; i < w.n_planes; ++i) {
      const uint8_t* tiles = w.plane[i] + block * (padded * 2 * w.plane_bits[i]) + 4 * (r % 4);
      const auto weight = static_cast<uint32_t>(w.plane_weight[i]);
      if (w.plane_bits[i] == 2) {
        add_plane<2>(tiles, 2 * (r / 4), weight, w.columns, out);
      } else {
        add_plane<1>(tiles, 2 * (r / 4), weight, w.columns, out);
      }
    }
  }
}

}  // namespace svq::kernels::scalar
