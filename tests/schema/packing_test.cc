#include "schema/packing.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <tuple>
#include <vector>

namespace svq::format {
namespace {

std::vector<uint8_t> random_codes(uint64_t n, uint32_t bits, uint32_t seed) {
  std::mt19937 rng(seed);
  std::vector<uint8_t> codes(n);
  for (auto& c : codes) c = static_cast<uint8_t>(rng() & ((1u << bits) - 1));
  return codes;
}

class Packing : public testing::TestWithParam<std::tuple<uint32_t, uint64_t, uint64_t>> {};

TEST_P(Packing, RoundTripsAndPadsWithZeros) {
  const auto [bits, rows, columns] = GetParam();
  const auto codes = random_codes(rows * columns, bits, 7);
  std::vector<uint8_t> packed(packed_size(rows, columns, bits), 0xFF), back(rows * columns, 0xEE);
  pack(codes, rows, columns, bits, packed);
  unpack(packed, rows, columns, bits, back);
  EXPECT_EQ(codes, back);
  std::vector<uint8_t> one(columns, 0xEE);
  unpack_row(packed, rows, columns, bits, rows - 1, one);
  EXPECT_TRUE(std::equal(one.begin(), one.end(), codes.end() - static_cast<ptrdiff_t>(columns)));

  // Seen as a matrix of the padded size, everything outside [rows, columns] is 0.
  const uint64_t npad = padded_rows(rows), kpad = padded_columns(columns);
  ASSERT_EQ(packed.size(), packed_size(npad, kpad, bits));
  std::vector<uint8_t> all(npad * kpad);
  unpack(packed, npad, kpad, bits, all);
  for (uint64_t r = 0; r < npad; ++r)
    for (uint64_t c = 0; c < kpad; ++c)
      ASSERT_EQ(all[r * kpad + c], r < rows && c < columns ? codes[r * columns + c] : 0) << r << ',' << c;
}

INSTANTIATE_TEST_SUITE_P(Sizes, Packing,
                         testing::Combine(testing::Range(2u, 9u), testing::Values(1u, 15u, 16u, 17u, 48u),
                                          testing::Values(1u, 4u, 63u, 64u, 65u, 192u, 576u)));

// The positions that FORMAT.md states, by its own formulas.
TEST(PackingLayout, TwoBitTile) {
  const uint64_t rows = 40, columns = 130, kpad = 192;
  for (const auto& [row, column] :
       {std::pair<uint64_t, uint64_t>{0, 0}, {5, 2}, {15, 3}, {16, 4}, {39, 129}, {33, 64}}) {
    std::vector<uint8_t> codes(rows * columns), packed(packed_size(rows, columns, 2));
    codes[row * columns + column] = 3;
    pack(codes, rows, columns, 2, packed);
    const uint64_t block = row / 16, tile = column / 4, p = row % 16 / 4, l = row % 4, i = column % 4;
    for (uint64_t b = 0; b < packed.size(); ++b)
      ASSERT_EQ(packed[b], b == (block * kpad / 4 + tile) * 16 + 4 * l + i ? 3 << 2 * p : 0) << row << ',' << column;
  }
}

TEST(PackingLayout, OneBitPlaneSplitsIntoTwoTwoBitTiles) {
  const uint64_t rows = 16, columns = 64;
  const auto codes = random_codes(rows * columns, 3, 3);
  std::vector<uint8_t> packed(packed_size(rows, columns, 3));
  pack(codes, rows, columns, 3, packed);
  const uint8_t* low = packed.data();
  const uint8_t* high = low + plane_size(rows, columns, 2);
  for (uint64_t r = 0; r < rows; ++r)
    for (uint64_t c = 0; c < columns; ++c) {
      const uint64_t p = r / 4, l = r % 4, i = c % 4, h = c % 8 / 4;
      const uint32_t two = low[c / 4 * 16 + 4 * l + i] >> 2 * p & 3;
      const uint32_t tile_byte = high[c / 8 * 16 + 4 * l + i] >> h & 0x55;  // a 2-bit tile of columns 4(c/4) …
      const uint32_t one = tile_byte >> 2 * p & 3;
      ASSERT_EQ(codes[r * columns + c], two + 4 * one);
    }
}

TEST(PackingLayout, PlanesFollowOneAnotherByWeight) {
  std::vector<uint8_t> codes(16 * 64, 0b11100100), packed(packed_size(16, 64, 8));
  pack(codes, 16, 64, 8, packed);
  const uint64_t plane = plane_size(16, 64, 2);
  ASSERT_EQ(packed.size(), 4 * plane);
  const uint8_t expected[4] = {0x00, 0x55, 0xAA, 0xFF};
  for (uint64_t b = 0; b < packed.size(); ++b) ASSERT_EQ(packed[b], expected[b / plane]);
}

TEST(PackingLayout, WidthsWithoutPlanes) {
  for (uint32_t bits : {0u, 1u, 9u, 16u}) {
    EXPECT_EQ(planes_of(bits).count, 0u);
    EXPECT_FALSE(is_packed_width(bits));
  }
  for (uint32_t bits = 2; bits <= 8; ++bits) {
    const PlaneList planes = planes_of(bits);
    uint32_t sum = 0, weight = 1;
    for (uint32_t i = 0; i < planes.count; ++i) {
      EXPECT_EQ(planes.plane[i].weight, weight);
      sum += planes.plane[i].bits;
      weight *= 4;
    }
    EXPECT_EQ(sum, bits);
  }
}

TEST(PackingLayout, SizesDoNotOverflow) {
  // A vocabulary of 2^31 rows of 2^16 columns: 2^47 codes.
  EXPECT_EQ(packed_size(uint64_t{1} << 31, 1 << 16, 2), uint64_t{1} << 45);
}

}  // namespace
}  // namespace svq::format
