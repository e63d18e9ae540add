// Equality with PyPI tokenizers and sentencepiece on frozen texts (tests/golden/tokenizer/make_golden.py).
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "converter/models/tokenizer/hf_tokenizer.h"
#include "tests/tokenizer/model_dir.h"
#include "tests/tokenizer/tables.h"

namespace svq::test {
namespace {

using nlohmann::json;
const std::filesystem::path kGolden = std::filesystem::path(SVQ_GOLDEN_DIR) / "tokenizer";

json read_json(const char* name) {
  std::ifstream in(kGolden / name);
  return json::parse(in);
}

class GoldenByteLevel : public testing::TestWithParam<const char*> {};

TEST_P(GoldenByteLevel, EqualsTokenizers) {
  const json golden = read_json("byte_level.json");
  json file = golden["tokenizer"];
  const json& pipeline = golden["pipelines"][GetParam()];
  file["pre_tokenizer"] = pipeline["pre_tokenizer"];
  file["normalizer"] = pipeline["normalizer"];
  file["model"]["ignore_merges"] = pipeline["ignore_merges"];
  const ModelDir dir;
  dir.write("tokenizer.json", file.dump());
  fb::TokenizerT tables;
  fb::ChatT chat;
  convert::read_hf_tokenizer(dir.path(), tables, chat);
  const Loaded l = load(tables, 2000);
  size_t tokens = 0;
  for (const json& c : golden["cases"]) {
    const auto text = c["text"].get<std::string>();
    const auto expected = c["ids"][GetParam()].get<std::vector<int32_t>>();
    EXPECT_EQ(l->encode(text, false, true), expected) << text;
    tokens += expected.size();
  }
  EXPECT_GT(tokens, 1000u);
}

INSTANTIATE_TEST_SUITE_P(Pipelines, GoldenByteLevel,
                         testing::Values("gpt2", "gpt2_prefix", "llama3", "qwen2", "smollm"),
                         [](const auto& i) { return std::string(i.param); });

class GoldenSentencePiece : public testing::TestWithParam<const char*> {};

TEST_P(GoldenSentencePiece, EqualsSentencePiece) {
  const json golden = read_json("sentencepiece.json");
  const ModelDir dir;
  std::filesystem::copy_file(kGolden / (std::string(GetParam()) + ".model"), dir.path() / "tokenizer.model");
  fb::TokenizerT tables;
  fb::ChatT chat;
  convert::read_hf_tokenizer(dir.path(), tables, chat);
  const Loaded l = load(tables, 2000);
  size_t tokens = 0;
  for (const json& c : golden["cases"]) {
    const auto text = c["text"].get<std::string>();
    const auto expected = c["ids"][GetParam()].get<std::vector<int32_t>>();
    EXPECT_EQ(l->encode(text, false, false), expected) << text;
    tokens += expected.size();
  }
  EXPECT_GT(tokens, 1000u);
}

INSTANTIATE_TEST_SUITE_P(Models, GoldenSentencePiece, testing::Values("sp_bpe", "sp_unigram"),
                         [](const auto& i) { return std::string(i.param); });

}  // namespace
}  // namespace svq::test
