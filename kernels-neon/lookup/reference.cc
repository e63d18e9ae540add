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

}  // namespace svq::kernels::scalar
