// JSON Schema: what comes out parses and is valid, always; what cannot be enforced is refused.
#include <nlohmann/json.hpp>

#include "runtime/base/json_reader.h"
#include "runtime/model/generate.h"
#include "tests/grammar/random_schema.h"
#include "tests/grammar/support.h"

namespace svq::test {
namespace {

using nlohmann::json;

// Thousands of schemas, each with several seeds, drawn uniformly among the admitted tokens: no model is as unruly.
TEST(Schema, EveryOutputParsesAndIsValid) {
  const Vocabulary v({"\": ", "\", \"", "}]", "\": {\"", "true", "null", "\\u", "-1", ".5", "\xC3\xA9"});
  std::mt19937 rng(2024);
  size_t outputs = 0, bytes = 0;
  for (int i = 0; i < 2500; ++i) {
    const json schema = random_schema(rng);
    std::shared_ptr<const rt::Grammar> grammar;
    try {
      grammar = v.grammar(rt::schema_grammar(schema.dump()));
    } catch (const rt::Error& e) {
      FAIL() << schema.dump() << ": " << e.what();
    }
    rt::Matcher m(grammar);
    for (int seed = 0; seed < 3; ++seed) {
      m.reset();
      const uint32_t room = grammar->least_bytes() + 1 + static_cast<uint32_t>(rng() % 120);
      const std::string text = random_text(m, v, rng, room);
      const json value = json::parse(text, nullptr, false);
      ASSERT_FALSE(value.is_discarded()) << schema.dump() << "\n" << text;
      ASSERT_EQ(validate(value, schema, schema), "") << schema.dump() << "\n" << text;
      ASSERT_NO_THROW((void)rt::read_json(text, "output", SVQ_ERROR_FORMAT)) << text;  // our own reader agrees
      ++outputs;
      bytes += text.size();
    }
  }
  EXPECT_EQ(outputs, 7500u);
  EXPECT_GT(bytes, 100000u);
}

// The same by the whole of it: a random model, its tokenizer, the sampler, generation's own loop.
TEST(Schema, ARandomModelGivesValidJson) {
  const Loaded loaded({.context = 512, .bits = 0});
  rt::Session s(loaded.model, {.context = 256, .threads = 1});
  std::mt19937 rng(7);
  for (int i = 0; i < 150; ++i) {
    const json schema = random_schema(rng);
    const auto grammar = std::make_shared<const rt::Grammar>(rt::parse_gbnf(rt::schema_grammar(schema.dump())),
                                                             loaded.model->token_trie(), *loaded.model->tokenizer());
    if (grammar->least_bytes() > 150) continue;
    s.set_grammar(grammar);
    s.sampler().settings = {.temperature = 1.3,
                            .top_k = static_cast<uint32_t>(rng() % 50),
                            .top_p = 0.95,
                            .min_p = 0,
                            .repetition_penalty = 1.05};
    s.sampler().seed(rng());
    s.truncate(0);
    std::string text;
    svq_generate_result r;
    rt::generate(
        s, some_tokens(3, 256, static_cast<uint32_t>(i)), 160,
        [](const char* t, size_t n, svq_token, void* user) {
          static_cast<std::string*>(user)->append(t, n);
          return 0;
        },
        &text, r);
    ASSERT_EQ(r.stop, 0) << text;
    const json value = json::parse(text, nullptr, false);
    ASSERT_FALSE(value.is_discarded()) << schema.dump() << "\n" << text;
    ASSERT_EQ(validate(value, schema, schema), "") << schema.dump() << "\n" << text;
  }
}

bool accepts(const Vocabulary& v, const std::string& gbnf, std::string_view text) {
  rt::Matcher m(v.grammar(gbnf));
  for (const char c : text) {
    if (!m.accept(static_cast<uint8_t>(c))) return false;
  }
  return m.complete();
}

TEST(Schema, AdmitsWhatModelsWrite) {
  const Vocabulary v({}, 0);
  const std::string object = rt::schema_grammar(
      R"({"type":"object","properties":{"action":{"enum":["pick","place"]},"speed":{"type":"number","minimum":0,"maximum":1.5},"at":{"type":"array","items":{"type":"integer"}}},"required":["action"]})");
  for (const char* yes :
       {R"({"action": "pick"})", R"({"action":"place","speed":1.25})", R"({"action": "pick", "at": [1, 2]})",
        "{\n  \"action\": \"pick\",\n  \"speed\": 0.5\n}", R"({ "action": "pick", "at": [] })"}) {
    EXPECT_TRUE(accepts(v, object, yes)) << yes;
  }
  for (const char* no : {R"({"speed": 1})", R"({"action": "fly"})", R"({"action": "pick", "speed": 1.6})",
                         R"({"action": "pick", "speed": -1})", R"({"action": "pick", "at": [1,]})",
                         R"({"action": "pick",})", R"({"action": "pick", "other": 1})", "{}"}) {
    EXPECT_FALSE(accepts(v, object, no)) << no;
  }
}

// Each schema, texts that are admitted, and texts that are not.
TEST(Schema, KeywordsThatCombineAndMatch) {
  const Vocabulary v({}, 0);
  const struct {
    const char* schema;
    std::vector<const char*> yes, no;
  } cases[] = {
      {R"({"pattern":"^[A-Z]{3}-\\d{2,4}$"})",
       {R"("ABC-12")", R"("XYZ-9999")"},
       {R"("AB-12")", R"("ABC-1")", R"("ABC-12345")", R"("xABC-12")", "12"}},
      {R"({"pattern":"cube"})", {R"("cube")", R"("the red cube!")"}, {R"("cub")"}},
      {R"({"pattern":"^a|b$"})", {R"("axx")", R"("xxb")"}, {R"("xax")"}},
      {R"({"pattern":"^[a-z][a-z0-9_]*$","maxLength":4})", {R"("a")", R"("ab_9")"}, {R"("ab_9x")", R"("9")"}},
      {R"({"pattern":"^.\\\\\"$"})", {R"("x\\\"")"}, {R"("x\"")"}},
      {R"({"pattern":"^x","minLength":3,"maxLength":4})", {R"("xyz")", R"("xyzw")"}, {R"("xy")", R"("xyzwv")"}},
      {R"({"pattern":"x$","minLength":2,"maxLength":3})", {R"("yx")", R"("yyx")"}, {R"("x")", R"("yyyx")"}},
      {R"({"type":"integer","multipleOf":15,"minimum":0,"maximum":360})",
       {"0", "15", "345", "360"},
       {"5", "375", "-15", "015"}},
      {R"({"type":"number","multipleOf":0.25,"minimum":-1,"maximum":2})",
       {"-1", "-0.25", "0.5", "0.50", "1.75", "2", "2.0"},
       {"0.3", "-1.25", "2.25", "0.", ".5"}},
      {R"({"type":"integer","multipleOf":3})", {"0", "-3", "999999999999999"}, {"1", "-1", "1000"}},
      {R"({"type":"array","items":{"enum":["a","b","c"]},"uniqueItems":true,"minItems":1})",
       {R"(["a"])", R"(["c","a","b"])"},
       {"[]", R"(["a","a"])", R"(["a","b","a"])"}},
      {R"({"allOf":[{"type":"object","properties":{"x":{"type":"integer"}},"required":["x"]},{"properties":{"y":{"type":"null"}}}]})",
       {R"({"x":1})", R"({"x":1,"y":null})"},
       {R"({"y":null})", "{}"}},
      {R"({"$ref":"#/$defs/n","maximum":9,"$defs":{"n":{"type":"integer","minimum":3}}})", {"3", "9"}, {"2", "10"}},
      {R"({"oneOf":[{"properties":{"do":{"const":"go"},"to":{"type":"integer"}},"required":["do","to"]},{"properties":{"do":{"const":"stop"}},"required":["do"]}]})",
       {R"({"do":"go","to":3})", R"({"do":"stop"})"},
       {R"({"do":"go"})", R"({"do":"stop","to":3})", "{}"}},
      {R"({"oneOf":[{"type":"integer","maximum":3},{"type":"number","minimum":4}]})", {"3", "4.5"}, {"3.5"}},
      {R"({"type":["string","null"],"not":{"type":"null"}})", {R"("a")"}, {"null"}},
      {R"({"enum":["a",2,3],"type":"integer","not":{"const":3}})", {"2"}, {"3", R"("a")"}},
      {R"({"type":"object","properties":{"a":{"type":"null"},"b":false}})", {"{}", R"({"a":null})"}, {R"({"b":1})"}},
      {R"({"anyOf":[{"type":"string"},{"type":"integer"}],"minimum":5})", {R"("a")", "5"}, {"4"}},
  };
  for (const auto& c : cases) {
    const std::string gbnf = rt::schema_grammar(c.schema);
    for (const char* yes : c.yes) EXPECT_TRUE(accepts(v, gbnf, yes)) << c.schema << " " << yes;
    for (const char* no : c.no) EXPECT_FALSE(accepts(v, gbnf, no)) << c.schema << " " << no;
  }
}

// Every multiple and nothing else, against a count.
TEST(Schema, MultiplesAreExact) {
  const Vocabulary v({}, 0);
  std::mt19937 rng(3);
  for (int i = 0; i < 60; ++i) {
    const int step = 1 + static_cast<int>(rng() % 130), decimals = static_cast<int>(rng() % 3);
    const int low = static_cast<int>(rng() % 3000) - 1500, high = low + 2 * step + static_cast<int>(rng() % 1500);
    const double unit = std::pow(10, decimals);
    const json schema{
        {"type", "number"}, {"multipleOf", step / unit}, {"minimum", low / unit}, {"maximum", high / unit}};
    rt::Matcher m(v.grammar(rt::schema_grammar(schema.dump())));
    for (int n = -1700; n < 4000; n += 1 + static_cast<int>(rng() % 3)) {
      char text[32];
      std::snprintf(text, sizeof text, "%.*f", decimals, n / unit);
      if (n == 0 && text[0] == '-') continue;
      m.reset();
      const bool read =
          std::all_of(text, text + std::strlen(text), [&](char c) { return m.accept(static_cast<uint8_t>(c)); });
      ASSERT_EQ(read && m.complete(), n % step == 0 && n >= low && n <= high) << schema.dump() << " " << text;
    }
  }
}

TEST(Schema, RangesAreExact) {
  const Vocabulary v({}, 0);
  for (const auto& [low, high] : {std::pair<uint64_t, uint64_t>{0, 0},
                                  {0, 9},
                                  {3, 7},
                                  {0, 10},
                                  {9, 11},
                                  {17, 305},
                                  {99, 1001},
                                  {100, 100},
                                  {250, 1999}}) {
    const std::string gbnf = "root ::= " + rt::digits_between(low, high);
    rt::Matcher m(v.grammar(gbnf));
    for (uint64_t n = 0; n < 2500; ++n) {
      m.reset();
      const std::string text = std::to_string(n);
      const bool read =
          std::all_of(text.begin(), text.end(), [&](char c) { return m.accept(static_cast<uint8_t>(c)); });
      ASSERT_EQ(read && m.complete(), n >= low && n <= high) << low << " " << high << " " << n;
    }
    EXPECT_FALSE(accepts(v, gbnf, "007"));
    EXPECT_FALSE(accepts(v, gbnf, ""));
  }
  // Decimals, in thousandths; texts with and without zeros at the end.
  for (const auto& [low, high] : {std::pair<uint64_t, uint64_t>{0, 0},
                                  {0, 1500000},
                                  {500000, 500000},
                                  {250000, 750000},
                                  {999000, 1001000},
                                  {1000000, 3000000},
                                  {1250000, 4125000},
                                  {100000, 10010000}}) {
    rt::Matcher m(v.grammar("root ::= " + rt::decimals_between(low, high)));
    for (uint64_t n = 0; n < 12000; n += n % 7 == 0 ? 1 : 3) {
      char text[32];
      std::snprintf(text, sizeof text, "%d.%03d", static_cast<int>(n / 1000), static_cast<int>(n % 1000));
      const bool inside = n * 1000 >= low && n * 1000 <= high;
      m.reset();
      const bool read =
          std::all_of(text, text + std::strlen(text), [&](char c) { return m.accept(static_cast<uint8_t>(c)); });
      const bool accepted = read && m.complete();
      if (low != high) {
        ASSERT_EQ(accepted, inside) << low << " " << high << " " << text;
      } else {
        ASSERT_TRUE(!accepted || inside) << text;  // a single value: one way to write it is enough
      }
    }
  }
}

TEST(Schema, WhatCannotBeEnforcedIsRefusedByName) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"properties":{"a":{"type":"string","pattern":"(?=a)b"}}})",
       "#/properties/a: the pattern \"(?=a)b\" holds a group that looks around"},
      {R"({"pattern":"a\\b"})", "the escape \\b"},
      {R"({"pattern":"(a)\\1"})", "the escape \\1"},
      {R"({"pattern":"a^"})", "^ or $ in the middle"},
      {R"({"pattern":"(a"})", "without a closing one"},
      {R"x({"pattern":"a)"})x", "without an opening one"},
      {R"({"pattern":"[a"})", "an opening bracket"},
      {R"({"pattern":"*"})", "without anything before it"},
      {R"({"pattern":"a{2"})", "a { that begins no repetition"},
      {R"({"pattern":"^(ab)*$","maxLength":3})", "it also matches longer texts"},
      {R"({"pattern":"^abcd$","maxLength":3})", "no text matches"},
      {R"({"properties":{"a":{"multipleOf":0}}})", "#/properties/a: multipleOf is no number above 0"},
      {R"({"multipleOf":0.0000001})", "multipleOf beyond"},
      {R"({"type":"integer","multipleOf":7,"minimum":8,"maximum":13})", "no multiple lies between"},
      {R"({"type":"integer","multipleOf":99991})", "too large a grammar"},
      {R"({"not":{}})", "\"not\""},
      {R"({"not":{"minimum":3}})", "\"not\" is supported for types"},
      {R"({"enum":[1,2],"not":{"enum":[2,1]}})", "none of the values listed is valid"},
      {R"({"allOf":[]})", "\"allOf\" is no list"},
      {R"({"allOf":[{"type":"string"},{"type":"object"}]})", "schemas of different types"},
      {R"({"allOf":[{"pattern":"a"},{"pattern":"b"}]})", "two different \"pattern\""},
      {R"({"allOf":[{"$ref":"#"}]})", "without end"},
      {R"({"if":{},"type":"string"})", "the keyword \"if\" is not supported"},
      {R"({"oneOf":[{"type":"object","properties":{"k":{"const":1}}},{"type":"object","properties":{"k":{"const":2}}}]})",
       "do not exclude each other"},
      {R"({"oneOf":[{"type":"string"},{"type":"string"}]})", "oneOf"},
      {R"({"type":"array","uniqueItems":true})", "uniqueItems"},
      {R"({"type":"array","uniqueItems":true,"items":{"enum":[1,2]},"minItems":3})", "not enough different values"},
      {R"({"type":"object","required":["x"]})", "not among the properties"},
      {R"({"$ref":"other.json"})", "only references into the schema itself"},
      {R"({"$ref":"#/$defs/none"})", "leads nowhere"},
      {R"({"$ref":"#"})", "can never end"},
      {R"({"type":"integer","minimum":5,"maximum":4})", "no number lies between"},
      {R"({"type":"integer","exclusiveMinimum":5,"maximum":5})", "no number lies between"},
      {R"({"type":"float"})", "the type \"float\" is unknown"},
      {R"({"type":"string","minLength":-1})", "minLength"},
      {R"({"enum":[]})", "enum"},
      {R"(false)", "has no values"},
      {R"({"type":)", "byte 8"},
      {R"({"minimum":3,"const":2})", "none of the values listed is valid"},
      {R"({"type":"string","minLength":3,"maxLength":2})", "no text is long enough"},
  };
  for (const auto& [schema, expected] : cases) {
    std::string message;
    EXPECT_EQ(status_of([&] { (void)rt::parse_gbnf(rt::schema_grammar(schema)); }, &message), SVQ_ERROR_GRAMMAR)
        << schema;
    EXPECT_NE(message.find(expected), std::string::npos) << schema << ": " << message;
  }
  std::string deep;
  for (int i = 0; i < 100000; ++i) deep += "{\"items\":";
  EXPECT_EQ(status_of([&] { (void)rt::schema_grammar(deep); }), SVQ_ERROR_GRAMMAR);
}

TEST(JsonReader, AgreesWithAnotherReader) {
  std::mt19937 rng(5);
  const std::string alphabet = "{}[]\",:0123456789-+.eE\\u \ntrfalsn\xC3\xA9\xE2\x82\xAC\x01";
  for (int i = 0; i < 60000; ++i) {
    std::string text;
    if (i % 2 == 0) {
      text = random_schema(rng).dump();
      for (size_t n = rng() % 3; n > 0; --n) text[rng() % text.size()] = alphabet[rng() % alphabet.size()];
    } else {
      for (size_t n = rng() % 12; n > 0; --n) text += alphabet[rng() % alphabet.size()];
    }
    const json other = json::parse(text, nullptr, false);
    rt::JsonValue mine;
    const bool read = status_of([&] { mine = rt::read_json(text, "text", SVQ_ERROR_FORMAT); }) == SVQ_OK;
    // A number too large for a double is an error of theirs alone.
    if (read && !other.is_discarded()) {
      EXPECT_EQ(json::parse(mine.dump()), other) << text;
      EXPECT_EQ(json::parse(mine.dump(rt::JsonValue::Style::kIndented)), other) << text;
    } else if (read) {
      EXPECT_NE(text.find_first_of("eE"), std::string::npos) << text;
    } else {
      EXPECT_TRUE(other.is_discarded()) << text;
    }
  }
}

}  // namespace
}  // namespace svq::test
