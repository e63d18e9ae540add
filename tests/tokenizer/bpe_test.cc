#include <gtest/gtest.h>

#include <chrono>
#include <random>
#include <thread>

#include "runtime/tokenizer/bpe.h"
#include "tests/tokenizer/tables.h"

namespace svq::test {
namespace {

using Ids = std::vector<int32_t>;

// "abc" and what leads to it; the rank decides, not the place in the text.
fb::TokenizerT abc() {
  fb::TokenizerT t = byte_tables();
  const uint32_t bc = add_merge(t, 'b', 'c');  // 256
  add_merge(t, 'a', 'b');                      // 257
  add_merge(t, 'a', bc);                       // 258: abc
  add_merge(t, ' ', 'a');                      // 259
  add_merge(t, 'a', 'a');                      // 260
  return t;
}

TEST(Bpe, LowestRankFirstThenLeftmost) {
  const Loaded t = load(abc(), 300);
  EXPECT_EQ(t->encode("abc", false, false), (Ids{258}));
  EXPECT_EQ(t->encode("abab", false, false), (Ids{257, 257}));
  EXPECT_EQ(t->encode("aaa", false, false), (Ids{260, 'a'}));
  EXPECT_EQ(t->encode("x abc", false, false), (Ids{'x', ' ', 258}));
  EXPECT_EQ(t->encode("", false, false), Ids{});
  EXPECT_EQ(t->decode(Ids{'x', 259, 257}, false), "x aab");
}

TEST(Bpe, IgnoreMergesTakesAWholePiece) {
  fb::TokenizerT t = abc();
  const auto whole = static_cast<int32_t>(add_token(t, "zyx"));
  EXPECT_EQ(load(t, 300)->encode("zyx", false, false), (Ids{'z', 'y', 'x'}));
  t.ignore_merges = true;
  EXPECT_EQ(load(t, 300)->encode("zyx", false, false), Ids{whole});
  EXPECT_EQ(load(t, 300)->encode("zyxz", false, false), (Ids{'z', 'y', 'x', 'z'}));
}

TEST(Bpe, PrefixSpace) {
  fb::TokenizerT t = abc();
  t.add_prefix_space = true;
  EXPECT_EQ(load(t, 300)->encode("abc", false, false), (Ids{' ', 258}));
  EXPECT_EQ(load(t, 300)->encode(" abc", false, false), (Ids{' ', 258}));
  EXPECT_EQ(load(t, 300)->encode("", false, false), Ids{});
}

TEST(Bpe, MissingBytesAreUnknownOrLost) {
  fb::TokenizerT t;
  add_token(t, "a");
  add_token(t, "?");
  EXPECT_EQ(load(t, 2)->encode("abca", false, false), (Ids{0, 0}));
  t.unk = 1;
  EXPECT_EQ(load(t, 2)->encode("abca", false, false), (Ids{0, 1, 1, 0}));
}

TEST(Bpe, BeginAndEndOfText) {
  fb::TokenizerT t = byte_tables();
  t.bos = static_cast<int32_t>(add_special(t, "<s>"));
  t.eos = {add_special(t, "</s>"), 'x'};
  t.add_bos = t.add_eos = true;
  const Loaded l = load(t, 300);
  EXPECT_EQ(l->encode("a", true, false), (Ids{256, 'a', 257}));
  EXPECT_EQ(l->encode("a", false, false), (Ids{'a'}));
  EXPECT_EQ(l->encode("<s>", false, false), (Ids{'<', 's', '>'}));
  EXPECT_EQ(l->encode("<s>", false, true), (Ids{256}));
  EXPECT_EQ(l->decode(Ids{256, 'a', 257}, false), "a");
  EXPECT_EQ(l->decode(Ids{256, 'a', 257}, true), "<s>a</s>");
  EXPECT_TRUE(l->is_end(257) && l->is_end('x') && !l->is_end('y') && !l->is_end(-1));
  EXPECT_TRUE(l->is_control(256) && !l->is_control('a') && !l->is_control(-5) && !l->is_control(1 << 30));
  EXPECT_EQ(l->bos_text(), "<s>");
  EXPECT_EQ(l->special_id("</s>"), 257);
  EXPECT_EQ(l->special_id("a"), -1);
  EXPECT_EQ(l->token_bytes(256), "");
  EXPECT_EQ(l->token_bytes(256, true), "<s>");
  EXPECT_EQ(l->decode(Ids{-1, 'a', 299, 300, INT32_MAX, INT32_MIN}, true), "a");
}

TEST(Special, LeftmostLongest) {
  fb::TokenizerT t = byte_tables();
  add_special(t, "<a>");        // 256
  add_special(t, "<a><b>");     // 257
  add_special(t, "><b>c");      // 258
  add_special(t, "<a", false);  // 259: user-defined
  const Loaded l = load(t, 300);
  EXPECT_EQ(l->encode("<a><b>c", false, true), (Ids{257, 'c'}));
  EXPECT_EQ(l->encode("<a><bc", false, true), (Ids{256, '<', 'b', 'c'}));
  EXPECT_EQ(l->encode("x<a", false, true), (Ids{'x', 259}));
  EXPECT_EQ(l->encode("<a>", false, false), (Ids{259, '>'})) << "user-defined tokens are found in plain text too";
  EXPECT_EQ(l->decode(Ids{259, '>'}, false), "<a>");
}

TEST(Special, StripSwallowsSpace) {
  fb::TokenizerT t = byte_tables();
  add_special(t, "<l>", true, true, false);  // 256
  add_special(t, "<r>", true, false, true);  // 257
  const Loaded l = load(t, 300);
  EXPECT_EQ(l->encode("a \xC2\xA0\n<l> b", false, true), (Ids{'a', 256, ' ', 'b'}));
  EXPECT_EQ(l->encode("a <r> \t\xE3\x80\x80 b", false, true), (Ids{'a', ' ', 257, 'b'}));
  EXPECT_EQ(l->encode("<r>  <l>", false, true), (Ids{257, 256}));
}

TEST(Special, PiecesJoinButContentIsNeverSpecial) {
  fb::TokenizerT t = abc();
  const auto end = static_cast<int32_t>(add_special(t, "<e>"));
  const Loaded l = load(t, 300);
  using rt::Piece;
  const std::vector<Piece> merged{{"a", true}, {"bc", false}};
  EXPECT_EQ(l->encode(std::span(merged), false), Ids{258}) << "tokens span pieces";
  const std::vector<Piece> hostile{{"<e>", true}, {"x<e>", false}, {"<e>", true}};
  EXPECT_EQ(l->encode(std::span(hostile), false), (Ids{end, 'x', '<', 'e', '>', end}));
  const std::vector<Piece> split{{"<", true}, {"e>", false}, {"<e", false}, {">", true}, {"<", true}, {"e>", true}};
  EXPECT_EQ(l->encode(std::span(split), false), (Ids{'<', 'e', '>', '<', 'e', '>', end}));
}

TEST(Bpe, RandomBytesRoundTrip) {
  std::mt19937 rng(5);
  for (const auto pre : fb::EnumValuesPreTokenizer()) {
    fb::TokenizerT t = byte_tables(pre);
    for (int i = 0; i < 400; ++i) add_merge(t, rng() % tokens_of(t), rng() % 256);
    const Loaded l = load(t, tokens_of(t));
    for (int i = 0; i < 400; ++i) {
      std::string text(rng() % 80, '\0');
      for (char& c : text) c = static_cast<char>(rng() % 3 ? rng() % 256 : " \n1a'\xCC\x81\xE4"[rng() % 8]);
      const Ids ids = l->encode(text, false, true);
      EXPECT_EQ(l->decode(ids, false), text);
      std::string joined;
      for (int32_t id : ids) joined += l->token_bytes(id);
      EXPECT_EQ(joined, text);
    }
  }
}

// The two ways of merging agree with each other and with the definition.
TEST(Bpe, LongAndShortMergingAgreeWithTheDefinition) {
  std::mt19937 rng(11);
  std::vector<rt::MergeTable::Merge> merges;
  uint32_t next = 4;
  for (uint32_t rank = 0; rank < 40; ++rank) {
    const auto left = static_cast<uint32_t>(rng() % next), right = static_cast<uint32_t>(rng() % next);
    merges.push_back({left, right, rank, next++});
  }
  const rt::MergeTable table(merges);
  for (int round = 0; round < 300; ++round) {
    std::vector<uint32_t> ids(1 + rng() % 90);
    for (uint32_t& id : ids) id = rng() % 4;
    rt::MergeScratch scratch;
    scratch.ids = ids;
    rt::merge_pairs(table, scratch);
    for (;;) {  // the definition: the best pair, leftmost, until there is none
      size_t best = SIZE_MAX;
      const rt::MergeTable::Merge* merge = nullptr;
      for (size_t i = 0; i + 1 < ids.size(); ++i) {
        const auto* m = table.find(ids[i], ids[i + 1]);
        if (m && (!merge || m->rank < merge->rank)) merge = m, best = i;
      }
      if (!merge) break;
      ids[best] = merge->result;
      ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(best) + 1);
    }
    EXPECT_EQ(scratch.ids, ids);
  }
}

TEST(Bpe, LongPiecesAreNotQuadratic) {
  fb::TokenizerT t = byte_tables(fb::PreTokenizer::Qwen2);
  t.normalizer = fb::Normalizer::Nfc;
  uint32_t id = 'a';
  for (int i = 0; i < 10; ++i) id = add_merge(t, id, id);
  const Loaded l = load(t, tokens_of(t));
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(l->encode(std::string(1 << 20, 'a'), false, false).size(), 1024u);
  for (const char* unit : {" ", "\n", "!", "1", "\xC3\xA9", "\xCC\x81\xCC\xA3", "\xFF", "<|", " \n"}) {
    std::string text;
    while (text.size() < 400000) text += unit;
    EXPECT_EQ(l->decode(l->encode(text + "x", false, true), false).empty(), false);
  }
  // A quadratic step would take minutes.
  EXPECT_LT(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(), 20);
}

TEST(Bpe, ThreadsShareOneTokenizer) {
  const Loaded l = load(abc(), 300);
  const std::string text = "abc ab 123 aab\n";
  const Ids expected = l->encode(text, false, true);
  std::vector<std::thread> threads;
  std::vector<int> same(3, 0);
  for (int& n : same)
    threads.emplace_back([&] {
      for (int i = 0; i < 300; ++i) n += l->encode(text, false, true) == expected;
    });
  for (auto& t : threads) t.join();
  EXPECT_EQ(same, (std::vector<int>{300, 300, 300}));
}

}  // namespace
}  // namespace svq::test
