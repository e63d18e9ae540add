#include "converter/models/tokenizer/hf_tokenizer.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

#include "converter/base/error.h"
#include "converter/models/tokenizer/chat_template.h"
#include "tests/tokenizer/model_dir.h"
#include "tests/tokenizer/tables.h"

namespace svq::test {
namespace {

using nlohmann::json;
using Ids = std::vector<int32_t>;

json byte_level_json() {
  json vocab = json::object();
  for (char c = '!'; c <= '~'; ++c) vocab[std::string(1, c)] = c - '!';
  vocab["\u0120"] = 94;
  vocab["\u010A"] = 95;
  vocab["\u0120a"] = 96;
  return {{"added_tokens", {{{"id", 97}, {"content", "<|end|>"}, {"special", true}}}},
          {"normalizer", nullptr},
          {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}}},
          {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", {"\u0120 a"}}}}};
}

// What Llama-2 directories look like without tokenizer.model.
json piece_level_json() {
  json vocab = json::object();
  const rt::SentencePieceProto p = piece_model({"\u2581", "h", "i", "hi", "\u2581h", "\u2581hi"}, true);
  for (size_t i = 0; i < p.pieces.size(); ++i) vocab[p.pieces[i].piece] = i;
  json added = json::array();
  for (int i = 0; i < 3; ++i)
    added.push_back({{"id", i}, {"content", p.pieces[static_cast<size_t>(i)].piece}, {"special", true}});
  json merges = json::array({{"h", "i"}, {"\u2581", "h"}, {"\u2581", "hi"}, {"\u2581h", "i"}});
  return {{"added_tokens", added},
          {"normalizer",
           {{"type", "Sequence"},
            {"normalizers",
             {{{"type", "Prepend"}, {"prepend", "\u2581"}},
              {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "\u2581"}}}}}},
          {"pre_tokenizer", nullptr},
          {"model",
           {{"type", "BPE"}, {"byte_fallback", true}, {"unk_token", "<unk>"}, {"vocab", vocab}, {"merges", merges}}}};
}

struct Result {
  fb::TokenizerT tables;
  fb::ChatT chat;
  std::vector<std::string> warnings;
};
Result read(const ModelDir& dir) {
  Result r;
  r.warnings = convert::read_hf_tokenizer(dir.path(), r.tables, r.chat);
  return r;
}

TEST(HuggingFace, ByteLevelAndItsConfiguration) {
  const ModelDir dir;
  EXPECT_FALSE(convert::has_hf_tokenizer(dir.path()));
  json file = byte_level_json();
  file["model"]["merges"] = json::array({json::array({"\u0120", "a"})});  // the newer form
  dir.write("tokenizer.json", file.dump());
  dir.write("tokenizer_config.json",
            R"({"bos_token": {"content": "<|end|>"}, "eos_token": "<|end|>", "add_bos_token": true, "pad_token": null,
                "chat_template": [{"name": "tools", "template": "x"}, {"name": "default", "template": "[INST] {{x}}"}]})");
  dir.write("generation_config.json",
            R"({"eos_token_id": [97, 3, 5000], "temperature": 0.5, "top_k": 40, "top_p": 0.9, "max_new_tokens": 64})");
  EXPECT_TRUE(convert::has_hf_tokenizer(dir.path()));
  const Result r = read(dir);
  EXPECT_TRUE(r.warnings.empty());
  EXPECT_EQ(r.tables.bos, 97);
  EXPECT_EQ(r.tables.pad, -1);
  EXPECT_EQ(r.tables.eos, (std::vector<uint32_t>{97, 3})) << "an id that is no token is left out";
  EXPECT_TRUE(r.tables.add_bos);
  EXPECT_EQ(r.chat.format, fb::ChatFormat::Mistral);
  EXPECT_EQ(load(r.tables, 98)->encode("b a<|end|>", true, true), (Ids{97, 'b' - '!', 96, 97}));
  const auto g = convert::read_generation_config(dir.path());
  EXPECT_FLOAT_EQ(g.temperature, 0.5f);
  EXPECT_EQ(g.top_k, 40);
  EXPECT_FLOAT_EQ(g.top_p, 0.9f);
  EXPECT_EQ(g.max_tokens, 64);
  EXPECT_LT(g.min_p, 0);
}

TEST(HuggingFace, BeginOfTextFromThePostProcessor) {
  const ModelDir dir;
  json file = byte_level_json();
  file["post_processor"] = {{"type", "Sequence"},
                            {"processors",
                             {{{"type", "ByteLevel"}},
                              {{"type", "TemplateProcessing"},
                               {"single", {{{"SpecialToken", {{"id", "<|end|>"}}}}, {{"Sequence", {{"id", "A"}}}}}}}}}};
  dir.write("tokenizer.json", file.dump());
  dir.write("special_tokens_map.json", R"({"bos_token": "<|end|>"})");
  EXPECT_TRUE(read(dir).tables.add_bos);
}

TEST(HuggingFace, SentencePieceRebuilt) {
  const ModelDir dir;
  dir.write("tokenizer.json", piece_level_json().dump());
  dir.write("tokenizer_config.json", R"({"bos_token": "<s>", "eos_token": "</s>"})");
  const Result r = read(dir);
  EXPECT_EQ(r.tables.kind, fb::TokenizerKind::SentencePiece);
  EXPECT_EQ(r.tables.bos, 1);
  EXPECT_EQ(r.tables.eos, (std::vector<uint32_t>{2}));
  EXPECT_TRUE(r.tables.add_bos);
  EXPECT_EQ(load(r.tables, 300)->encode("hi hi</s>", true, true), (Ids{1, 264, 264, 2}));
}

TEST(HuggingFace, AddedTokensAmongSentencePieces) {
  rt::SentencePieceProto p = piece_model({"\u2581", "h", "<turn>"}, false);
  p.pieces.back().type = rt::SentencePieceProto::kUserDefined;
  const ModelDir dir;
  dir.write("tokenizer.model", p.serialize());
  dir.write("tokenizer_config.json",
            R"({"added_tokens_decoder": {"261": {"content": "<turn>", "special": true},
                "262": {"content": "<more>", "special": false}}})");
  const Result r = read(dir);
  const Loaded l = load(r.tables, 300);
  EXPECT_EQ(l->encode("h<turn>", false, true), (Ids{260, 261}));
  EXPECT_EQ(l->encode("<turn>", false, false).size(), 6u) << "a control token is not found in a user's text";
  EXPECT_EQ(l->encode("h<more>h", false, false), (Ids{260, 262, 260}));
  EXPECT_EQ(l->decode(Ids{260, 261, 262}, false), "h<more>");
}

struct BadTokenizerJson {
  const char* name;
  void (*spoil)(json&);
  const char* expected;
  bool pieces = false;
};

class HostileTokenizerJson : public testing::TestWithParam<BadTokenizerJson> {};

TEST_P(HostileTokenizerJson, IsRefusedByName) {
  const ModelDir dir;
  json file = GetParam().pieces ? piece_level_json() : byte_level_json();
  GetParam().spoil(file);
  dir.write("tokenizer.json", file.dump());
  try {
    read(dir);
    FAIL() << "accepted";
  } catch (const convert::Error& e) {
    EXPECT_NE(std::string(e.what()).find("tokenizer.json"), std::string::npos) << e.what();
    EXPECT_NE(std::string(e.what()).find(GetParam().expected), std::string::npos) << e.what();
  }
}

INSTANTIATE_TEST_SUITE_P(
    Fields, HostileTokenizerJson,
    testing::Values(
        BadTokenizerJson{"NotAnObject", [](json& f) { f = json::array({1}); }, "object"},
        BadTokenizerJson{"NoModel", [](json& f) { f.erase("model"); }, "model"},
        BadTokenizerJson{"ModelType", [](json& f) { f["model"]["type"] = "WordPiece"; }, "WordPiece"},
        BadTokenizerJson{"ModelTypeNumber", [](json& f) { f["model"]["type"] = 3; }, "model.type"},
        BadTokenizerJson{"Vocab", [](json& f) { f["model"]["vocab"] = "x"; }, "model.vocab"},
        BadTokenizerJson{"VocabId", [](json& f) { f["model"]["vocab"]["a"] = 1e9; }, "model.vocab"},
        BadTokenizerJson{"VocabIdHuge", [](json& f) { f["model"]["vocab"]["a"] = 4000000000u; }, "model.vocab"},
        BadTokenizerJson{"VocabIdNegative", [](json& f) { f["model"]["vocab"]["a"] = -1; }, "model.vocab"},
        BadTokenizerJson{"VocabIdTwice", [](json& f) { f["model"]["vocab"]["a"] = 0; }, "both token 0"},
        BadTokenizerJson{"Merges", [](json& f) { f["model"]["merges"] = 4; }, "model.merges"},
        BadTokenizerJson{"MergeTriple",
                         [](json& f) {
                           f["model"]["merges"][0] = {"a", "b", "c"};
                         },
                         "entry 0"},
        BadTokenizerJson{"MergeUnknown", [](json& f) { f["model"]["merges"][0] = "a \u0141"; }, "not a token"},
        BadTokenizerJson{"Normalizer",
                         [](json& f) {
                           f["normalizer"] = {{"type", "Lowercase"}};
                         },
                         "Lowercase"},
        BadTokenizerJson{"PreTokenizer",
                         [](json& f) {
                           f["pre_tokenizer"] = {{"type", "Whitespace"}};
                         },
                         "Whitespace"},
        BadTokenizerJson{"Regex",
                         [](json& f) {
                           f["pre_tokenizer"] = {
                               {"type", "Sequence"},
                               {"pretokenizers",
                                {{{"type", "Split"},
                                  {"pattern", {{"Regex", "[a-z]+"}}},
                                  {"behavior", "Isolated"},
                                  {"invert", false}},
                                 {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}}}};
                         },
                         "[a-z]+"},
        BadTokenizerJson{"Suffix", [](json& f) { f["model"]["end_of_word_suffix"] = "</w>"; }, "end_of_word_suffix"},
        BadTokenizerJson{"Unk", [](json& f) { f["model"]["unk_token"] = "<nothing>"; }, "unk_token"},
        BadTokenizerJson{"AddedId", [](json& f) { f["added_tokens"][0]["id"] = "x"; }, "added_tokens[0].id"},
        BadTokenizerJson{"AddedHuge", [](json& f) { f["added_tokens"][0]["id"] = 1u << 31; }, "added_tokens[0].id"},
        BadTokenizerJson{"AddedContent", [](json& f) { f["added_tokens"][0].erase("content"); },
                         "added_tokens[0].content"},
        BadTokenizerJson{"AddedSingleWord", [](json& f) { f["added_tokens"][0]["single_word"] = true; }, "single_word"},
        BadTokenizerJson{"AddedClash", [](json& f) { f["added_tokens"][0]["id"] = 5; }, "token 5"},
        BadTokenizerJson{"PiecesNormalizer",
                         [](json& f) {
                           f["normalizer"] = {{"type", "NFKC"}};
                         },
                         "NFKC", true},
        BadTokenizerJson{
            "PiecesMergeOrder",
            [](json& f) {
              f["model"]["merges"] = json::array({{"\u2581", "hi"}, {"h", "i"}, {"\u2581h", "i"}, {"\u2581", "h"}});
            },
            "SentencePiece", true},
        BadTokenizerJson{"PiecesMergeMissing", [](json& f) { f["model"]["merges"].erase(1); }, "SentencePiece", true},
        BadTokenizerJson{"PiecesHole", [](json& f) { f["model"]["vocab"]["hi"] = 999; }, "no token", true}),
    [](const auto& i) { return i.param.name; });

TEST(HuggingFace, BadFilesAreNamed) {
  const auto error = [](const ModelDir& dir) {
    try {
      read(dir);
    } catch (const convert::Error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  const ModelDir empty;
  EXPECT_NE(error(empty).find("neither tokenizer.json nor tokenizer.model"), std::string::npos);
  const ModelDir invalid;
  invalid.write("tokenizer.json", "{\"model\": ");
  EXPECT_NE(error(invalid).find("not valid JSON"), std::string::npos);
  const ModelDir bytes;
  bytes.write("tokenizer.json", "{\"a\": \"\xFF\"}");
  EXPECT_NE(error(bytes).find("not valid JSON"), std::string::npos);
  const ModelDir deep;
  deep.write("tokenizer.json", "{\"a\":" + std::string(1000000, '['));
  EXPECT_NE(error(deep).find("nested"), std::string::npos);
  const ModelDir model;
  model.write("tokenizer.model", "this is no model");
  EXPECT_NE(error(model).find("tokenizer.model"), std::string::npos);
  const ModelDir config;
  config.write("tokenizer.json", byte_level_json().dump());
  config.write("tokenizer_config.json", R"({"eos_token": "<nothing>"})");
  EXPECT_NE(error(config).find("tokenizer_config.json: eos_token"), std::string::npos) << error(config);
  const ModelDir generation;
  generation.write("generation_config.json", R"({"temperature": "hot"})");
  EXPECT_THROW(convert::read_generation_config(generation.path()), convert::Error);
}

TEST(HuggingFace, RandomFlipsGiveErrorsOrTokenizers) {
  std::mt19937 rng(9);
  int loaded = 0, refused = 0;
  for (const bool pieces : {false, true}) {
    const std::string clean = (pieces ? piece_level_json() : byte_level_json()).dump();
    const ModelDir dir;
    for (int i = 0; i < 700; ++i) {
      std::string text = clean;
      // Half of them in the quoted texts, which leaves the JSON valid more often.
      for (uint32_t n = 1 + rng() % 2; n > 0; --n)
        text[rng() % text.size()] = static_cast<char>(rng() % 2 ? rng() : '0' + rng() % 10);
      dir.write("tokenizer.json", text);
      try {
        const Result r = read(dir);
        load(r.tables, convert::read_generation_config(dir.path()).max_tokens < 0 ? 5000000 : 1)
            ->encode("hi a\n", true, true);
        ++loaded;
      } catch (const convert::Error&) {
        ++refused;
      }
    }
  }
  EXPECT_GT(loaded, 20);
  EXPECT_GT(refused, 100);
}

TEST(ChatTemplate, Formats) {
  using convert::recognise_chat_format;
  EXPECT_EQ(recognise_chat_format("{{ '<|im_start|>' + role }}"), fb::ChatFormat::ChatML);
  EXPECT_EQ(recognise_chat_format("<|start_header_id|>"), fb::ChatFormat::Llama3);
  EXPECT_EQ(recognise_chat_format("<start_of_turn>"), fb::ChatFormat::Gemma);
  EXPECT_EQ(recognise_chat_format("[INST] <<SYS>>"), fb::ChatFormat::Llama2);
  EXPECT_EQ(recognise_chat_format("[INST]"), fb::ChatFormat::Mistral);
  EXPECT_EQ(recognise_chat_format("<|user|>"), fb::ChatFormat::None);
  fb::ChatT chat;
  EXPECT_NE(convert::fill_chat("<|user|>", chat)->find("none of the known formats"), std::string::npos);
  EXPECT_TRUE(convert::fill_chat("\xFF<|im_start|>", chat).has_value());
  EXPECT_EQ(chat.source_template, "");
}

TEST(ChatTemplate, DefaultSystemMessage) {
  using convert::default_system_message;
  EXPECT_EQ(default_system_message("{{- \"<|im_start|>system\\nIt's \\\"fine\\\"<|im_end|>\\n\" }}"), "It's \"fine\"");
  EXPECT_EQ(default_system_message("{{'<|im_start|>system\nA\nB<|im_end|>'}}"), "A\nB");
  EXPECT_EQ(default_system_message("{# '<|im_start|>system\nno<|im_end|>' #}<|im_start|>system\nyes<|im_end|>"), "yes");
  EXPECT_EQ(default_system_message("{{ '<|im_start|>system\n' + messages[0].content + '<|im_end|>' }}"), std::nullopt);
  EXPECT_EQ(default_system_message("{%- set default_system_message = 'Be kind' -%}"), "Be kind");
  EXPECT_EQ(default_system_message("{%- set default_system_message = 'Today is ' + today -%}"), std::nullopt);
  EXPECT_EQ(default_system_message("{{ 'open"), std::nullopt);
  EXPECT_EQ(default_system_message("{{ 'open\\"), std::nullopt);
}

}  // namespace
}  // namespace svq::test
