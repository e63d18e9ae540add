// Every weight type against blocks and values from PyPI's gguf (tests/golden/sources/make_blocks.py), bit for bit.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>
#include <map>

#include "converter/base/error.h"
#include "converter/sources/dequantize_blocks.h"
#include "converter/sources/source.h"

namespace svq::convert {
namespace {

struct Golden {
  uint32_t block_bytes = 0, block_elements = 0;
  std::string blocks;
  std::vector<float> values;
};

std::map<std::string, Golden> read_golden() {
  const char* other = std::getenv("SVQ_TEST_QUANT_BLOCKS");
  std::ifstream in(other ? other : SVQ_GOLDEN_DIR "/blocks.bin", std::ios::binary);
  std::map<std::string, Golden> result;
  char name[9] = {};
  uint32_t counts[3];
  while (in.read(name, 8) && in.read(reinterpret_cast<char*>(counts), sizeof counts)) {
    Golden golden{counts[1], counts[2], std::string(size_t{counts[0]} * counts[1], '\0'),
                  std::vector<float>(size_t{counts[0]} * counts[2])};
    in.read(golden.blocks.data(), static_cast<std::streamsize>(golden.blocks.size()));
    in.read(reinterpret_cast<char*>(golden.values.data()),
            static_cast<std::streamsize>(golden.values.size() * sizeof(float)));
    result[name] = std::move(golden);
  }
  return result;
}

TensorView view_of(const std::string& bytes, WeightType type, std::vector<uint64_t> shape) {
  return {"t", std::move(shape), type, reinterpret_cast<const std::byte*>(bytes.data()), bytes.size()};
}

class DequantizeGolden : public testing::TestWithParam<WeightType> {};

TEST_P(DequantizeGolden, EqualsReferenceBitForBit) {
  static const auto all = read_golden();
  const auto found = all.find(weight_type_name(GetParam()));
  ASSERT_NE(found, all.end());
  const Golden& golden = found->second;
  ASSERT_FALSE(golden.values.empty());
  const BlockSize block = block_size(GetParam());
  EXPECT_EQ(block.bytes, golden.block_bytes);
  EXPECT_EQ(block.elements, golden.block_elements);
  // Two blocks a row, so that rows are addressed too; read in one go and row by row.
  const uint64_t columns = 2 * block.elements, rows = golden.values.size() / columns;
  const TensorView tensor = view_of(golden.blocks, GetParam(), {rows, columns});
  std::vector<float> whole(golden.values.size()), by_row(golden.values.size());
  dequantize(tensor, 0, rows, whole.data());
  for (uint64_t row = 0; row < rows; ++row) dequantize(tensor, row, row + 1, by_row.data() + row * columns);
  size_t different = 0;
  for (size_t i = 0; i < golden.values.size(); ++i) {
    different += std::bit_cast<uint32_t>(whole[i]) != std::bit_cast<uint32_t>(golden.values[i]);
    different += std::bit_cast<uint32_t>(by_row[i]) != std::bit_cast<uint32_t>(golden.values[i]);
  }
  EXPECT_EQ(different, 0u) << "of " << golden.values.size();
}

INSTANTIATE_TEST_SUITE_P(Types, DequantizeGolden,
                         testing::Values(WeightType::kF16, WeightType::kBF16, WeightType::kQ4_0, WeightType::kQ4_1,
                                         WeightType::kQ5_0, WeightType::kQ5_1, WeightType::kQ8_0, WeightType::kQ2_K,
                                         WeightType::kQ3_K, WeightType::kQ4_K, WeightType::kQ5_K, WeightType::kQ6_K,
                                         WeightType::kIQ4_NL),
                         [](const auto& param_info) { return std::string(weight_type_name(param_info.param)); });

TEST(Dequantize, FloatTypes) {
  const float f32[] = {1.5f, -0.0f, 3e-45f, 1e38f};
  const double f64[] = {0.1, -2.5, 1e300, 1e-300};
  std::vector<float> out(4);
  dequantize(view_of({reinterpret_cast<const char*>(f32), sizeof f32}, WeightType::kF32, {4}), 0, 1, out.data());
  EXPECT_EQ(std::memcmp(out.data(), f32, sizeof f32), 0);
  const std::string doubles(reinterpret_cast<const char*>(f64), sizeof f64);
  dequantize(view_of(doubles, WeightType::kF64, {2, 2}), 1, 2, out.data());
  EXPECT_EQ(out[0], std::numeric_limits<float>::infinity());  // refused by Model::read
  EXPECT_EQ(out[1], 0.0f);
  dequantize(view_of(doubles, WeightType::kF64, {2, 2}), 0, 1, out.data());
  EXPECT_EQ(out[0], 0.1f);
}

TEST(Dequantize, HalvesKeepSpecialValues) {
  EXPECT_EQ(blocks::half_to_float(0x7C00), std::numeric_limits<float>::infinity());
  EXPECT_EQ(blocks::half_to_float(0xFC00), -std::numeric_limits<float>::infinity());
  EXPECT_TRUE(std::isnan(blocks::half_to_float(0x7C01)));
  EXPECT_TRUE(std::isnan(blocks::half_to_float(0xFFFF)));
  EXPECT_EQ(blocks::half_to_float(0x0001), 0x1p-24f);
  EXPECT_EQ(blocks::half_to_float(0x7BFF), 65504.0f);
  EXPECT_TRUE(std::signbit(blocks::half_to_float(0x8000)));
}

TEST(Dequantize, RefusesRowsOutOfRange) {
  const std::string bytes(16, '\0');
  std::vector<float> out(8);
  EXPECT_THROW(dequantize(view_of(bytes, WeightType::kF32, {2, 2}), 1, 3, out.data()), Error);
  EXPECT_THROW(dequantize(view_of(bytes, WeightType::kF32, {2, 2}), 2, 1, out.data()), Error);
}

}  // namespace
}  // namespace svq::convert
