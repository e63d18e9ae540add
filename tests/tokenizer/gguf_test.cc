#include "converter/models/tokenizer/gguf_tokenizer.h"

#include <gtest/gtest.h>

#include <cmath>

#include "converter/base/error.h"
#include "tests/tokenizer/tables.h"

namespace svq::test {
namespace {

using convert::GgufTokenizer;
using Ids = std::vector<int32_t>;

// The printable bytes, "Ġ" for a space, "Ċ" for a line feed, one merge, two special tokens and a placeholder.
GgufTokenizer byte_level_gguf() {
  GgufTokenizer g;
  g.model = "gpt2";
  g.pre = "gpt-2";
  for (char c = '!'; c <= '~'; ++c) g.tokens.push_back(std::string(1, c));  // 0 to 93
  g.tokens.insert(g.tokens.end(), {"\u0120", "\u010A", "\u0120a", "<|im_start|>", "<|im_end|>", "[PAD99]"});
  g.types.assign(g.tokens.size(), 1);
  g.types[97] = g.types[98] = 3;
  g.types[99] = 5;
  g.merges = {"\u0120 a"};
  g.eos = 98;
  g.chat_template =
      "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\\nYou are a test<|im_end|>\\n' }}{% endif %}";
  return g;
}

GgufTokenizer piece_level_gguf() {
  const rt::SentencePieceProto p = piece_model({"\u2581", "h", "i", "hi", "\u2581hi"}, true);
  GgufTokenizer g;
  g.model = "llama";
  for (const auto& e : p.pieces) {
    g.tokens.push_back(e.piece);
    g.types.push_back(e.type);
    g.scores.push_back(e.score);
  }
  g.bos = 1;
  g.eos = 2;
  g.unk = 0;
  return g;
}

TEST(Gguf, ByteLevel) {
  fb::TokenizerT t;
  fb::ChatT chat;
  EXPECT_TRUE(convert::read_gguf_tokenizer(byte_level_gguf(), t, chat).empty());
  EXPECT_EQ(t.pre_tokenizer, fb::PreTokenizer::Gpt2);
  EXPECT_EQ(t.eos, (std::vector<uint32_t>{98}));
  EXPECT_FALSE(t.add_bos);
  EXPECT_EQ(chat.format, fb::ChatFormat::ChatML);
  EXPECT_EQ(chat.default_system, "You are a test");
  const Loaded l = load(t, 100);
  EXPECT_EQ(l->encode("b a<|im_end|>\n", false, true), (Ids{'b' - '!', 96, 98, 95}));
  EXPECT_EQ(l->decode(Ids{'b' - '!', 96, 98, 95}, false), "b a\n");
  EXPECT_EQ(l->token_bytes(99), "");
}

TEST(Gguf, PreTokenizers) {
  const std::vector<std::tuple<const char*, fb::PreTokenizer, fb::Normalizer, bool>> known{
      {"smollm", fb::PreTokenizer::Smollm, fb::Normalizer::None, false},
      {"qwen2", fb::PreTokenizer::Qwen2, fb::Normalizer::Nfc, false},
      {"llama-bpe", fb::PreTokenizer::Llama3, fb::Normalizer::None, true}};
  for (const auto& [name, pre, normalizer, ignore] : known) {
    GgufTokenizer g = byte_level_gguf();
    g.pre = name;
    fb::TokenizerT t;
    fb::ChatT chat;
    convert::read_gguf_tokenizer(g, t, chat);
    EXPECT_EQ(t.pre_tokenizer, pre);
    EXPECT_EQ(t.normalizer, normalizer);
    EXPECT_EQ(t.ignore_merges, ignore);
  }
  GgufTokenizer g = byte_level_gguf();
  g.pre.clear();
  fb::TokenizerT t;
  fb::ChatT chat;
  EXPECT_EQ(convert::read_gguf_tokenizer(g, t, chat).size(), 1u) << "a warning";
}

TEST(Gguf, SentencePiece) {
  fb::TokenizerT t;
  fb::ChatT chat;
  const auto warnings = convert::read_gguf_tokenizer(piece_level_gguf(), t, chat);
  EXPECT_EQ(warnings.size(), 1u) << "no chat template";
  EXPECT_EQ(chat.format, fb::ChatFormat::None);
  EXPECT_TRUE(t.add_bos);
  const Loaded l = load(t, 300);
  EXPECT_EQ(l->encode("hi hi", true, false), (Ids{1, 263, 263}));
  GgufTokenizer g = piece_level_gguf();
  g.add_space_prefix = false;
  g.add_bos = false;
  convert::read_gguf_tokenizer(g, t, chat);
  EXPECT_EQ(load(t, 300)->encode("hi hi", true, false), (Ids{262, 263}));
}

struct BadGguf {
  const char* name;
  void (*spoil)(GgufTokenizer&);
  const char* expected;
  bool pieces = false;
};

class HostileGguf : public testing::TestWithParam<BadGguf> {};

TEST_P(HostileGguf, IsRefusedByName) {
  GgufTokenizer g = GetParam().pieces ? piece_level_gguf() : byte_level_gguf();
  GetParam().spoil(g);
  fb::TokenizerT t;
  fb::ChatT chat;
  try {
    convert::read_gguf_tokenizer(g, t, chat);
    FAIL() << "accepted";
  } catch (const convert::Error& e) {
    EXPECT_NE(std::string(e.what()).find(GetParam().expected), std::string::npos) << e.what();
    EXPECT_NE(std::string(e.what()).find("tokenizer.ggml."), std::string::npos) << e.what();
  }
}

INSTANTIATE_TEST_SUITE_P(
    Keys, HostileGguf,
    testing::Values(BadGguf{"Model", [](GgufTokenizer& g) { g.model = "bert"; }, "bert"},
                    BadGguf{"Pre", [](GgufTokenizer& g) { g.pre = "chameleon"; }, "chameleon"},
                    BadGguf{"NoTokens", [](GgufTokenizer& g) { g.tokens.clear(); }, "tokens"},
                    BadGguf{"Types", [](GgufTokenizer& g) { g.types.pop_back(); }, "token_type"},
                    BadGguf{"TypeValue", [](GgufTokenizer& g) { g.types[4] = 77; }, "token_type"},
                    BadGguf{"Duplicate", [](GgufTokenizer& g) { g.tokens[5] = "!"; }, "tokens 0 and 5"},
                    BadGguf{"NotUtf8", [](GgufTokenizer& g) { g.tokens[5] = "\xFF"; }, "UTF-8"},
                    BadGguf{"Merge", [](GgufTokenizer& g) { g.merges[0] = "ab"; }, "merges: entry 0"},
                    BadGguf{"MergeSpaces", [](GgufTokenizer& g) { g.merges[0] = "a b c"; }, "merges: entry 0"},
                    BadGguf{"MergeUnknown", [](GgufTokenizer& g) { g.merges[0] = "a \u0141"; }, "not a token"},
                    BadGguf{"MergeResult", [](GgufTokenizer& g) { g.merges[0] = "a b"; }, "\"ab\""},
                    BadGguf{"Bos", [](GgufTokenizer& g) { g.bos = 100; }, "bos_token_id"},
                    BadGguf{"Eos", [](GgufTokenizer& g) { g.eos = -7; }, "eos_token_id"},
                    BadGguf{"Pad", [](GgufTokenizer& g) { g.pad = INT64_MAX; }, "padding_token_id"},
                    BadGguf{"Scores", [](GgufTokenizer& g) { g.scores.clear(); }, "scores", true},
                    BadGguf{"ScoreNan", [](GgufTokenizer& g) { g.scores[262] = std::nanf(""); }, "score", true},
                    BadGguf{"NoTypes", [](GgufTokenizer& g) { g.types.clear(); }, "token_type", true},
                    BadGguf{"Bytes", [](GgufTokenizer& g) { g.types[20] = 1; }, "255 pieces", true},
                    BadGguf{"DuplicatePiece", [](GgufTokenizer& g) { g.tokens[262] = "h"; }, "twice", true},
                    BadGguf{"EmptyPiece", [](GgufTokenizer& g) { g.tokens[262].clear(); }, "empty", true}),
    [](const auto& i) { return i.param.name; });

}  // namespace
}  // namespace svq::test
