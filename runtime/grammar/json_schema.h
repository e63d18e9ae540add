// JSON Schema to GBNF. The grammar's texts are a subset of what the schema allows: objects hold their properties in the
// schema's order, white space is little, numbers and unlimited strings stay within what every JSON reader takes. What
// cannot be enforced this way is refused.
#pragma once
#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "runtime/base/json_reader.h"
#include "runtime/grammar/schema_algebra.h"

namespace svq::rt {

class SchemaRules {
 public:
  // `name` stands for the schema in errors; every rule's name begins with `prefix`. The document must outlive the
  // object: it is where $ref looks.
  SchemaRules(const JsonValue& document, std::string name, std::string prefix = {});

  // The name of a rule for values of this schema, which is part of the document; at: its place, "#/properties/x".
  // Throws Error (GRAMMAR) naming place and keyword.
  std::string rule(const JsonValue& schema, const std::string& at);
  const std::string& text() const { return text_; }  // all rules so far, a line each

 private:
  std::string add(const std::string& body);  // a new rule; its name
  std::string value(const JsonValue& schema, const std::string& at);
  std::string plain(const JsonValue& schema, const std::string& at);
  std::string typed(const JsonValue& schema, std::string_view type, const std::string& at);
  std::string object(const JsonValue& schema, const std::string& at);
  std::string array(const JsonValue& schema, const std::string& at);
  std::string string(const JsonValue& schema, const std::string& at);
  std::string number(const JsonValue& schema, bool integer, const std::string& at);
  std::string combined(const JsonValue& schema, const std::string& at);
  std::string choice(const std::vector<JsonValue>& schemas, const std::string& at);
  std::string listed(const std::vector<JsonValue>& values, const JsonValue& schema, const std::string& at);
  JsonValue without(JsonValue schema, const JsonValue& unwanted, const std::string& at) const;
  bool attempt(const JsonValue& schema, const std::string& at, std::string& rule);  // false: it has no values
  std::string distinct(const JsonValue& items, uint64_t least, uint64_t most, const std::string& at);
  std::string multiples(uint64_t step, uint32_t decimals, double from, double to, const std::string& at);
  SchemaAlgebra algebra(const std::string& at) const;
  class Multiples;
  std::string shared(const char* name, const char* body);  // a rule that many use, once
  std::string any();
  std::string space();
  const JsonValue& resolve(const std::string& reference, const std::string& at) const;
  [[noreturn]] void refuse(const std::string& at, const std::string& what) const;
  [[noreturn]] void empty(const std::string& at, const std::string& what) const;  // throws NoValue

  const JsonValue& document_;
  const std::string name_, prefix_;
  std::string text_;
  std::map<std::string, std::string> by_reference_;  // $ref → rule
  int count_ = 0, depth_ = 0;
};

// "…" with what GBNF's quotes need escaped.
std::string gbnf_quoted(std::string_view text);
// The grammar of a whole schema.
std::string schema_grammar(std::string_view schema);

// Expressions for what integers from low to high look like without sign (0 ≤ low ≤ high < 10^18); and for decimals
// between two numbers of millionths, any digits behind the sixth.
std::string digits_between(uint64_t low, uint64_t high);
std::string decimals_between(uint64_t low_millionths, uint64_t high_millionths);

// What matches a regular expression, between the quotes of a JSON string, of low to high characters. Uses the rule
// "char". refuse: throws, for what is not supported.
constexpr uint64_t kAnyLength = UINT64_MAX;
std::string pattern_expression(std::string_view pattern, uint64_t low, uint64_t high,
                               const std::function<void(const std::string&)>& refuse);

}  // namespace svq::rt
