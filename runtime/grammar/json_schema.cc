#include "runtime/grammar/json_schema.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <numeric>
#include <set>
#include <vector>

#include "runtime/base/error.h"

namespace svq::rt {
namespace {

using Kind = JsonValue::Kind;

constexpr int kMaxSchemaDepth = 100;
constexpr double kLargestInteger = 999'999'999'999'999'999;  // 18 digits: fits int64, as written
constexpr double kLargestNumber = 999'999'999;               // of a range given on one side only

}  // namespace

std::string gbnf_quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else {
      out += c;
    }
  }
  return out + '"';
}

SchemaRules::SchemaRules(const JsonValue& document, std::string name, std::string prefix)
    : document_(document), name_(std::move(name)), prefix_(std::move(prefix)) {}

void SchemaRules::refuse(const std::string& at, const std::string& what) const {
  fail(SVQ_ERROR_GRAMMAR, name_, ", ", at, ": ", what);
}

void SchemaRules::empty(const std::string& at, const std::string& what) const {
  throw NoValue(SVQ_ERROR_GRAMMAR, cat(name_, ", ", at, ": ", what));
}

SchemaAlgebra SchemaRules::algebra(const std::string& at) const {
  return {[this, at](const std::string& reference) -> const JsonValue& { return resolve(reference, at); },
          [this, at](const std::string& what) { refuse(at, what); }};
}

std::string SchemaRules::add(const std::string& body) {
  const std::string name = cat(prefix_, "r", count_++);
  text_ += cat(name, " ::= ", body, "\n");
  return name;
}

std::string SchemaRules::shared(const char* name, const char* body) {
  const auto [it, added] = by_reference_.try_emplace(cat(" ", name), name);  // no $ref begins with a space
  if (added) text_ += cat(name, " ::= ", body, "\n");
  return it->second;
}

std::string SchemaRules::space() { return shared("space", "(\" \" | \"\\n\" [ \\t]{0,16})?"); }

std::string SchemaRules::any() {
  space();
  shared("char",
         "[^\"\\\\\\x00-\\x1F\\x7F] | \"\\\\\" ([\"\\\\/bfnrt] | \"u\" ([0-9a-cA-Ce-fE-F] [0-9a-fA-F]{3} | [dD] [0-7] "
         "[0-9a-fA-F]{2}))");
  shared("string", "\"\\\"\" char* \"\\\"\"");
  shared("integer", "\"-\"? (\"0\" | [1-9] [0-9]{0,14})");
  shared("number", "integer (\".\" [0-9]{1,15})? ([eE] [+-]? [0-9]{1,2})?");
  shared("pair", "string space \":\" space value");
  shared("object", "\"{\" space (pair space (\",\" space pair space)*)? \"}\"");
  shared("array", "\"[\" space (value space (\",\" space value space)*)? \"]\"");
  return shared("value", "object | array | string | number | \"true\" | \"false\" | \"null\"");
}

const JsonValue& SchemaRules::resolve(const std::string& reference, const std::string& at) const {
  if (reference.empty() || reference[0] != '#')
    refuse(at, cat("$ref \"", reference, "\": only references into the schema itself, \"#/…\", are supported"));
  const JsonValue* found = &document_;
  std::string_view rest = std::string_view(reference).substr(1);
  while (!rest.empty() && found != nullptr) {
    if (rest[0] != '/') refuse(at, cat("$ref \"", reference, "\" is not of the form #/a/b"));
    rest.remove_prefix(1);
    std::string part(rest.substr(0, rest.find('/')));
    rest.remove_prefix(part.size());
    for (const auto& [code, meaning] : {std::pair{"~1", "/"}, {"~0", "~"}}) {
      for (size_t i = part.find(code); i != std::string::npos; i = part.find(code, i + 1)) part.replace(i, 2, meaning);
    }
    if (found->is(Kind::kArray)) {
      const size_t index = part.find_first_not_of("0123456789") == std::string::npos
                               ? std::strtoul(part.c_str(), nullptr, 10)
                               : SIZE_MAX;
      found = index < found->items.size() ? &found->items[index] : nullptr;
    } else {
      found = found->find(part);
    }
  }
  if (found == nullptr) refuse(at, cat("$ref \"", reference, "\" leads nowhere"));
  return *found;
}

std::string SchemaRules::rule(const JsonValue& schema, const std::string& at) {
  if (++depth_ > kMaxSchemaDepth) refuse(at, "schemas are nested deeper than 100");
  std::string out = value(schema, at);
  --depth_;
  return out;
}

bool SchemaRules::attempt(const JsonValue& schema, const std::string& at, std::string& out) {
  const size_t length = text_.size();
  const auto references = by_reference_;
  const int depth = depth_;
  try {
    out = rule(schema, at);
    return true;
  } catch (const NoValue&) {  // as if it had not been read
    text_.resize(length);
    by_reference_ = references;
    depth_ = depth;
    return false;
  }
}

std::string SchemaRules::choice(const std::vector<JsonValue>& schemas, const std::string& at) {
  std::string body, one;
  for (size_t i = 0; i < schemas.size(); ++i) {
    if (attempt(schemas[i], cat(at, "/", i), one)) body += cat(body.empty() ? "" : " | ", one);
  }
  if (body.empty()) empty(at, "none of the schemas has a value");
  return add(body);
}

// Of the values those that the schema's other keywords admit.
std::string SchemaRules::listed(const std::vector<JsonValue>& values, const JsonValue& schema, const std::string& at) {
  std::string body;
  for (const JsonValue& v : values) {
    if (algebra(at).admits(schema, v)) body += cat(body.empty() ? "" : " | ", gbnf_quoted(v.dump()));
  }
  if (body.empty()) empty(at, "none of the values listed is valid");
  return add(body);
}

// The schema less what `not` excludes.
JsonValue SchemaRules::without(JsonValue schema, const JsonValue& unwanted, const std::string& at) const {
  JsonValue u;
  try {
    u = algebra(at).expand(unwanted);
  } catch (const NoValue&) {
    return schema;
  }
  const auto is_only = [&](std::string_view key) { return u.members.size() == 1 && u.members[0].first == key; };
  if (is_only("anyOf")) {
    for (const JsonValue& s : u.members[0].second.items) schema = without(std::move(schema), s, at);
    return schema;
  }
  if (is_only("type")) {
    const auto names = [](const JsonValue& t) { return t.is(Kind::kString) ? std::vector<JsonValue>{t} : t.items; };
    std::vector<JsonValue> left;
    const JsonValue* type = schema.find("type");
    for (const JsonValue& t : type != nullptr ? names(*type) : [] {
           std::vector<JsonValue> all;
           for (const char* t : {"object", "array", "string", "number", "boolean", "null"})
             all.push_back(json_string(t));
           return all;
         }()) {
      bool keep = true;
      for (const JsonValue& n : names(u.members[0].second)) {
        if (t.text == "number" && n.text == "integer") refuse(at, "\"not\" of integers among numbers is not supported");
        keep = keep && t.text != n.text && !(t.text == "integer" && n.text == "number");
      }
      if (keep) left.push_back(t);
    }
    if (left.empty()) empty(at, "\"not\" excludes every type");
    std::erase_if(schema.members, [](const auto& m) { return m.first == "type"; });
    schema.members.emplace_back("type", json_list(std::move(left)));
    return schema;
  }
  if (is_only("required") && u.members[0].second.items.size() == 1) {
    const std::string& name = u.members[0].second.items[0].text;
    for (auto& [key, v] : schema.members) {
      if (key == "properties") {
        for (auto& [property, s] : v.members) {
          if (property == name) s = json_bool(false);
        }
        return schema;
      }
    }
  }
  refuse(at, "\"not\" is supported for types, for a required property, and beside \"enum\" or \"const\"");
}

// A schema of several parts: what they have in common, and then one of its alternatives.
std::string SchemaRules::combined(const JsonValue& schema, const std::string& at) {
  const SchemaAlgebra all = algebra(at);
  JsonValue s;
  try {
    s = all.expand(schema);
  } catch (const NoValue& e) {
    empty(at, e.what());
  }
  const auto rest_of = [&](std::string_view key) {
    JsonValue rest = s;
    std::erase_if(rest.members, [&](const auto& m) { return m.first == key; });
    return rest;
  };
  if (const JsonValue* v = s.find("enum")) {
    if (!v->is(Kind::kArray) || v->items.empty()) refuse(at, "enum is no list of values");
    return listed(v->items, rest_of("enum"), at);
  }
  if (const JsonValue* v = s.find("const")) return listed({*v}, rest_of("const"), at);
  for (const char* key : {"oneOf", "anyOf"}) {
    const JsonValue* list = s.find(key);
    if (list == nullptr) continue;
    if (!list->is(Kind::kArray) || list->items.empty()) refuse(at, cat(key, " is no list of schemas"));
    const JsonValue rest = rest_of(key);
    std::vector<JsonValue> branches;
    for (const JsonValue& b : list->items) {
      branches.push_back(rest.members.empty() ? b : json_object({{"allOf", json_list({rest, b})}}));
    }
    for (size_t i = 0; key == std::string_view("oneOf") && i < branches.size(); ++i) {
      for (size_t j = 0; j < i; ++j) {
        if (!all.disjoint(branches[i], branches[j])) {
          refuse(at, cat("\"oneOf\": the schemas ", j, " and ", i,
                         " do not exclude each other, as by their types or a required property; \"anyOf\" may do"));
        }
      }
    }
    return choice(branches, cat(at, "/", key));
  }
  if (const JsonValue* unwanted = s.find("not")) return rule(without(rest_of("not"), *unwanted, at), at);
  return plain(s, at);
}

std::string SchemaRules::value(const JsonValue& schema, const std::string& at) {
  if (schema.is(Kind::kBool)) {
    if (!schema.truth) empty(at, "the schema \"false\" has no values");
    return any();
  }
  if (!schema.is(Kind::kObject)) refuse(at, "a schema was expected: an object, true or false");
  size_t restricting = 0;
  bool combines = false;
  for (const auto& [key, v] : schema.members) {
    restricting += !SchemaAlgebra::is_annotation(key);
    for (const char* k : {"$ref", "allOf", "anyOf", "oneOf", "not", "enum", "const"}) combines = combines || key == k;
  }
  const JsonValue* ref = schema.find("$ref");
  if (ref == nullptr || restricting != 1) return combines ? combined(schema, at) : plain(schema, at);
  if (!ref->is(Kind::kString)) refuse(at, "$ref is no string");
  if (const auto known = by_reference_.find(ref->text); known != by_reference_.end()) return known->second;
  const std::string name = cat(prefix_, "r", count_++);
  by_reference_[ref->text] = name;  // before it is read: it may refer to itself
  const std::string target = rule(resolve(ref->text, at), ref->text);
  text_ += cat(name, " ::= ", target, "\n");
  return name;
}

// Without keywords that combine schemas or list values.
std::string SchemaRules::plain(const JsonValue& schema, const std::string& at) {
  static constexpr std::string_view kObject[] = {"properties", "required", "additionalProperties"};
  static constexpr std::string_view kArray[] = {"items", "prefixItems", "minItems", "maxItems", "uniqueItems"};
  static constexpr std::string_view kString[] = {"minLength", "maxLength", "pattern"};
  static constexpr std::string_view kNumber[] = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum",
                                                 "multipleOf"};
  const auto among = [](const auto& list, std::string_view key) {
    return std::find(std::begin(list), std::end(list), key) != std::end(list);
  };
  std::string implied;
  for (const auto& [key, v] : schema.members) {
    if (SchemaAlgebra::is_annotation(key)) continue;
    const char* of = among(kObject, key)   ? "object"
                     : among(kArray, key)  ? "array"
                     : among(kString, key) ? "string"
                     : among(kNumber, key) ? "number"
                                           : nullptr;
    if (of != nullptr) {
      if (implied.empty()) implied = of;
    } else if (key != "type") {
      refuse(at, cat("the keyword \"", key, "\" is not supported"));
    }
  }
  const JsonValue* type = schema.find("type");
  if (type == nullptr) return implied.empty() ? any() : typed(schema, implied, at);
  if (type->is(Kind::kString)) return typed(schema, type->text, at);
  if (!type->is(Kind::kArray) || type->items.empty()) refuse(at, "type is neither a name nor a list of names");
  std::string body;
  for (const JsonValue& t : type->items) {
    if (!t.is(Kind::kString)) refuse(at, "type is neither a name nor a list of names");
    body += cat(body.empty() ? "" : " | ", typed(schema, t.text, at));
  }
  return add(body);
}

std::string SchemaRules::typed(const JsonValue& schema, std::string_view type, const std::string& at) {
  if (type == "object") return object(schema, at);
  if (type == "array") return array(schema, at);
  if (type == "string") return string(schema, at);
  if (type == "number") return number(schema, false, at);
  if (type == "integer") return number(schema, true, at);
  if (type == "boolean") return shared("boolean", "\"true\" | \"false\"");
  if (type == "null") return shared("null", "\"null\"");
  refuse(at, cat("the type \"", type, "\" is unknown"));
}

std::string SchemaRules::object(const JsonValue& schema, const std::string& at) {
  static const JsonValue kNone{.kind = Kind::kObject, .text = {}, .items = {}, .members = {}};
  const JsonValue* properties = schema.find("properties");
  if (properties == nullptr) properties = &kNone;
  if (!properties->is(Kind::kObject)) refuse(at, "properties is no object");
  std::set<std::string> required;
  if (const JsonValue* list = schema.find("required")) {
    for (const JsonValue& name : list->items) {
      if (!name.is(Kind::kString) || properties->find(name.text) == nullptr) {
        refuse(at, cat("\"required\" names ", name.dump(), ", which is not among the properties"));
      }
      required.insert(name.text);
    }
  }
  const JsonValue* additional = schema.find("additionalProperties");
  space();
  if (properties->members.empty()) {
    if (additional != nullptr && additional->is(Kind::kBool) && !additional->truth) return add("\"{\" space \"}\"");
    any();
    const std::string of = additional == nullptr ? "value" : rule(*additional, cat(at, "/additionalProperties"));
    return add(cat("\"{\" space (string space \":\" space ", of, " space (\",\" space string space \":\" space ", of,
                   " space)*)? \"}\""));
  }
  // From the last property on: `first` if none has been written before it, `rest` if one has.
  std::string first, rest;
  for (size_t i = properties->members.size(); i-- > 0;) {
    const auto& [name, s] = properties->members[i];
    const bool needed = required.count(name) != 0;
    const std::string place = cat(at, "/properties/", name);
    std::string of;
    if (needed) {
      of = rule(s, place);
    } else if (!attempt(s, place, of)) {
      continue;  // is never there
    }
    const std::string pair = add(cat(gbnf_quoted(json_string(name).dump()), " space \":\" space ", of, " space"));
    const bool last = first.empty() && rest.empty();
    const auto or_not = [&](const std::string& written, const std::string& skipped) {
      return needed ? written : last ? cat("(", written, ")?") : cat(written, " | ", skipped);
    };
    const std::string next_first = first, next_rest = rest;
    first = add(or_not(cat(pair, " ", next_rest), next_first));
    rest = add(or_not(cat("\",\" space ", pair, " ", next_rest), next_rest));
  }
  return add(cat("\"{\" space ", first, " \"}\""));
}

std::string SchemaRules::array(const JsonValue& schema, const std::string& at) {
  const auto count = [&](const char* key, uint64_t otherwise) -> uint64_t {
    const JsonValue* v = schema.find(key);
    double n;
    if (v == nullptr) return otherwise;
    if (!number_of(*v, n) || n < 0 || n != std::floor(n) || n > 10000)
      refuse(at, cat(key, " is not a whole number from 0 to 10000"));
    return static_cast<uint64_t>(n);
  };
  const JsonValue* unique = schema.find("uniqueItems");
  if (unique != nullptr && !unique->is(Kind::kBool)) refuse(at, "uniqueItems is neither true nor false");
  uint64_t least = count("minItems", 0), most = count("maxItems", UINT64_MAX);
  space();
  std::vector<std::string> heads;
  if (const JsonValue* prefix = schema.find("prefixItems")) {
    for (size_t i = 0; i < prefix->items.size(); ++i)
      heads.push_back(rule(prefix->items[i], cat(at, "/prefixItems/", i)));
  }
  const JsonValue* items = schema.find("items");
  if (unique != nullptr && unique->truth && most > 1) {
    if (!heads.empty()) refuse(at, "\"uniqueItems\" beside \"prefixItems\" is not supported");
    return distinct(items == nullptr ? json_object({}) : *items, least, most, at);
  }
  std::string tail;
  if (items == nullptr) {
    tail = any();
  } else if (!attempt(*items, cat(at, "/items"), tail)) {
    most = std::min<uint64_t>(most, heads.size());
    tail.clear();
  }
  if (least > most) empty(at, "no array is long enough and short enough");
  if (heads.empty()) {
    if (most == 0) return add("\"[\" space \"]\"");
    const std::string more = most == UINT64_MAX ? cat("{", least == 0 ? 0 : least - 1, ",}")
                                                : cat("{", least == 0 ? 0 : least - 1, ",", most - 1, "}");
    const std::string body = cat(tail, " space (\",\" space ", tail, " space)", more);
    return add(cat("\"[\" space ", least == 0 ? cat("(", body, ")?") : body, " \"]\""));
  }
  // Item by item, from the last named one on; each may be where the array ends.
  std::string rest;
  if (!tail.empty() && most > heads.size()) {
    const uint64_t needed = least > heads.size() ? least - heads.size() : 0;
    const std::string more =
        most == UINT64_MAX ? cat("{", needed, ",}") : cat("{", needed, ",", most - heads.size(), "}");
    rest = add(cat("(\",\" space ", tail, " space)", more));
  }
  for (size_t i = std::min<size_t>(heads.size(), most); i-- > 0;) {
    const std::string one = cat(i == 0 ? "" : "\",\" space ", heads[i], " space ", rest);
    rest = add(i < least ? one : cat("(", one, ")?"));
  }
  return add(cat("\"[\" space ", rest, " \"]\""));
}

// An array of different values, of a short list: a rule for each set of those that are used already.
std::string SchemaRules::distinct(const JsonValue& items, uint64_t least, uint64_t most, const std::string& at) {
  constexpr size_t kMost = 8;
  const SchemaAlgebra all = algebra(at);
  JsonValue s;
  try {
    s = all.expand(items);
  } catch (const NoValue&) {
    s = json_object({{"enum", json_list({})}});
  }
  std::vector<JsonValue> listed;
  if (const JsonValue* list = s.find("enum")) {
    listed = list->items;
  } else if (const JsonValue* one = s.find("const")) {
    listed = {*one};
  } else if (const JsonValue* type = s.find("type"); type != nullptr && type->text == "boolean") {
    listed = {json_bool(false), json_bool(true)};
  }
  std::vector<JsonValue> values;
  for (const JsonValue& v : listed) {
    if (all.admits(s, v) &&
        std::none_of(values.begin(), values.end(), [&](const JsonValue& o) { return all.equal(o, v); }))
      values.push_back(v);
  }
  if ((listed.empty() && s.find("enum") == nullptr) || values.size() > kMost) {
    refuse(at, "\"uniqueItems\" is supported for items of an enum of at most 8 values");
  }
  most = std::min<uint64_t>(most, values.size());
  if (least > most) empty(at, "there are not enough different values for the array");
  std::vector<std::string> rest(size_t{1} << values.size());  // by the set of those used
  for (size_t used = rest.size(); used-- > 0;) {
    const auto count = static_cast<uint64_t>(std::popcount(used));
    if (count > most) continue;
    std::string body;
    for (size_t i = 0; i < values.size() && count < most; ++i) {
      if ((used >> i & 1) != 0) continue;
      body += cat(body.empty() ? "" : " | ", gbnf_quoted(values[i].dump()), " space ", rest[used | size_t{1} << i]);
    }
    if (body.empty()) {
      rest[used] = "";
    } else {
      body = cat(count == 0 ? "" : "\",\" space ", "(", body, ")");
      rest[used] = add(count >= least ? cat("(", body, ")?") : body);
    }
  }
  return add(cat("\"[\" space ", rest[0], " \"]\""));
}

std::string SchemaRules::string(const JsonValue& schema, const std::string& at) {
  any();
  const JsonValue *low = schema.find("minLength"), *high = schema.find("maxLength"), *pattern = schema.find("pattern");
  if (low == nullptr && high == nullptr && pattern == nullptr) return "string";
  double a = 0, b = 0;
  if ((low != nullptr && !number_of(*low, a)) || (high != nullptr && !number_of(*high, b)) || a < 0 || b < 0 ||
      a > 10000 || b > 10000 || a != std::floor(a) || b != std::floor(b)) {
    refuse(at, "minLength and maxLength take whole numbers from 0 to 10000");
  }
  if (high != nullptr && a > b) empty(at, "no text is long enough and short enough");
  if (pattern != nullptr) {
    if (!pattern->is(Kind::kString)) refuse(at, "pattern is no string");
    return add(cat("\"\\\"\" ",
                   pattern_expression(pattern->text, static_cast<uint64_t>(a),
                                      high == nullptr ? kAnyLength : static_cast<uint64_t>(b),
                                      [&](const std::string& what) { refuse(at, what); }),
                   " \"\\\"\""));
  }
  return add(cat("\"\\\"\" char{", static_cast<uint32_t>(a), ",",
                 high == nullptr ? std::string() : std::to_string(static_cast<uint32_t>(b)), "} \"\\\"\""));
}

std::string SchemaRules::number(const JsonValue& schema, bool integer, const std::string& at) {
  any();
  double low = -HUGE_VAL, high = HUGE_VAL;
  bool open_low = false, open_high = false, bounded = false;
  for (const auto& [key, v] : schema.members) {
    const bool exclusive = key == "exclusiveMinimum" || key == "exclusiveMaximum";
    const bool is_low = key == "minimum" || key == "exclusiveMinimum",
               is_high = key == "maximum" || key == "exclusiveMaximum";
    if (!is_low && !is_high) continue;
    double n;
    if (!number_of(v, n)) refuse(at, cat(key, " is no number"));
    bounded = true;
    if (is_low && (n > low || (n == low && exclusive))) low = n, open_low = exclusive;
    if (is_high && (n < high || (n == high && exclusive))) high = n, open_high = exclusive;
  }
  // multipleOf as a whole number of units, 10^-decimals each.
  uint64_t step = 0;
  uint32_t decimals = 0;
  if (const JsonValue* of = schema.find("multipleOf")) {
    double m;
    if (!number_of(*of, m) || m <= 0) refuse(at, "multipleOf is no number above 0");
    double scaled = m;
    while (decimals < 6 && std::fabs(scaled - std::round(scaled)) > 1e-9 * scaled)
      scaled = m * std::pow(10, ++decimals);
    if (std::fabs(scaled - std::round(scaled)) > 1e-9 * scaled || std::round(scaled) < 1 ||
        std::round(scaled) > 1000000)
      refuse(at, "multipleOf beyond 1000000, or with more than 6 decimals, is not supported");
    step = static_cast<uint64_t>(std::round(scaled));
    const auto whole = static_cast<uint64_t>(std::pow(10, decimals));
    if (integer) step /= std::gcd(step, whole), decimals = 0;
  }
  if (!bounded && step == 0) return integer ? "integer" : "number";
  // Whole numbers, or millionths: inside the bounds, nearest to them.
  const double unit = step != 0 ? std::pow(10, decimals) : integer ? 1 : 1e6;
  const double limit = integer ? kLargestInteger : kLargestNumber;
  if ((std::isfinite(low) && std::fabs(low) > limit) || (std::isfinite(high) && std::fabs(high) > limit)) {
    refuse(at, cat("bounds of ", integer ? "an integer" : "a number", " beyond ±", integer ? "10^18" : "10^9",
                   " are not supported"));
  }
  double from = std::isfinite(low) ? std::ceil(low * unit) : -limit * unit,
         to = std::isfinite(high) ? std::floor(high * unit) : limit * unit;
  if (open_low && from <= low * unit) from += 1;
  if (open_high && to >= high * unit) to -= 1;
  if (from > to) empty(at, "no number lies between the bounds");
  if (step != 0) {
    const double most = std::min(limit * unit, 1e15 - 1);  // where no bound says otherwise
    if (!std::isfinite(low)) from = -most;
    if (!std::isfinite(high)) to = most;
    const std::string body = from > to ? std::string() : multiples(step, decimals, from, to, at);
    if (body.empty()) empty(at, "no multiple lies between the bounds");
    return add(body);
  }
  const auto between = [&](double a, double b) {
    const auto x = static_cast<uint64_t>(a), y = static_cast<uint64_t>(b);
    return integer ? digits_between(x, y) : decimals_between(x, y);
  };
  std::string body;
  if (from < 0) body = cat("\"-\" ", between(std::max(to < 0 ? -to : 1.0, 0.0), -from));
  if (to >= 0) body += cat(body.empty() ? "" : " | ", between(std::max(from, 0.0), to));
  return add(body);
}

std::string schema_grammar(std::string_view schema) {
  const JsonValue document = read_json(schema, "JSON Schema", SVQ_ERROR_GRAMMAR);
  SchemaRules rules(document, "JSON Schema");
  const std::string root = rules.rule(document, "#");
  return cat(rules.text(), "root ::= ", root, "\n");
}

}  // namespace svq::rt
