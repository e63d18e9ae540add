#include "converter/sources/safetensors.h"

#include <gtest/gtest.h>

#include <cstring>

#include "converter/base/error.h"
#include "converter/sources/json.h"
#include "converter/sources/text.h"
#include "tests/sources/scratch.h"
#include "tests/sources/tiny_hf.h"

namespace svq::convert {
namespace {

using nlohmann::json;
using test::safetensors_file;

std::string safetensors_error(const std::string& file) {
  return test::message_of<Error>([&] { parse_safetensors("x.safetensors", std::as_bytes(std::span(file))); });
}
std::string safetensors_error(const json& header, size_t data = 64) {
  return safetensors_error(safetensors_file(header.dump(), std::string(data, 'd')));
}

json entry(const char* dtype, const json& shape, const json& offsets) {
  return {{"dtype", dtype}, {"shape", shape}, {"data_offsets", offsets}};
}

TEST(Safetensors, ReadsTensorsInPlace) {
  const std::string file = safetensors_file({{"b", "F32", {2, 3}, std::string(24, 'b')},
                                             {"a", "BF16", {4}, std::string(8, 'a')},
                                             {"c", "F16", {1, 1, 2}, std::string(4, 'c')},
                                             {"d", "F64", {}, std::string(8, 'd')}});
  const auto tensors = parse_safetensors("x", std::as_bytes(std::span(file)));
  ASSERT_EQ(tensors.size(), 4u);
  EXPECT_EQ(tensors[0].name, "a");
  EXPECT_EQ(tensors[0].type, WeightType::kBF16);
  EXPECT_EQ(tensors[1].shape, (std::vector<uint64_t>{2, 3}));
  EXPECT_EQ(std::to_integer<char>(tensors[1].data[23]), 'b');
  EXPECT_EQ(tensors[2].type, WeightType::kF16);
  EXPECT_EQ(tensors[3].type, WeightType::kF64);
  EXPECT_EQ(tensors[3].bytes, 8u);
}

TEST(Safetensors, RefusesBadHeaders) {
  EXPECT_SAYS(safetensors_error(std::string("1234567")), "fewer than 8 bytes");
  for (uint64_t size : {uint64_t{3}, uint64_t{200'000'000}, UINT64_MAX, UINT64_MAX - 7}) {
    std::string file;
    test::append_number(file, size);
    EXPECT_SAYS(safetensors_error(file + "{}"), "x.safetensors: claims a header of");
  }
  EXPECT_SAYS(safetensors_error(safetensors_file("{", "")), "is not valid JSON");
  EXPECT_SAYS(safetensors_error(safetensors_file("{} x", "")), "is not valid JSON");
  EXPECT_SAYS(safetensors_error(safetensors_file("{\"\xFF\": 1}", "")), "is not valid JSON");
  EXPECT_SAYS(safetensors_error(safetensors_file("[]", "")), "is not a JSON object");
  EXPECT_SAYS(safetensors_error(safetensors_file("{\"a\": 1e999}", "")), "out of range");
  EXPECT_SAYS(safetensors_error(safetensors_file(std::string(1000000, '['), "")), "nests deeper");
  EXPECT_SAYS(safetensors_error(safetensors_file("{\"t\": {}, \"t\": {}}", "")), "\"t\" occurs twice");
}

TEST(Safetensors, RefusesBadEntries) {
  EXPECT_SAYS(safetensors_error({{"t", 5}}), "tensor \"t\" has no object with dtype");
  EXPECT_SAYS(safetensors_error({{"t", {{"dtype", "F32"}, {"shape", {1}}}}}), "tensor \"t\" has no object with dtype");
  EXPECT_SAYS(safetensors_error({{"t", entry("I8", {4}, {0, 4})}}), "the unsupported type \"I8\"; supported are F32");
  EXPECT_SAYS(safetensors_error({{"t", {{"dtype", 3}, {"shape", {1}}, {"data_offsets", {0, 4}}}}}),
              "dtype is not a string");
  EXPECT_SAYS(safetensors_error({{"t", entry("F32", 4, {0, 4})}}), "shape is not an array");
  EXPECT_SAYS(safetensors_error({{"t", entry("F32", json::array({1, 1, 1, 1, 1, 1, 1, 1, 1}), {0, 4})}}),
              "shape is not an array of at most 8");
  EXPECT_SAYS(safetensors_error({{"t", entry("F32", json::array({-1}), {0, 4})}}), "not an unsigned integer");
  EXPECT_SAYS(safetensors_error({{"t", entry("F32", json::array({1.0}), {0, 4})}}), "not an unsigned integer");
  EXPECT_SAYS(safetensors_error({{"t", entry("F32", json::array({0}), {0, 0})}}), "a dimension of size 0");
  EXPECT_SAYS(safetensors_error({{"t", entry("F32", json::array({1ull << 62}), {0, 0})}}),
              "more bytes than fit 64 bits");
  EXPECT_SAYS(safetensors_error({{"t", entry("F32", json::array({1}), {0})}}), "data_offsets is not an array of two");
  EXPECT_SAYS(safetensors_error({{"t", entry("F32", json::array({1}), {8, 4})}}),
              "lies at 8 to 4 of a data section of 64 bytes");
  EXPECT_SAYS(safetensors_error({{"t", entry("F32", json::array({1}), {64, 68})}}), "lies at 64 to 68");
  EXPECT_SAYS(safetensors_error({{"t", entry("F32", json::array({1}), {0, UINT64_MAX})}}), "lies at 0 to");
  EXPECT_SAYS(safetensors_error({{"t", entry("F32", json::array({2}), {0, 4})}}),
              "has 4 bytes, expected 8 by its shape");
  EXPECT_SAYS(safetensors_error(
                  {{"a", entry("F32", json::array({2}), {0, 8})}, {"b", entry("F32", json::array({2}), {4, 12})}}),
              "\"a\" and \"b\" overlap");
}

class SafetensorsDirectoryTest : public testing::Test {
 protected:
  std::string error() {
    return test::message_of<Error>([&] { SafetensorsDirectory directory(scratch_.path()); });
  }
  void put(const std::string& name, const std::string& bytes) { test::write_file(scratch_ / name, bytes); }
  static std::string file_with(const std::string& tensor) {
    return safetensors_file({{tensor, "F32", {2}, std::string(8, 'x')}});
  }
  test::ScratchDirectory scratch_;
};

TEST_F(SafetensorsDirectoryTest, FindsSingleFilesAndShards) {
  put("weights.safetensors", file_with("a"));
  EXPECT_EQ(SafetensorsDirectory(scratch_.path()).tensors().size(), 1u);
  put("second.safetensors", file_with("b"));
  EXPECT_SAYS(error(), "several *.safetensors files but no model.safetensors.index.json");
  put("model.safetensors.index.json", R"({"weight_map": {"a": "weights.safetensors", "b": "second.safetensors"}})");
  const SafetensorsDirectory directory(scratch_.path());
  EXPECT_TRUE(directory.find("a") && directory.find("b"));
  EXPECT_EQ(directory.file_bytes(), 2 * file_with("a").size());
}

TEST_F(SafetensorsDirectoryTest, RefusesMissingAndContradictingShards) {
  EXPECT_SAYS(error(), "holds no *.safetensors file");
  put("pytorch_model.bin", "x");
  EXPECT_SAYS(error(), "PyTorch *.bin files are not supported");
  const std::string index = "model.safetensors.index.json";
  put("one.safetensors", file_with("a"));
  put(index, R"({"weight_map": {"a": "one.safetensors", "b": "two.safetensors", "c": "three.safetensors"}})");
  EXPECT_SAYS(error(), "are missing: \"three.safetensors\", \"two.safetensors\"");
  put(index, R"({"weight_map": {"a": "one.safetensors", "b": "one.safetensors"}})");
  EXPECT_SAYS(error(), "tensor \"b\" is missing, which the index places there");
  put("two.safetensors", file_with("a"));
  put(index, R"({"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}})");
  EXPECT_SAYS(error(), "tensor \"a\" is in both");
  for (const char* name : {"../one.safetensors", "/etc/passwd", "..", "", "sub/x.safetensors"}) {
    put(index, json{{"weight_map", {{"a", name}}}}.dump());
    EXPECT_SAYS(error(), "expected a plain file name");
  }
  put(index, R"({"weight_map": {"a": 7}})");
  EXPECT_SAYS(error(), "is not a file name");
  put(index, R"({"weight_map": {}})");
  EXPECT_SAYS(error(), "weight_map is empty");
  put(index, R"([1])");
  EXPECT_SAYS(error(), "has no object \"weight_map\"");
  put(index, "{");
  EXPECT_SAYS(error(), "model.safetensors.index.json: is not valid JSON");
}

TEST_F(SafetensorsDirectoryTest, HashCoversContentsAndSmallFiles) {
  put("model.safetensors", file_with("a"));
  put("config.json", "{}");
  const auto hash = [&] { return SafetensorsDirectory(scratch_.path()).hash(); };
  const std::string first = hash();
  EXPECT_EQ(hash(), first);
  put("notes.txt", "not part of it");
  EXPECT_EQ(hash(), first);
  put("config.json", "{ }");
  EXPECT_NE(hash(), first);
  put("config.json", "{}");
  put("model.safetensors", file_with("b"));
  EXPECT_NE(hash(), first);
}

TEST(Text, MadeReadable) {
  EXPECT_EQ(readable("a\nb\x1B[31m\x7F"), "a?b?[31m?");
  EXPECT_EQ(readable("h\xC3\xA9llo \xF0\x9F\xA4\x96"), "h\xC3\xA9llo \xF0\x9F\xA4\x96");
  EXPECT_EQ(readable("h\xC3\xA9llo", 2), "h");
  for (const char* bad : {"\xC3", "\xC0\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xE0\x80\x80", "\x80", "\xFF"}) {
    EXPECT_FALSE(is_utf8(bad));
    EXPECT_EQ(readable(bad), std::string(std::strlen(bad), '?'));
  }
  EXPECT_EQ(in_quotes("a\n\xC3\xA9"), "\"a???\"");
  EXPECT_EQ(in_quotes(std::string(100, 'x')), "\"" + std::string(80, 'x') + "...\"");
}

TEST(Json, LimitsDepthAndDuplicates) {
  EXPECT_EQ(parse_json("x", "{\"a\": [1, {\"a\": 2}]}")["a"][1]["a"], 2);
  EXPECT_NO_THROW(parse_json("x", std::string(60, '[') + std::string(60, ']')));
  EXPECT_THROW(parse_json("x", std::string(70, '[') + std::string(70, ']')), Error);
  std::string deep;
  for (int i = 0; i < 100000; ++i) deep += "{\"a\":";
  EXPECT_THROW(parse_json("x", deep), Error);
  EXPECT_THROW(parse_json("x", "{\"a\": 1, \"a\": 1}"), Error);
  EXPECT_THROW(parse_json("x", ""), Error);
}

}  // namespace
}  // namespace svq::convert
