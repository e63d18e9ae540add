// Packed codes: the one layout of quantized weights, for every backend (FORMAT.md, "Packed codes").
//
// A matrix of codes [rows, columns] is stored as planes, each padded to 16 rows and 64 columns (padding codes are 0).
//   bits 2: one 2-bit plane             code = p0
//   bits 3: a 2-bit and a 1-bit plane   code = p0 + 4 p1
//   bits 4: two 2-bit planes            code = p0 + 4 p1
//   bits 8: four 2-bit planes           code = p0 + 4 p1 + 16 p2 + 64 p3
// Planes follow one another in the tensor, p0 first.
//
// 2-bit plane: tiles of 16 rows × 4 columns = 16 bytes. Tile t (columns 4t … 4t+3) of row block R (rows 16R … 16R+15)
// starts at byte (R · Kpad/4 + t) · 16; in it, bits 2p and 2p+1 of byte 4l + i are the code of row 4p + l, column i.
//
// 1-bit plane: tiles of 16 rows × 8 columns = 16 bytes. Tile t of row block R starts at byte (R · Kpad/8 + t) · 16;
// in it, bit 2p + h of byte 4l + i is the code of row 4p + l, column 4h + i: (byte >> h) & 0x55 is a 2-bit tile.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

namespace svq::format {

inline constexpr uint32_t kRowTile = 16;
inline constexpr uint32_t kColumnPad = 64;

constexpr uint64_t padded_rows(uint64_t rows) { return (rows + kRowTile - 1) / kRowTile * kRowTile; }
constexpr uint64_t padded_columns(uint64_t columns) { return (columns + kColumnPad - 1) / kColumnPad * kColumnPad; }

struct PlaneInfo {
  uint32_t bits;    // 2 or 1
  uint32_t weight;  // 1, 4, 16, 64: what a unit of this plane counts in the code
};
struct PlaneList {
  uint32_t count;  // 0: `bits` is not a packed width
  PlaneInfo plane[4];
};
// Planes of a matrix of 2 … 8 bits: as many of 2 bits as it holds, then one of 1 bit for the odd one.
PlaneList planes_of(uint32_t bits);

constexpr bool is_packed_width(uint32_t bits) { return bits >= 2 && bits <= 8; }
// The middle of the codes 0 … 2^bits − 1.
constexpr float middle_code(uint32_t bits) { return static_cast<float>((1u << bits) - 1) / 2; }

// Bytes of one plane, and of all planes of a matrix. 64-bit arithmetic: rows and columns are below 2^32.
constexpr uint64_t plane_size(uint64_t rows, uint64_t columns, uint32_t plane_bits) {
  return padded_rows(rows) * padded_columns(columns) / 8 * plane_bits;
}
constexpr uint64_t packed_size(uint64_t rows, uint64_t columns, uint32_t bits) {
  return padded_rows(rows) * padded_columns(columns) / 8 * bits;
}

// codes: [rows, columns] row-major, each below 2^bits. out: packed_size bytes, fully overwritten.
void pack(std::span<const uint8_t> codes, uint64_t rows, uint64_t columns, uint32_t bits, std::span<uint8_t> out);

// The inverse: codes [rows, columns].
void unpack(std::span<const uint8_t> packed, uint64_t rows, uint64_t columns, uint32_t bits, std::span<uint8_t> codes);

// Codes of one row, [columns].
void unpack_row(std::span<const uint8_t> packed, uint64_t rows, uint64_t columns, uint32_t bits, uint64_t row,
                std::span<uint8_t> codes);

}  // namespace svq::format
