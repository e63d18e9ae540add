#include "converter/sources/gguf.h"

#include <gtest/gtest.h>

#include "converter/base/error.h"
#include "tests/sources/scratch.h"
#include "tests/sources/tiny_gguf.h"

namespace svq::convert {
namespace {

using test::append_number;
using test::GgufWriter;

// Keeps the bytes that the parsed file points into.
struct Parsed {
  explicit Parsed(std::string file) : bytes(std::move(file)), gguf("test.gguf", std::as_bytes(std::span(bytes))) {}
  std::string bytes;
  GgufFile gguf;
};

std::string gguf_error(const std::string& file) {
  return test::message_of<Error>([&] { Parsed parsed(file); });
}

TEST(Gguf, ReadsEveryMetadataType) {
  GgufWriter writer;
  writer.add<uint8_t>("u8", 0, 200);
  writer.add<int8_t>("i8", 1, -5);
  writer.add<uint16_t>("u16", 2, 60000);
  writer.add<int16_t>("i16", 3, 7);
  writer.add<uint32_t>("u32", 4, 4000000000u);
  writer.add<int32_t>("i32", 5, 8);
  writer.add<float>("f32", 6, 1.5f);
  writer.add<uint8_t>("bool", 7, 1);
  writer.add_string("string", "héllo");
  writer.add<uint64_t>("u64", 10, 1ull << 63);
  writer.add<int64_t>("i64", 11, -1);
  writer.add<double>("f64", 12, 2.25);
  writer.add_strings("strings", {"a", "", "bcd"});
  writer.add_array<float>("floats", 6, {1, 2, 3});
  writer.add_array<int16_t>("shorts", 3, {-1, 2});
  writer.add_array<uint64_t>("longs", 10, {1ull << 63});
  std::string nested = GgufWriter::array_head(9, 2);
  for (int i = 0; i < 2; ++i) nested += GgufWriter::array_head(0, 3) + "abc";
  writer.keys.push_back({"nested", 9, nested});
  writer.add_uint("last", 3);
  const Parsed parsed(writer.build());
  const GgufFile& file = parsed.gguf;

  EXPECT_EQ(file.format(), "GGUF v3");
  EXPECT_EQ(file.get_uint("u8"), 200u);
  EXPECT_EQ(file.get_uint("u16"), 60000u);
  EXPECT_EQ(file.get_uint("i16"), 7u);
  EXPECT_EQ(file.get_uint("u32"), 4000000000u);
  EXPECT_EQ(file.get_uint("i32"), 8u);
  EXPECT_EQ(file.get_uint("u64"), 1ull << 63);
  EXPECT_EQ(file.get_float("f32"), 1.5);
  EXPECT_EQ(file.get_float("f64"), 2.25);
  EXPECT_EQ(file.get_bool("bool"), true);
  EXPECT_EQ(file.get_string("string"), "héllo");
  EXPECT_EQ(file.get_strings("strings"), (std::vector<std::string>{"a", "", "bcd"}));
  EXPECT_EQ(file.get_floats("floats"), (std::vector<float>{1, 2, 3}));
  EXPECT_EQ(file.get_ints("shorts"), (std::vector<int64_t>{-1, 2}));
  EXPECT_EQ(file.get_uint("last"), 3u);
  EXPECT_EQ(file.get_uint("absent"), std::nullopt);
  EXPECT_EQ(file.value("nested")->count, 2u);

  const auto says = [&](auto action) { return test::message_of<Error>(action); };
  EXPECT_SAYS(says([&] { file.get_uint("i8"); }), "\"i8\" is negative");
  EXPECT_SAYS(says([&] { file.get_uint("i64"); }), "\"i64\" is negative");
  EXPECT_SAYS(says([&] { file.get_uint("string"); }), "\"string\" is of type string, expected an unsigned integer");
  EXPECT_SAYS(says([&] { file.get_float("u32"); }), "is of type uint32, expected a float");
  EXPECT_SAYS(says([&] { file.get_strings("floats"); }), "is of type array of float32, expected an array of strings");
  EXPECT_SAYS(says([&] { file.get_ints("longs"); }), "above 2^63");
  EXPECT_SAYS(says([&] { file.get_bool("u8"); }), "expected a bool");
}

TEST(Gguf, FindsTensorsInRowMajorOrder) {
  GgufWriter writer;
  writer.version = 2;
  writer.alignment = 64;
  writer.add_uint("general.alignment", 64);
  writer.tensors.push_back({"b", {2, 3}, 0, std::string(24, 'b')});
  writer.tensors.push_back({"a", {32}, 2, std::string(18, 'a')});
  const Parsed parsed(writer.build());
  EXPECT_EQ(parsed.gguf.format(), "GGUF v2");
  ASSERT_EQ(parsed.gguf.tensors().size(), 2u);
  const TensorView* b = parsed.gguf.find("b");
  ASSERT_TRUE(b);
  EXPECT_EQ(b->shape, (std::vector<uint64_t>{3, 2}));
  EXPECT_EQ(b->bytes, 24u);
  EXPECT_EQ(std::to_integer<char>(b->data[23]), 'b');
  const TensorView* a = parsed.gguf.find("a");
  ASSERT_TRUE(a);
  EXPECT_EQ(a->type, WeightType::kQ4_0);
  EXPECT_EQ(std::to_integer<char>(a->data[0]), 'a');
  EXPECT_FALSE(parsed.gguf.find("c"));
  EXPECT_EQ(parsed.gguf.hash().size(), 32u);
}

TEST(Gguf, AcceptsAFileWithoutTensors) {
  GgufWriter writer;
  writer.add_uint("k", 1);
  EXPECT_EQ(gguf_error(writer.build()), "");
}

GgufWriter one_tensor() {
  GgufWriter writer;
  writer.add_uint("k", 1);
  writer.tensors.push_back({"t", {32, 2}, 0, std::string(256, 'x')});
  return writer;
}

TEST(Gguf, RefusesWhatItIsNot) {
  EXPECT_SAYS(gguf_error(""), "test.gguf: is not a GGUF file");
  EXPECT_SAYS(gguf_error("GGML"), "is not a GGUF file");
  EXPECT_SAYS(gguf_error("GGUF"), "is truncated: the version");
  GgufWriter writer = one_tensor();
  writer.version = 1;
  EXPECT_SAYS(gguf_error(writer.build()), "is GGUF version 1; supported are versions 2 and 3");
  writer.version = 4;
  EXPECT_SAYS(gguf_error(writer.build()), "is GGUF version 4");
  writer.version = 0x03000000;
  EXPECT_SAYS(gguf_error(writer.build()), "big-endian");
}

TEST(Gguf, RefusesCountsThatTheFileCannotHold) {
  for (int64_t count : {int64_t{1000}, int64_t{1} << 40, INT64_MAX}) {
    GgufWriter writer = one_tensor();
    writer.claimed_tensors = count;
    EXPECT_SAYS(gguf_error(writer.build()), "more than it can hold");
    writer = one_tensor();
    writer.claimed_keys = count;
    EXPECT_SAYS(gguf_error(writer.build()), "more than it can hold");
  }
  for (uint64_t count : {uint64_t{1} << 20, uint64_t{1} << 61, UINT64_MAX}) {
    for (uint32_t element : {0u, 6u, 8u, 9u, 12u}) {
      GgufWriter writer = one_tensor();
      writer.keys.push_back({"array", 9, GgufWriter::array_head(element, count)});
      EXPECT_SAYS(gguf_error(writer.build()), "\"array\" claims");
    }
    GgufWriter writer = one_tensor();
    std::string length;
    append_number(length, count);
    writer.keys.push_back({"text", 8, length});
    EXPECT_SAYS(gguf_error(writer.build()), "is truncated: metadata key \"text\"");
  }
}

TEST(Gguf, RefusesBadMetadata) {
  GgufWriter writer = one_tensor();
  writer.keys.push_back({"odd", 13, ""});
  EXPECT_SAYS(gguf_error(writer.build()), "\"odd\" has the value type 13");
  writer = one_tensor();
  writer.add_uint("k", 2);
  EXPECT_SAYS(gguf_error(writer.build()), "\"k\" occurs twice");
  writer = one_tensor();
  writer.add_uint("", 2);
  EXPECT_SAYS(gguf_error(writer.build()), "has a name of 0 bytes");
  writer = one_tensor();
  writer.add<uint8_t>("flag", 7, 2);
  EXPECT_SAYS(gguf_error(writer.build()), "neither 0 nor 1");
  writer = one_tensor();
  std::string deep;
  for (int i = 0; i < 10; ++i) deep += GgufWriter::array_head(9, 1);
  writer.keys.push_back({"deep", 9, deep + GgufWriter::array_head(0, 0)});
  EXPECT_SAYS(gguf_error(writer.build()), "nests arrays deeper");
  for (uint32_t alignment : {0u, 3u, 1u << 30}) {
    writer = one_tensor();
    writer.add_uint("general.alignment", alignment);
    EXPECT_SAYS(gguf_error(writer.build()), "general.alignment");
  }
}

TEST(Gguf, RefusesBadTensors) {
  const auto with = [](auto change) {
    GgufWriter writer = one_tensor();
    change(writer.tensors[0]);
    return gguf_error(writer.build());
  };
  using Tensor = GgufWriter::Tensor;
  EXPECT_SAYS(with([](Tensor& t) { t.dims.clear(); }), "\"t\" has 0 dimensions");
  EXPECT_SAYS(with([](Tensor& t) { t.dims.assign(5, 1); }), "\"t\" has 5 dimensions");
  EXPECT_SAYS(with([](Tensor& t) { t.dims = {32, 0}; }), "a dimension of size 0");
  EXPECT_SAYS(with([](Tensor& t) { t.dims = {1ull << 32, 1ull << 32}; }), "more elements than fit 64 bits");
  EXPECT_SAYS(with([](Tensor& t) { t.dims = {1ull << 62, 1}; }), "more bytes than fit 64 bits");
  EXPECT_SAYS(with([](Tensor& t) { t.dims = {1ull << 40, 1}; }), "is truncated: tensor \"t\" needs");
  EXPECT_SAYS(with([](Tensor& t) {
                t.dims = {33, 2}, t.type = 2;
              }),
              "rows of 33 elements, expected a multiple of 32 for Q4_0");
  EXPECT_SAYS(with([](Tensor& t) { t.dims = {32, 16}, t.type = 14; }), "expected a multiple of 256 for Q6_K");
  EXPECT_SAYS(with([](Tensor& t) { t.type = 23; }),
              "\"t\" has the unsupported type IQ4_XS; supported are F32, F16, Q4_0");
  EXPECT_SAYS(with([](Tensor& t) { t.type = 4711; }), "the unsupported type number 4711");
  EXPECT_SAYS(with([](Tensor& t) { t.offset = 1; }), "expected a multiple of 32");
  EXPECT_SAYS(with([](Tensor& t) { t.offset = INT64_MAX / 32 * 32; }), "is truncated");
  EXPECT_SAYS(with([](Tensor& t) { t.name = ""; }), "has a name of 0 bytes");

  GgufWriter writer = one_tensor();
  writer.tensors.push_back(writer.tensors[0]);
  EXPECT_SAYS(gguf_error(writer.build()), "\"t\" occurs twice");
  writer.tensors[1].name = "u";
  writer.tensors[1].offset = 224;
  EXPECT_SAYS(gguf_error(writer.build()), "\"t\" and \"u\" overlap");
}

TEST(Gguf, EveryTruncationIsRefused) {
  const std::string file =
      test::tiny_gguf({.hidden = 32, .intermediate = 32, .layers = 1, .heads = 2, .head_dim = 16}).build();
  for (size_t size = 0; size < file.size(); size += size < 12000 ? 1 : 997) {
    ASSERT_NE(gguf_error(file.substr(0, size)), "") << size;
  }
}

TEST(Gguf, NamesTheFile) {
  EXPECT_SAYS(test::message_of<Error>([] { GgufFile file("/nonexistent/x.gguf"); }),
              "/nonexistent/x.gguf: cannot be opened");
  const test::ScratchDirectory scratch;
  EXPECT_SAYS(test::message_of<Error>([&] { GgufFile file(scratch.path()); }), "is not a regular file");
  test::write_file(scratch / "empty.gguf", "");
  EXPECT_SAYS(test::message_of<Error>([&] { GgufFile file(scratch / "empty.gguf"); }),
              "empty.gguf: is not a GGUF file");
}

}  // namespace
}  // namespace svq::convert
