#include "kernels-neon/gemv_f32/gemv_f32.h"

#include "schema/packing.h"

namespace svq::kernels::scalar {

void gemv_f32(const Packed& w, const float* zf, uint32_t block_begin, uint32_t block_end, float* acc) {
  const size_t padded = format::padded_columns(w.columns);
  for (uint32_t block = block_begin; block < block_end; ++block, acc += 16) {
    for (uint32_t r = 0; r < 16; ++r) {
      float total = 0;
      for (uint32_t i = 0; i < w.n_planes; ++i) {
        const size_t tile_columns = w.plane_bits[i] == 2 ? 4 : 8;
        const uint8_t* tiles = w.plane[i] + block * (padded / tile_columns) * 16;
        float sum[4] = {};
        for (size_t k = 0; k < w.columns; ++k) {
          const size_t c = k % tile_columns;
          const uint32_t byte = tiles[k / tile_columns * 16 + 4 * (r % 4) + c % 4];
          const uint32_t code = tile_columns == 4 ? (byte >> (2 * (r / 4))) & 3 : (byte >> (2 * (r / 4) + c / 4)) & 1;
          sum[k % 4] += static_cast<float>(code) * zf[k];
        }
        total += static_cast<float>(w.plane_weight[i]) * ((sum[0] + sum[1]) + (sum[2] + sum[3]));
      }
      acc[r] = total;
    }
  }
}

}  // namespace svq::kernels::scalar
