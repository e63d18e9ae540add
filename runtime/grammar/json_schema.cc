#include "runtime/grammar/json_schema.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <set>
#include <vector>

#include "runtime/base/error.h"

namespace svq::rt {
namespace {

using Kind = JsonValue::Kind;

constexpr int kMaxDepth = 100;
constexpr double kLargestInteger = 999'999'999'999'999'999;  // 18 digits: fits int64, as written
constexpr double kLargestNumber = 999'999'999;               // of a range given on one side only

// Keywords that say nothing about which values are valid.
bool is_annotation(std::string_view key) {
  static constexpr std::string_view kAll[] = {
      "title",    "description",      "default",         "examples",    "example",    "$schema",  "$id",
      "$comment", "$anchor",          "$defs",           "definitions", "deprecated", "readOnly", "writeOnly",
      "format",   "contentMediaType", "contentEncoding", "strict"};
  return std::find(std::begin(kAll), std::end(kAll), key) != std::end(kAll);
}

bool number_of(const JsonValue& v, double& out) {
  if (!v.is(Kind::kNumber)) return false;
  out = std::strtod(v.text.c_str(), nullptr);
  return std::isfinite(out);
}

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
  if (++depth_ > kMaxDepth) refuse(at, "schemas are nested deeper than 100");
  std::string out = value(schema, at);
  --depth_;
  return out;
}

std::string SchemaRules::one_of(const JsonValue& list, const std::string& at) {
  if (!list.is(Kind::kArray) || list.items.empty()) refuse(at, "a list of schemas was expected");
  std::string body;
  for (size_t i = 0; i < list.items.size(); ++i) body += cat(i == 0 ? "" : " | ", rule(list.items[i], cat(at, "/", i)));
  return add(body);
}

std::string SchemaRules::value(const JsonValue& schema, const std::string& at) {
  if (schema.is(Kind::kBool)) {
    if (!schema.truth) refuse(at, "the schema \"false\" has no values");
    return any();
  }
  if (!schema.is(Kind::kObject)) refuse(at, "a schema was expected: an object, true or false");

  std::vector<std::string> keys;  // that restrict
  for (const auto& [key, v] : schema.members) {
    if (!is_annotation(key)) keys.push_back(key);
  }
  const auto only = [&](std::string_view key) {  // a keyword that is not combined with others here, but for a type
    for (const std::string& k : keys) {
      if (k != key && k != "type") refuse(at, cat("\"", k, "\" beside \"", key, "\" is not supported"));
    }
  };
  if (const JsonValue* ref = schema.find("$ref")) {
    only("$ref");
    if (!ref->is(Kind::kString)) refuse(at, "$ref is no string");
    if (const auto known = by_reference_.find(ref->text); known != by_reference_.end()) return known->second;
    const std::string name = cat(prefix_, "r", count_++);
    by_reference_[ref->text] = name;  // before it is read: it may refer to itself
    const std::string target = rule(resolve(ref->text, at), ref->text);
    text_ += cat(name, " ::= ", target, "\n");
    return name;
  }
  if (const JsonValue* constant = schema.find("const")) {
    only("const");
    return add(gbnf_quoted(constant->dump()));
  }
  if (const JsonValue* list = schema.find("enum")) {
    only("enum");
    if (!list->is(Kind::kArray) || list->items.empty()) refuse(at, "enum is no list of values");
    std::string body;
    for (const JsonValue& v : list->items) body += cat(body.empty() ? "" : " | ", gbnf_quoted(v.dump()));
    return add(body);
  }
  if (const JsonValue* list = schema.find("anyOf")) {
    only("anyOf");
    return one_of(*list, cat(at, "/anyOf"));
  }
  if (const JsonValue* list = schema.find("allOf")) {
    only("allOf");
    if (!list->is(Kind::kArray) || list->items.size() != 1) refuse(at, "\"allOf\" of several schemas is not supported");
    return rule(list->items[0], cat(at, "/allOf/0"));
  }
  if (const JsonValue* list = schema.find("oneOf")) {
    only("oneOf");
    if (!list->is(Kind::kArray)) refuse(at, "oneOf is no list of schemas");
    std::set<std::string> types;  // alternatives of different types exclude each other
    for (const JsonValue& s : list->items) {
      const JsonValue* type = s.find("type");
      if (type == nullptr || !type->is(Kind::kString) ||
          !types.insert(type->text == "integer" ? "number" : type->text).second) {
        refuse(at, "\"oneOf\" is supported only for schemas of different types; \"anyOf\" may do");
      }
    }
    return one_of(*list, cat(at, "/oneOf"));
  }

  static constexpr std::string_view kObject[] = {"properties", "required", "additionalProperties"};
  static constexpr std::string_view kArray[] = {"items", "prefixItems", "minItems", "maxItems", "uniqueItems"};
  static constexpr std::string_view kString[] = {"minLength", "maxLength"};
  static constexpr std::string_view kNumber[] = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"};
  const auto among = [](const auto& list, std::string_view key) {
    return std::find(std::begin(list), std::end(list), key) != std::end(list);
  };
  std::string implied;
  for (const std::string& key : keys) {
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
    const std::string pair =
        add(cat(gbnf_quoted(JsonValue{.kind = Kind::kString, .text = name, .items = {}, .members = {}}.dump()),
                " space \":\" space ", rule(s, cat(at, "/properties/", name)), " space"));
    const bool needed = required.count(name) != 0;
    const bool last = i + 1 == properties->members.size();
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
  if (const JsonValue* unique = schema.find("uniqueItems");
      unique != nullptr && !(unique->is(Kind::kBool) && !unique->truth)) {
    refuse(at, "\"uniqueItems\" is not supported");
  }
  uint64_t least = count("minItems", 0), most = count("maxItems", UINT64_MAX);
  space();
  std::vector<std::string> heads;
  if (const JsonValue* prefix = schema.find("prefixItems")) {
    for (size_t i = 0; i < prefix->items.size(); ++i)
      heads.push_back(rule(prefix->items[i], cat(at, "/prefixItems/", i)));
  }
  const JsonValue* items = schema.find("items");
  std::string tail;
  if (items != nullptr && items->is(Kind::kBool) && !items->truth) {
    most = std::min<uint64_t>(most, heads.size());
  } else {
    tail = items == nullptr ? any() : rule(*items, cat(at, "/items"));
  }
  if (least > most) refuse(at, "no array is long enough and short enough");
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

std::string SchemaRules::string(const JsonValue& schema, const std::string& at) {
  any();
  const JsonValue *low = schema.find("minLength"), *high = schema.find("maxLength");
  if (low == nullptr && high == nullptr) return "string";
  double a = 0, b = 0;
  if ((low != nullptr && !number_of(*low, a)) || (high != nullptr && !number_of(*high, b)) || a < 0 || b < 0 ||
      a > 10000 || b > 10000 || a != std::floor(a) || b != std::floor(b) || (high != nullptr && a > b)) {
    refuse(at, "minLength and maxLength take whole numbers from 0 to 10000, the first not above the second");
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
  if (!bounded) return integer ? "integer" : "number";
  // Whole numbers, or millionths: inside the bounds, nearest to them.
  const double unit = integer ? 1 : 1e6, limit = integer ? kLargestInteger : kLargestNumber;
  if ((std::isfinite(low) && std::fabs(low) > limit) || (std::isfinite(high) && std::fabs(high) > limit)) {
    refuse(at, cat("bounds of ", integer ? "an integer" : "a number", " beyond ±", integer ? "10^18" : "10^9",
                   " are not supported"));
  }
  double from = std::isfinite(low) ? std::ceil(low * unit) : -limit * unit,
         to = std::isfinite(high) ? std::floor(high * unit) : limit * unit;
  if (open_low && from <= low * unit) from += 1;
  if (open_high && to >= high * unit) to -= 1;
  if (from > to) refuse(at, "no number lies between the bounds");
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
