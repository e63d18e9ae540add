// The engine: GBNF's syntax, masks against a brute-force reading of every token, completion.
#include <algorithm>

#include "runtime/model/generate.h"
#include "tests/grammar/support.h"

namespace svq::test {

Vocabulary::Vocabulary(const std::vector<std::string>& extra, uint32_t n_random, uint32_t seed,
                       const std::vector<std::pair<std::string, bool>>& special) {
  fb::TokenizerT t;
  t.kind = fb::TokenizerKind::Bpe;
  std::vector<std::string> tokens;
  for (int i = 0; i < 256; ++i) tokens.emplace_back(1, static_cast<char>(i));
  static const std::string kText =
      "{\"name\": \"grip\", \"speed\": -12.5e3, \"on\": true, \"list\": [1, 2, null],\n  \"tëxt\": \"a\\\"b\\u00e9 "
      "\xE2\x82\xAC \xF0\x9F\x98\x80\"}\n"
      "the quick brown fox 0123456789 [[1],[]] {} \"\" ,\" \":\" \"},{\" <tool_call>\n</tool_call>";
  std::mt19937 rng(seed);
  for (uint32_t i = 0; i < n_random; ++i) {
    const size_t at = rng() % kText.size(), n = 2 + rng() % 6;
    tokens.push_back(kText.substr(at, n));
  }
  for (const std::string& e : extra) tokens.push_back(e);
  for (const auto& [content, control] : special) {
    auto s = std::make_unique<fb::SpecialTokenT>();
    s->id = static_cast<uint32_t>(tokens.size());
    s->content = content;
    s->control = control;
    if (t.eos.empty()) t.eos.push_back(s->id);
    tokens.push_back(content);
    t.special.push_back(std::move(s));
  }
  t.token_offsets.push_back(0);
  for (const std::string& token : tokens) {
    t.token_bytes.insert(t.token_bytes.end(), token.begin(), token.end());
    t.token_offsets.push_back(static_cast<uint32_t>(t.token_bytes.size()));
  }
  size_ = static_cast<uint32_t>(tokens.size());
  flatbuffers::FlatBufferBuilder builder;
  builder.Finish(fb::Tokenizer::Pack(builder, &t));
  tables_.assign(builder.GetBufferPointer(), builder.GetBufferPointer() + builder.GetSize());
  tokenizer_ = rt::Tokenizer::create(*flatbuffers::GetRoot<fb::Tokenizer>(tables_.data()), size_);
  trie_ = std::make_shared<const rt::TokenTrie>(*tokenizer_);
}

std::string random_text(rt::Matcher& matcher, const Vocabulary& v, std::mt19937& rng, uint32_t room) {
  std::string out;
  std::vector<int32_t> allowed;
  const auto draw = [&](const uint64_t* mask) {
    allowed.clear();
    for (uint32_t t = 0; t < v.size(); ++t) {
      if (admits(mask, static_cast<int32_t>(t))) allowed.push_back(static_cast<int32_t>(t));
    }
    if (allowed.empty()) return -1;
    return allowed[rng() % allowed.size()];
  };
  for (; room > 0; --room) {
    int32_t token = draw(matcher.mask());
    if (token < 0) {
      ADD_FAILURE() << "nothing can follow " << out;
      return out;
    }
    if (uint64_t{matcher.least_after(token)} + 2 > room && !v.tokenizer().is_end(token))
      token = draw(matcher.closing_mask());
    if (token < 0 || !matcher.accept(token)) {
      ADD_FAILURE() << "token " << token << " is admitted and refused after " << out;
      return out;
    }
    if (v.tokenizer().is_end(token)) return out;
    out += v.tokenizer().token_bytes(token);
  }
  ADD_FAILURE() << "not brought to an end: " << out;
  return out;
}

namespace {

// Whether the whole text is one of the grammar's, read byte by byte.
bool matches(const Vocabulary& v, const std::string& gbnf, std::string_view text) {
  rt::Matcher m(v.grammar(gbnf));
  for (const char c : text) {
    if (!m.accept(static_cast<uint8_t>(c))) return false;  // ids 0 … 255 are the bytes
  }
  return m.complete();
}

TEST(Gbnf, Syntax) {
  const Vocabulary v({}, 0);
  const std::string grammar = R"(# a comment
root ::= greeting ", "? name{1,2} ("!" | "?"+)
  | "\"q\\uote\"" [^a-c\n] . # another
greeting ::= "hi" |
  "ho"
name ::= [A-Z] [a-z\-]* [0-9]{2,})";
  for (const char* yes :
       {"hi, Bob12!", "hoA00!", "hi, Bob-b123??", "hi, A11B22!", "\"q\\uote\"d\xE2\x82\xAC", "\"q\\uote\"\xC3\xA9\n"}) {
    EXPECT_TRUE(matches(v, grammar, yes)) << yes;
  }
  for (const char* no : {"hi", "hi, Bob1!", "hi, bob12!", "hi, A11B22C33!", "\"q\\uote\"ad", "\"q\\uote\"\nd",
                         "\"q\\uote\"d\xE2\x82", ""}) {
    EXPECT_FALSE(matches(v, grammar, no)) << no;
  }
  EXPECT_TRUE(matches(v, "root ::= \"\\x41\\u00e9\\U0001F600\"", "A\xC3\xA9\xF0\x9F\x98\x80"));
  EXPECT_TRUE(matches(v, "root ::= (\"a\"? \"b\"*){0,3}", ""));
  EXPECT_TRUE(matches(v, "root ::= a a\na ::= b*\nb ::= \"x\"?", "xxxx"));
  EXPECT_TRUE(matches(v, "root ::= \"(\" root \")\" | \"\"", "((()))"));
  EXPECT_FALSE(matches(v, "root ::= \"(\" root \")\" | \"\"", "((())"));
  EXPECT_TRUE(matches(v, "root ::= \"a\" root | \"a\"", std::string(5000, 'a')));  // a list by recursion
}

TEST(Gbnf, EveryCodePointOfAClassAndNoOther) {
  const Vocabulary v({}, 0);
  const std::vector<std::pair<uint32_t, uint32_t>> ranges{{0x41, 0x41},        {0x7E, 0x85},      {0x7F0, 0x810},
                                                          {0xD7F0, 0xE010},    {0xFFF0, 0x10010}, {0x3FFFE, 0x40003},
                                                          {0x10FFFE, 0x10FFFF}};
  std::string body;
  char buffer[64];
  for (const auto& [low, high] : ranges) {
    if (low == 0xD7F0) {  // an escape cannot name a surrogate: written around them
      body += "\\uD7F0-\\uD7FF\\uE000-\\uE010";
      continue;
    }
    std::snprintf(buffer, sizeof buffer, "\\U%08X-\\U%08X", low, high);
    body += buffer;
  }
  const auto positive = v.grammar("root ::= [" + body + "]"), negative = v.grammar("root ::= [^" + body + "]");
  rt::Matcher a(positive), b(negative);
  for (uint32_t c = 0; c <= 0x10FFFF; c += c % 64 < 60 && c > 0x900 && c % 4096 > 40 && c % 4096 < 4060 ? 37 : 1) {
    if (c >= 0xD800 && c <= 0xDFFF) continue;
    const bool in =
        std::any_of(ranges.begin(), ranges.end(), [&](const auto& r) { return c >= r.first && c <= r.second; });
    std::string text;
    rt::append_utf8(text, c);
    for (rt::Matcher* m : {&a, &b}) {
      m->reset();
      const bool read =
          std::all_of(text.begin(), text.end(), [&](char byte) { return m->accept(static_cast<uint8_t>(byte)); });
      ASSERT_EQ(read && m->complete(), in == (m == &a)) << std::hex << c;
    }
  }
}

TEST(Gbnf, WhatIsWrongIsNamed) {
  const std::pair<const char*, const char*> cases[] = {
      {"root ::= \"a", "line 1: the text ends inside quotes"},
      {"root ::= x\n", "\"x\" is used but not defined"},
      {"a ::= \"b\"", "no rule \"root\""},
      {"root ::= root \"a\" | \"a\"", "\"root\" is left-recursive"},
      {"root ::= e root \"a\" | \"a\"\ne ::= \"x\"?", "\"root\" is left-recursive"},
      {"root ::= a\na ::= \"x\" a", "can never end"},
      {"root ::= \"a\"\n\nroot ::= \"b\"", "line 3: the rule \"root\" is defined twice"},
      {"root ::= [z-a]", "runs backwards"},
      {"root ::= []", "hold no character"},
      {"root ::= (\"a\"", "closing parenthesis"},
      {"root ::= \"a\"{3,2}", "{m,n} was expected"},
      {"root ::= ((((\"a\"{9999}){9999})))", "more than 200000 states"},
      {"root ::= \"\\q\"", "unknown escape"},
      {"root ::= [\\uD800]", "no Unicode character"},
      {"root ::= $", "'$' was not expected"},
      {"root = \"a\"", "a rule was expected"},
      {"root ::= \"a\" )", "a rule was expected"},
      {"root ::= <[x]>", "a number was expected"},
      {"root ::= \"\xFF\"", "not UTF-8"},
  };
  for (const auto& [text, expected] : cases) {
    std::string message;
    EXPECT_EQ(status_of([&] { (void)rt::parse_gbnf(text); }, &message), SVQ_ERROR_GRAMMAR) << text;
    EXPECT_NE(message.find(expected), std::string::npos) << text << ": " << message;
  }
  std::string deep = "root ::= " + std::string(5000, '(');
  EXPECT_EQ(status_of([&] { (void)rt::parse_gbnf(deep); }), SVQ_ERROR_GRAMMAR);
  const Vocabulary v({}, 0);
  EXPECT_EQ(status_of([&] { (void)v.grammar("root ::= <[100000]>"); }), SVQ_ERROR_GRAMMAR);
}

TEST(Gbnf, RandomTextNeverCrashes) {
  std::mt19937 rng(3);
  const std::string alphabet = "root::=ab \"\"[]()|*+?{1,2}\n\\x#^-.<[9]>";
  for (int i = 0; i < 20000; ++i) {
    std::string text = i % 2 == 0 ? "root ::= " : "";
    for (size_t n = rng() % 40; n > 0; --n) text += alphabet[rng() % alphabet.size()];
    (void)status_of([&] { (void)rt::parse_gbnf(text); });
  }
}

// Every mask along random walks equals what reading each token by itself says.
TEST(Masks, EqualBruteForceOnManyGrammars) {
  const char* grammars[] = {
      "root ::= [a-z \\n]* \"fox\"",
      "root ::= \"{\" pair (\",\" pair)* \"}\"\npair ::= string \":\" (string | [0-9]+)\nstring ::= \"\\\"\" "
      "[^\"\\\\]* \"\\\"\"",
      "root ::= value\nvalue ::= \"[\" (value (\", \" value)*)? \"]\" | [0-9]+ | \"{\" string \": \" value \"}\" | "
      "string\nstring ::= "
      "\"\\\"\" [^\"]* \"\\\"\"",
      "root ::= ws item (ws \",\" ws item)* ws\nws ::= [ \\n]*\nitem ::= [0-9]+ | [a-z]+ | ws \"(\" root \")\"",
      "root ::= a b c\na ::= \"{\"?\nb ::= (a \"\\\"\")*\nc ::= b a | \"x\"",  // ambiguous, nullable
      "root ::= ([^x] [^y]?)* <[557]>? \"end\"",
      "root ::= \"[\" root \"]\" | \"[\" root | \"1\"",
  };
  uint32_t checked = 0;
  for (const char* text : grammars) {
    const Vocabulary v({"\": \"", "]]", "}, {", "\xE2\x82", "\x82\xAC"});
    ASSERT_EQ(v.size(), 562u);  // <[557]> is a token of the vocabulary, here taken as a special one
    const auto grammar = v.grammar(text);
    rt::Matcher m(grammar);
    std::mt19937 rng(11);
    for (int walk = 0; walk < 12; ++walk) {
      m.reset();
      for (int step = 0; step < 25; ++step) {
        const uint64_t* mask = m.mask();
        std::vector<uint64_t> copy(mask, mask + grammar->words());
        std::vector<int32_t> allowed;
        for (int32_t t = 0; t < static_cast<int32_t>(v.size()); ++t) {
          const bool brute = m.least_after(t) != UINT32_MAX;
          ASSERT_EQ(admits(copy.data(), t), brute)
              << text << " token " << t << " '" << v.tokenizer().token_bytes(t) << "'";
          if (brute && !v.tokenizer().is_end(t)) allowed.push_back(t);
          ++checked;
        }
        // Closing: those that lead one byte nearer with each byte, and there is one.
        const uint64_t* closing = m.closing_mask();
        bool any = m.complete();
        for (const int32_t t : allowed) {
          if (!admits(closing, t)) continue;
          any = true;
          ASSERT_EQ(m.least_after(t) + grammar->bytes_of(t).size(), m.least()) << text;
        }
        ASSERT_TRUE(any) << text;
        if (allowed.empty()) break;
        ASSERT_TRUE(m.accept(allowed[rng() % allowed.size()]));
      }
    }
  }
  EXPECT_GT(checked, 500000u);
}

TEST(Masks, ARefusedTokenChangesNothing) {
  const Vocabulary v({});
  rt::Matcher m(v.grammar("root ::= \"ab\" [cd]+"));
  EXPECT_TRUE(m.accept('a'));
  EXPECT_FALSE(m.accept('x'));
  EXPECT_FALSE(m.accept(v.end()));
  EXPECT_FALSE(m.accept(-1));
  EXPECT_FALSE(m.accept(1 << 20));
  EXPECT_TRUE(m.accept('b'));
  EXPECT_EQ(m.least(), 1u);
  EXPECT_TRUE(m.accept('c'));
  EXPECT_TRUE(m.complete());
  EXPECT_FALSE(m.finished());
  EXPECT_TRUE(m.accept(v.end()));
}

TEST(Masks, SpecialTokensStandForThemselvesOnly) {
  const Vocabulary v({}, 0, 1, {{"<end>", true}, {"[CALL]", true}});
  rt::Matcher m(v.grammar("root ::= <[257]> \"x\" | \"[CALL]\""));
  const uint64_t* mask = m.mask();
  EXPECT_TRUE(admits(mask, 257));
  EXPECT_TRUE(admits(mask, '['));
  EXPECT_FALSE(admits(mask, 0xF8));  // the byte that stands for it inside
  EXPECT_TRUE(m.accept(257));
  EXPECT_TRUE(m.accept('x'));
  EXPECT_TRUE(m.finished());
}

TEST(Masks, DeepNestingKeepsItsPlace) {
  const Vocabulary v({"[[[[", "]]]]"}, 0);
  rt::Matcher m(v.grammar("root ::= \"[\" root \"]\" | \"x\""));
  for (int i = 0; i < 2000; ++i) ASSERT_TRUE(m.accept(256));
  EXPECT_EQ(m.least(), 8001u);
  ASSERT_TRUE(m.accept('x'));
  for (int i = 0; i < 2000; ++i) ASSERT_TRUE(m.accept(257));
  EXPECT_TRUE(m.finished());
  m.reset();
  for (int i = 0; i < 20000; ++i) {
    const svq_status status = status_of([&] { (void)m.accept(256); });
    if (status != SVQ_OK) {
      EXPECT_EQ(status, SVQ_ERROR_GRAMMAR);  // a limit, told in a sentence
      return;
    }
  }
  FAIL() << "80000 levels";
}

// ---------------------------------------------------------------- in a session

TEST(Constrained, GenerationIsAlwaysWhole) {
  const Loaded loaded({.bits = 0});
  const auto& tokenizer = *loaded.model->tokenizer();
  const auto grammar = std::make_shared<const rt::Grammar>(
      rt::parse_gbnf(rt::schema_grammar(
          R"({"type":"object","properties":{"s":{"type":"string"},"n":{"type":"number"}},"required":["s","n"]})")),
      loaded.model->token_trie(), tokenizer);
  for (uint32_t seed = 0; seed < 30; ++seed) {
    for (const size_t most : {21u, 30u, 100u}) {
      rt::Session s(loaded.model, {.threads = 1});
      s.sampler().settings = {
          .temperature = seed % 3 == 0 ? 0.0 : 1.5, .top_k = 0, .top_p = 1, .min_p = 0, .repetition_penalty = 1.1};
      s.sampler().seed(seed);
      s.set_grammar(grammar);
      std::string text;
      svq_generate_result r;
      rt::generate(
          s, some_tokens(4, 256, seed), most,
          [](const char* t, size_t n, svq_token, void* user) {
            static_cast<std::string*>(user)->append(t, n);
            return 0;
          },
          &text, r);
      EXPECT_EQ(r.stop, 0) << text;
      EXPECT_EQ(text.front(), '{');
      EXPECT_EQ(text.back(), '}') << text;
    }
  }
  rt::Session s(loaded.model, {.threads = 1});
  s.set_grammar(grammar);
  svq_generate_result r;
  std::string message;
  EXPECT_EQ(status_of([&] { rt::generate(s, some_tokens(4, 256), 10, nullptr, nullptr, r); }, &message),
            SVQ_ERROR_CONTEXT_FULL);
  EXPECT_NE(message.find("shortest text takes"), std::string::npos) << message;
  s.set_grammar(nullptr);
  rt::generate(s, {}, 10, nullptr, nullptr, r);
}

}  // namespace
}  // namespace svq::test
