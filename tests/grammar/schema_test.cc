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
      {R"({"type":"string","pattern":"^a"})", "the keyword \"pattern\" is not supported"},
      {R"({"properties":{"a":{"multipleOf":2}}})", "#/properties/a: the keyword \"multipleOf\""},
      {R"({"not":{}})", "\"not\""},
      {R"({"allOf":[{},{}]})", "allOf"},
      {R"({"oneOf":[{"type":"string"},{"type":"string"}]})", "oneOf"},
      {R"({"type":"array","uniqueItems":true})", "uniqueItems"},
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
      {R"({"minimum":1,"const":2})", "beside"},
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
