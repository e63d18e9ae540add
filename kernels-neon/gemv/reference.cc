#include "kernels-neon/gemv/gemv.h"

#include "schema/packing.h"

namespace svq::kernels::scalar {

void gemv(const Packed& w, const int8_t* z, uint32_t block_begin, uint32_t block_end, int32_t* acc) {
  const size_t padded = format::padded_columns(w.columns);
  for (uint32_t block = block_begin; block < block_end; ++block, acc += 16) {
    for (int r = 0; r < 16; ++r) acc[r] = 0;
    for (uint32_t i = 0; i < w.n_planes; ++i) {
      const size_t tile_columns = w.plane_bits[i] == 2 ? 4 : 8;
      const uint8_t* tile = w.plane[i] + block * (padded / tile_columns) * 16;
      for (size_t column = 0; column < padded; column += tile_columns, tile += 16) {
        for (uint32_t r = 0; r < 16; ++r) {
          for (size_t c = 0; c < tile_columns; ++c) {
            const uint32_t byte = tile[4 * (r % 4) + c % 4];
            const int32_t code = tile_columns == 4 ? (byte >> (2 * (r / 4))) & 3 : (byte >> (2 * (r / 4) + c / 4)) & 1;
            acc[r] += w.plane_weight[i] * code * z[column + c];
          }
        }
      }
    }
  }
}

}  // namespace svq::kernels::scalar
