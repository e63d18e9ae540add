#include "schema/packing.h"

#include <algorithm>
#include <cassert>
#include <cstring>

namespace svq::format {
namespace {

// Offset of the byte that holds (row, column) of a plane, and the position of its lowest bit there.
struct Place {
  uint64_t byte;
  uint32_t shift;
};

Place place(uint64_t row, uint64_t column, uint64_t columns_padded, uint32_t plane_bits) {
  const uint64_t block = row / kRowTile, p = row % kRowTile / 4, l = row % 4;
  if (plane_bits == 2) {
    const uint64_t tile = block * (columns_padded / 4) + column / 4;
    return {tile * 16 + 4 * l + column % 4, static_cast<uint32_t>(2 * p)};
  }
  const uint64_t tile = block * (columns_padded / 8) + column / 8;
  const uint64_t h = column % 8 / 4;
  return {tile * 16 + 4 * l + column % 4, static_cast<uint32_t>(2 * p + h)};
}

}  // namespace

PlaneList planes_of(uint32_t bits) {
  PlaneList list{};
  if (!is_packed_width(bits)) return list;
  for (uint32_t below = 0; below < bits; below += 2)
    list.plane[list.count++] = {std::min(2u, bits - below), 1u << below};
  return list;
}

void pack(std::span<const uint8_t> codes, uint64_t rows, uint64_t columns, uint32_t bits, std::span<uint8_t> out) {
  assert(codes.size() == rows * columns && out.size() == packed_size(rows, columns, bits));
  std::memset(out.data(), 0, out.size());
  const PlaneList planes = planes_of(bits);
  const uint64_t kpad = padded_columns(columns);
  uint8_t* plane = out.data();
  for (uint32_t i = 0; i < planes.count; ++i) {
    const uint32_t plane_bits = planes.plane[i].bits, mask = (1u << plane_bits) - 1;
    const uint32_t down = 2 * i;  // every plane before this one held two bits
    for (uint64_t r = 0; r < rows; ++r)
      for (uint64_t c = 0; c < columns; ++c) {
        const Place at = place(r, c, kpad, plane_bits);
        plane[at.byte] |= static_cast<uint8_t>((codes[r * columns + c] >> down & mask) << at.shift);
      }
    plane += plane_size(rows, columns, plane_bits);
  }
}

void unpack_row(std::span<const uint8_t> packed, uint64_t rows, uint64_t columns, uint32_t bits, uint64_t row,
                std::span<uint8_t> codes) {
  assert(row < rows && codes.size() == columns && packed.size() == packed_size(rows, columns, bits));
  const PlaneList planes = planes_of(bits);
  const uint64_t kpad = padded_columns(columns);
  const uint8_t* plane = packed.data();
  std::memset(codes.data(), 0, columns);
  for (uint32_t i = 0; i < planes.count; ++i) {
    const uint32_t plane_bits = planes.plane[i].bits, mask = (1u << plane_bits) - 1;
    for (uint64_t c = 0; c < columns; ++c) {
      const Place at = place(row, c, kpad, plane_bits);
      codes[c] |= static_cast<uint8_t>((plane[at.byte] >> at.shift & mask) << 2 * i);
    }
    plane += plane_size(rows, columns, plane_bits);
  }
}

void unpack(std::span<const uint8_t> packed, uint64_t rows, uint64_t columns, uint32_t bits, std::span<uint8_t> codes) {
  for (uint64_t r = 0; r < rows; ++r) unpack_row(packed, rows, columns, bits, r, codes.subspan(r * columns, columns));
}

}  // namespace svq::format
