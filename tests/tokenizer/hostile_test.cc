// Tables from a hostile file: one sentence that names the field, or a tokenizer that works.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <functional>
#include <random>

#include "runtime/tokenizer/special_tokens.h"
#include "tests/tokenizer/tables.h"

namespace svq::test {
namespace {

using Proto = rt::SentencePieceProto;

std::string error_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const std::runtime_error& e) {
    return e.what();
  }
  return "";
}

struct BadBpe {
  const char* name;
  void (*spoil)(fb::TokenizerT&);
  const char* expected;  // in the message
  uint32_t vocab = 260;
};

fb::TokenizerT good() {
  fb::TokenizerT t = byte_tables();
  add_merge(t, 'a', 'b');  // 256
  t.bos = static_cast<int32_t>(add_special(t, "<s>"));
  t.eos = {257};
  return t;
}

class HostileBpe : public testing::TestWithParam<BadBpe> {};

TEST_P(HostileBpe, IsRefusedByName) {
  fb::TokenizerT t = good();
  EXPECT_EQ(error_of([&] { load(t, 260); }), "");
  GetParam().spoil(t);
  const std::string error = error_of([&] { load(t, GetParam().vocab); });
  EXPECT_NE(error.find(GetParam().expected), std::string::npos) << error;
}

const std::vector<BadBpe> kBadBpe{
    BadBpe{"NoTokens", [](fb::TokenizerT& t) { t.token_offsets.clear(); }, "token_offsets"},
    BadBpe{"MoreTokensThanRows", [](fb::TokenizerT&) {}, "token_offsets", 100},
    BadBpe{"NoVocabulary", [](fb::TokenizerT&) {}, "vocabulary", 0},
    BadBpe{"OffsetsFall", [](fb::TokenizerT& t) { t.token_offsets[9] = 2; }, "token_offsets falls"},
    BadBpe{"OffsetsStartLate", [](fb::TokenizerT& t) { t.token_offsets[0] = 1; }, "begin with 0"},
    BadBpe{"OffsetsBeyondBytes", [](fb::TokenizerT& t) { t.token_offsets.back() += 1; }, "token_bytes"},
    BadBpe{"OffsetsHuge", [](fb::TokenizerT& t) { t.token_offsets.back() = UINT32_MAX; }, "token_bytes"},
    BadBpe{"BytesMissing", [](fb::TokenizerT& t) { t.token_bytes.clear(); }, "token_bytes"},
    BadBpe{"ResultsMissing", [](fb::TokenizerT& t) { t.merge_results.clear(); }, "merge_results"},
    BadBpe{"MergeOutOfRange", [](fb::TokenizerT& t) { t.merges[0] = fb::Merge(900, 'b'); }, "merges: entry 0"},
    BadBpe{"ResultOutOfRange", [](fb::TokenizerT& t) { t.merge_results[0] = UINT32_MAX; }, "merges: entry 0"},
    BadBpe{"ResultWrong", [](fb::TokenizerT& t) { t.merge_results[0] = 'c'; }, "concatenation"},
    BadBpe{"MergeOfNothing",
           [](fb::TokenizerT& t) {
             const uint32_t nothing = add_token(t, "");
             t.merges[0] = fb::Merge('a', nothing);
             t.merge_results[0] = 'a';
           },
           "concatenation"},
    BadBpe{"SpecialOutOfRange", [](fb::TokenizerT& t) { t.special[0]->id = 260; }, "special: token 260"},
    BadBpe{"SpecialEmpty", [](fb::TokenizerT& t) { t.special[0]->content.clear(); }, "special"},
    BadBpe{"SpecialLong", [](fb::TokenizerT& t) { t.special[0]->content.assign(5000, 'x'); }, "special"},
    BadBpe{"SpecialTwice", [](fb::TokenizerT& t) { add_special(t, 'x', "<s>"); }, "same content"},
    BadBpe{"SpecialIdTwice", [](fb::TokenizerT& t) { add_special(t, 257, "<t>"); }, "twice"},
    BadBpe{"Bos", [](fb::TokenizerT& t) { t.bos = 260; }, "bos"},
    BadBpe{"BosNegative", [](fb::TokenizerT& t) { t.bos = -2; }, "bos"},
    BadBpe{"Pad", [](fb::TokenizerT& t) { t.pad = INT32_MAX; }, "pad"},
    BadBpe{"Unk", [](fb::TokenizerT& t) { t.unk = 4000; }, "unk"},
    BadBpe{"Eos", [](fb::TokenizerT& t) { t.eos.push_back(UINT32_MAX); }, "eos"},
    BadBpe{"EosMany", [](fb::TokenizerT& t) { t.eos.assign(1000, 1); }, "eos"},
    BadBpe{"AddBosWithout", [](fb::TokenizerT& t) { t.bos = -1, t.add_bos = true; }, "add_bos"},
    BadBpe{"AddEosWithout", [](fb::TokenizerT& t) { t.eos.clear(), t.add_eos = true; }, "add_eos"},
    BadBpe{"Kind", [](fb::TokenizerT& t) { t.kind = static_cast<fb::TokenizerKind>(9); }, "kind"},
    BadBpe{"PreTokenizer", [](fb::TokenizerT& t) { t.pre_tokenizer = static_cast<fb::PreTokenizer>(9); },
           "pre_tokenizer"},
    BadBpe{"Normalizer", [](fb::TokenizerT& t) { t.normalizer = static_cast<fb::Normalizer>(9); }, "normalizer"},
    BadBpe{"NoModel", [](fb::TokenizerT& t) { t.kind = fb::TokenizerKind::SentencePiece; }, "sentencepiece"}};

INSTANTIATE_TEST_SUITE_P(Fields, HostileBpe, testing::ValuesIn(kBadBpe), [](const auto& i) { return i.param.name; });

void use(const rt::Tokenizer& t) {
  const auto ids = t.encode("a ab <s>\n  12 \xC3\xA9\xFF", true, true);
  for (int32_t id : ids) ASSERT_TRUE(id >= 0 && static_cast<uint32_t>(id) < t.vocab());
  t.decode(ids, true);
  for (int32_t id = -2; id < static_cast<int32_t>(t.vocab()) + 2; ++id) {
    t.token_bytes(id, true);
    t.is_control(id);
    t.is_end(id);
  }
}

// Bytes of the serialised tables changed at random: what passes the verifier is refused or works.
TEST(HostileTables, RandomFlips) {
  fb::TokenizerT t = good();
  for (int i = 0; i < 30; ++i) add_merge(t, static_cast<uint32_t>('a' + i % 5), static_cast<uint32_t>('a' + i % 7));
  flatbuffers::FlatBufferBuilder builder;
  builder.Finish(fb::CreateTokenizer(builder, &t));
  const std::vector<uint8_t> clean(builder.GetBufferPointer(), builder.GetBufferPointer() + builder.GetSize());
  std::mt19937 rng(1);
  int verified = 0, loaded = 0;
  for (int i = 0; i < 6000; ++i) {
    std::vector<uint8_t> bytes = clean;
    for (uint32_t n = 1 + rng() % 4; n > 0; --n) bytes[rng() % bytes.size()] = static_cast<uint8_t>(rng());
    flatbuffers::Verifier verifier(bytes.data(), bytes.size());
    if (!verifier.VerifyBuffer<fb::Tokenizer>(nullptr)) continue;
    ++verified;
    const std::string error = error_of([&] {
      const auto tokenizer = rt::Tokenizer::create(*flatbuffers::GetRoot<fb::Tokenizer>(bytes.data()), 300);
      use(*tokenizer);
      ++loaded;
    });
    EXPECT_TRUE(error.empty() || error.find("tokenizer") != std::string::npos) << error;
  }
  std::printf("6000 damaged tables: %d pass the verifier, %d of them load\n", verified, loaded);
  EXPECT_GT(verified, 1000);
  EXPECT_GT(loaded, 100);
}

fb::TokenizerT sentencepiece_with(const std::string& bytes) {
  fb::TokenizerT t;
  t.kind = fb::TokenizerKind::SentencePiece;
  t.sentencepiece.assign(bytes.begin(), bytes.end());
  return t;
}

const std::vector<std::string> kSomePieces{"\xE2\x96\x81", "h", "i", "hi", "\xE2\x96\x81hi", "a", "b", "ab"};

struct BadProto {
  const char* name;
  void (*spoil)(Proto&);
  const char* expected;
};

class HostileProto : public testing::TestWithParam<BadProto> {};

TEST_P(HostileProto, IsRefusedByName) {
  Proto p = piece_model(kSomePieces, true);
  GetParam().spoil(p);
  const std::string error = error_of([&] { load(sentencepiece_with(p.serialize()), 300); });
  EXPECT_NE(error.find("tokenizer.sentencepiece"), std::string::npos) << error;
  EXPECT_NE(error.find(GetParam().expected), std::string::npos) << error;
}

// A charsmap whose trie has 256 units of `unit`, and one text.
std::string charsmap(uint32_t unit) {
  std::string map{'\0', '\4', '\0', '\0'};
  for (int i = 0; i < 256; ++i) map.append(reinterpret_cast<const char*>(&unit), 4);
  return map + std::string("x\0", 2);
}

INSTANTIATE_TEST_SUITE_P(
    Fields, HostileProto,
    testing::Values(BadProto{"NoPieces", [](Proto& p) { p.pieces.clear(); }, "no pieces"},
                    BadProto{"NoUnknown", [](Proto& p) { p.pieces[0].type = Proto::kNormal; }, "unknown"},
                    BadProto{"TwoUnknown", [](Proto& p) { p.pieces.back().type = Proto::kUnknown; }, "unknown"},
                    BadProto{"Twice", [](Proto& p) { p.pieces.push_back(p.pieces.back()); }, "twice"},
                    BadProto{"Empty", [](Proto& p) { p.pieces.back().piece.clear(); }, "empty"},
                    BadProto{"Nul", [](Proto& p) { p.pieces.back().piece = std::string("a\0b", 3); }, "NUL"},
                    BadProto{"NotUtf8", [](Proto& p) { p.pieces.back().piece = "\xC3("; }, "UTF-8"},
                    BadProto{"Long", [](Proto& p) { p.pieces.back().piece.assign(9000, 'x'); }, "longer"},
                    BadProto{"Nan", [](Proto& p) { p.pieces.back().score = std::nanf(""); }, "score"},
                    BadProto{"ByteName", [](Proto& p) { p.pieces[9].piece = "<0xZZ>"; }, "byte"},
                    BadProto{"BytesMissing", [](Proto& p) { p.pieces.erase(p.pieces.begin() + 9); }, "255 pieces"},
                    BadProto{"BytesUnused", [](Proto& p) { p.byte_fallback = false; }, "256 pieces"},
                    BadProto{"NoNormal", [](Proto& p) { p.pieces.resize(259); }, "normal"},
                    BadProto{"Type", [](Proto& p) { p.pieces[5].type = static_cast<Proto::Type>(99); }, "type"},
                    BadProto{"ModelType", [](Proto& p) { p.model_type = 3; }, "unigram and BPE"},
                    BadProto{"TooManyPieces",
                             [](Proto& p) {
                               for (int i = 0; i < 60; ++i) p.pieces.push_back({std::to_string(i), 0, Proto::kNormal});
                             },
                             "rows"},
                    BadProto{"CharsmapShort", [](Proto& p) { p.charsmap = "abc"; }, "charsmap"},
                    BadProto{"CharsmapSize", [](Proto& p) { p.charsmap = std::string("\xFF\xFF\xFF\x7F", 4) + "abcd"; },
                             "charsmap"},
                    BadProto{"CharsmapAstray", [](Proto& p) { p.charsmap = charsmap(0x7FFFFC00); }, "charsmap"},
                    BadProto{"CharsmapValue", [](Proto& p) { p.charsmap = charsmap(0x100); }, "charsmap"}),
    [](const auto& i) { return i.param.name; });

TEST(HostileSentencePiece, TruncationsAndFlips) {
  Proto model = piece_model(kSomePieces, true);
  model.pieces.push_back({"<u>", 0, Proto::kUserDefined});
  const std::string clean = model.serialize();
  std::mt19937 rng(2);
  int loaded = 0, tried = 0;
  const auto attempt = [&](const std::string& bytes) {
    ++tried;
    const std::string error = error_of([&] {
      const Loaded l = load(sentencepiece_with(bytes), 300);
      use(*l.tokenizer);
      ++loaded;
    });
    EXPECT_TRUE(error.empty() || error.find("sentencepiece") != std::string::npos) << error;
  };
  for (size_t n = 0; n < clean.size(); n += 7) attempt(clean.substr(0, n));
  for (int i = 0; i < 3000; ++i) {
    std::string bytes = clean;
    for (uint32_t n = 1 + rng() % 3; n > 0; --n) {
      // Half of them in the specifications behind the pieces.
      const size_t at = rng() % 2 ? rng() % bytes.size() : bytes.size() - 1 - rng() % 60;
      bytes[at] = static_cast<char>(rng());
    }
    attempt(bytes);
  }
  for (int i = 0; i < 500; ++i) {
    std::string bytes(rng() % 64, '\0');
    for (char& c : bytes) c = static_cast<char>(rng());
    attempt(bytes);
  }
  std::printf("%d damaged SentencePiece models: %d load\n", tried, loaded);
  EXPECT_GT(loaded, 100);
}

}  // namespace
}  // namespace svq::test
