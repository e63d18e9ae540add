#include "runtime/grammar/schema_algebra.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <set>

namespace svq::rt {
namespace {

using Kind = JsonValue::Kind;

constexpr int kMaxReferenceDepth = 60;  // of references and combinations
constexpr size_t kMaxBranches = 256;    // of two anyOf together

std::set<std::string> types_of(const JsonValue& schema) {  // empty: any
  std::set<std::string> out;
  if (const JsonValue* type = schema.find("type")) {
    if (type->is(Kind::kString)) out.insert(type->text);
    for (const JsonValue& t : type->items) out.insert(t.text);
  }
  return out;
}

// The types that two lists have in common; "number" holds "integer".
std::set<std::string> common(const std::set<std::string>& a, const std::set<std::string>& b) {
  std::set<std::string> out;
  for (const std::string& t : a) {
    if (b.count(t) != 0) out.insert(t);
    if (t == "integer" && b.count("number") != 0) out.insert(t);
    if (t == "number" && b.count("integer") != 0) out.insert("integer");
  }
  return out;
}

std::string type_of(const JsonValue& v) {
  switch (v.kind) {
    case Kind::kNull:
      return "null";
    case Kind::kBool:
      return "boolean";
    case Kind::kString:
      return "string";
    case Kind::kArray:
      return "array";
    case Kind::kObject:
      return "object";
    case Kind::kNumber:
      break;
  }
  double n;
  return number_of(v, n) && n == std::floor(n) ? "integer" : "number";
}

const JsonValue* values_of(const JsonValue& schema) {  // a list, or const's single value
  const JsonValue* list = schema.find("enum");
  return list != nullptr ? list : schema.find("const");
}
std::vector<JsonValue> listed(const JsonValue& schema) {
  const JsonValue* v = values_of(schema);
  if (v == nullptr) return {};
  return schema.find("enum") != nullptr ? v->items : std::vector<JsonValue>{*v};
}

bool names(const JsonValue& schema, std::string_view key, const std::string& name) {
  const JsonValue* list = schema.find(key);
  return list != nullptr && std::any_of(list->items.begin(), list->items.end(),
                                        [&](const JsonValue& v) { return v.is(Kind::kString) && v.text == name; });
}

const JsonValue* property(const JsonValue& schema, const std::string& name) {
  const JsonValue* all = schema.find("properties");
  return all == nullptr ? nullptr : all->find(name);
}
bool is_false(const JsonValue* v) { return v != nullptr && v->is(Kind::kBool) && !v->truth; }

JsonValue together(const JsonValue& a, const JsonValue& b) { return json_object({{"allOf", json_list({a, b})}}); }

void set(JsonValue& object, const std::string& key, JsonValue value) {
  for (auto& [name, v] : object.members) {
    if (name == key) {
      v = std::move(value);
      return;
    }
  }
  object.members.emplace_back(key, std::move(value));
}

void drop(JsonValue& object, std::string_view key) {
  std::erase_if(object.members, [&](const auto& m) { return m.first == key; });
}

// Only objects come of it: by its type, or by its keywords where it has none.
bool writes_objects(const JsonValue& s) {
  const auto types = types_of(s);
  if (!types.empty()) return types == std::set<std::string>{"object"};
  return s.find("properties") != nullptr || s.find("required") != nullptr;
}

}  // namespace

JsonValue json_bool(bool truth) {
  return {.kind = Kind::kBool, .truth = truth, .text = {}, .items = {}, .members = {}};
}
JsonValue json_string(std::string text) {
  return {.kind = Kind::kString, .text = std::move(text), .items = {}, .members = {}};
}
JsonValue json_list(std::vector<JsonValue> items) {
  return {.kind = Kind::kArray, .text = {}, .items = std::move(items), .members = {}};
}
JsonValue json_object(std::vector<std::pair<std::string, JsonValue>> members) {
  return {.kind = Kind::kObject, .text = {}, .items = {}, .members = std::move(members)};
}

bool number_of(const JsonValue& v, double& out) {
  if (!v.is(Kind::kNumber)) return false;
  out = std::strtod(v.text.c_str(), nullptr);
  return std::isfinite(out);
}

bool is_multiple(double value, double step) {
  const double v = std::round(value * 1e6), s = std::round(step * 1e6);
  return std::fabs(v - value * 1e6) < 1e-3 && s >= 1 && std::fmod(v, s) == 0;
}

size_t characters(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

bool SchemaAlgebra::is_annotation(std::string_view key) {
  static constexpr std::string_view kAll[] = {
      "title",    "description",      "default",         "examples",    "example",    "$schema",  "$id",
      "$comment", "$anchor",          "$defs",           "definitions", "deprecated", "readOnly", "writeOnly",
      "format",   "contentMediaType", "contentEncoding", "strict"};
  return std::find(std::begin(kAll), std::end(kAll), key) != std::end(kAll);
}

bool SchemaAlgebra::equal(const JsonValue& a, const JsonValue& b) {
  if (a.kind != b.kind) return false;
  switch (a.kind) {
    case Kind::kNull:
      return true;
    case Kind::kBool:
      return a.truth == b.truth;
    case Kind::kString:
      return a.text == b.text;
    case Kind::kNumber: {
      double x, y;
      return a.text == b.text || (number_of(a, x) && number_of(b, y) && x == y);
    }
    case Kind::kArray:
      return std::equal(a.items.begin(), a.items.end(), b.items.begin(), b.items.end(), equal);
    case Kind::kObject:
      break;
  }
  return a.members.size() == b.members.size() && std::all_of(a.members.begin(), a.members.end(), [&](const auto& m) {
           const JsonValue* other = b.find(m.first);
           return other != nullptr && equal(m.second, *other);
         });
}

JsonValue SchemaAlgebra::expand(const JsonValue& schema, int depth) const {
  if (depth > kMaxReferenceDepth) refuse_("schemas refer to each other without end, or deeper than 60");
  if (!schema.is(Kind::kObject)) {
    if (is_false(&schema)) throw NoValue(SVQ_ERROR_GRAMMAR, "the schema \"false\" has no values");
    if (!schema.is(Kind::kBool)) refuse_("a schema was expected: an object, true or false");
    return json_object({});
  }
  JsonValue out = json_object({});
  for (const auto& [key, v] : schema.members) {
    if (key != "$ref" && key != "allOf" && !is_annotation(key)) out.members.emplace_back(key, v);
  }
  if (const JsonValue* ref = schema.find("$ref")) {
    if (!ref->is(Kind::kString)) refuse_("$ref is no string");
    out = both(expand(resolve_(ref->text), depth + 1), out);
  }
  if (const JsonValue* all = schema.find("allOf")) {
    if (!all->is(Kind::kArray) || all->items.empty()) refuse_("\"allOf\" is no list of schemas");
    for (const JsonValue& s : all->items) out = both(out, expand(s, depth + 1));
  }
  return out;
}

JsonValue SchemaAlgebra::both(const JsonValue& a, const JsonValue& b) const {
  if (a.members.empty()) return b;
  if (b.members.empty()) return a;
  JsonValue out = a;
  for (const auto& [key, v] : b.members) {
    const JsonValue* mine = a.find(key);
    if (mine == nullptr) {
      set(out, key, v);
      continue;
    }
    double x = 0, y = 0;
    const bool numbers = number_of(*mine, x) && number_of(v, y);
    if (key == "minimum" || key == "exclusiveMinimum" || key == "minLength" || key == "minItems") {
      if (!numbers) refuse_(cat(key, " is no number"));
      if (y > x) set(out, key, v);
    } else if (key == "maximum" || key == "exclusiveMaximum" || key == "maxLength" || key == "maxItems") {
      if (!numbers) refuse_(cat(key, " is no number"));
      if (y < x) set(out, key, v);
    } else if (key == "multipleOf") {
      if (!numbers) refuse_("multipleOf is no number");
      if (is_multiple(y, x)) {
        set(out, key, v);
      } else if (!is_multiple(x, y)) {
        refuse_("two \"multipleOf\", neither a multiple of the other, are not supported together");
      }
    } else if (key == "pattern") {
      if (!equal(*mine, v)) refuse_("two different \"pattern\" are not supported together");
    } else if (key == "uniqueItems") {
      if (v.truth) set(out, key, v);
    } else if (key == "not") {
      set(out, key, json_object({{"anyOf", json_list({*mine, v})}}));
    } else if (key == "anyOf") {
      if (mine->items.size() * v.items.size() > kMaxBranches) {
        refuse_("\"anyOf\" and \"anyOf\" together have more than 256 branches");
      }
      std::vector<JsonValue> branches;
      for (const JsonValue& p : mine->items) {
        for (const JsonValue& q : v.items) branches.push_back(together(p, q));
      }
      set(out, key, json_list(std::move(branches)));
    } else if (key == "oneOf") {
      if (!equal(*mine, v)) refuse_("two different \"oneOf\" are not supported together");
    } else if (key != "type" && key != "enum" && key != "const" && key != "properties" && key != "required" &&
               key != "additionalProperties" && key != "items" && key != "prefixItems") {
      if (!equal(*mine, v)) refuse_(cat("the keyword \"", key, "\" is not supported"));
    }
  }
  if (a.find("type") != nullptr && b.find("type") != nullptr) {
    std::vector<JsonValue> types;
    for (const std::string& t : common(types_of(a), types_of(b))) types.push_back(json_string(t));
    if (types.empty()) throw NoValue(SVQ_ERROR_GRAMMAR, "schemas of different types have no value in common");
    set(out, "type", types.size() == 1 ? types[0] : json_list(std::move(types)));
  }
  if (values_of(a) != nullptr && values_of(b) != nullptr) {
    std::vector<JsonValue> values;
    const auto other = listed(b);
    for (const JsonValue& v : listed(a)) {
      if (std::any_of(other.begin(), other.end(), [&](const JsonValue& o) { return equal(v, o); })) values.push_back(v);
    }
    if (values.empty()) throw NoValue(SVQ_ERROR_GRAMMAR, "two lists of values have none in common");
    drop(out, "const");
    set(out, "enum", json_list(std::move(values)));
  }
  merge_object(a, b, out);
  merge_array(a, b, out);
  return out;
}

void SchemaAlgebra::merge_object(const JsonValue& a, const JsonValue& b, JsonValue& out) const {
  const JsonValue *more_a = a.find("additionalProperties"), *more_b = b.find("additionalProperties");
  if (a.find("required") != nullptr && b.find("required") != nullptr) {
    JsonValue list = *a.find("required");
    for (const JsonValue& name : b.find("required")->items) {
      if (!names(a, "required", name.text)) list.items.push_back(name);
    }
    set(out, "required", std::move(list));
  }
  if (more_a != nullptr && more_b != nullptr) {
    set(out, "additionalProperties",
        is_false(more_a)   ? *more_a
        : is_false(more_b) ? *more_b
                           : together(*more_a, *more_b));
  }
  if (a.find("properties") == nullptr && b.find("properties") == nullptr) return;
  JsonValue properties = json_object({});
  const auto add = [&](const JsonValue& from, const JsonValue& other, const JsonValue* more_other, bool first) {
    const JsonValue* all = from.find("properties");
    if (all == nullptr) return;
    for (const auto& [name, s] : all->members) {
      const JsonValue* twin = property(other, name);
      if (twin != nullptr) {
        if (first) properties.members.emplace_back(name, together(s, *twin));
      } else if (more_other == nullptr) {
        properties.members.emplace_back(name, s);
      } else {
        properties.members.emplace_back(name, is_false(more_other) ? *more_other : together(s, *more_other));
      }
    }
  };
  add(a, b, more_b, true);
  add(b, a, more_a, false);
  set(out, "properties", std::move(properties));
}

void SchemaAlgebra::merge_array(const JsonValue& a, const JsonValue& b, JsonValue& out) const {
  const auto at = [](const JsonValue& s, size_t i) -> const JsonValue* {
    const JsonValue* heads = s.find("prefixItems");
    return heads != nullptr && i < heads->items.size() ? &heads->items[i] : s.find("items");
  };
  const auto one = [&](size_t i) {
    const JsonValue *x = at(a, i), *y = at(b, i);
    return x == nullptr ? (y == nullptr ? json_object({}) : *y) : y == nullptr ? *x : together(*x, *y);
  };
  const auto heads = [](const JsonValue& s) {
    const JsonValue* list = s.find("prefixItems");
    return list == nullptr ? size_t{0} : list->items.size();
  };
  const size_t n = std::max(heads(a), heads(b));
  if (n == 0 && (a.find("items") == nullptr || b.find("items") == nullptr)) return;
  if (n != 0) {
    std::vector<JsonValue> list;
    for (size_t i = 0; i < n; ++i) list.push_back(one(i));
    set(out, "prefixItems", json_list(std::move(list)));
  }
  if (a.find("items") != nullptr || b.find("items") != nullptr) {
    set(out, "items", is_false(a.find("items")) || is_false(b.find("items")) ? json_bool(false) : one(n));
  }
}

bool SchemaAlgebra::admits(const JsonValue& schema, const JsonValue& v, int depth) const {
  if (depth > kMaxReferenceDepth) refuse_("schemas refer to each other without end, or deeper than 60");
  if (schema.is(Kind::kBool)) return schema.truth;
  double x = 0, y = 0;
  const bool number = number_of(v, x);
  const auto of = [&](const JsonValue& s) { return admits(s, v, depth + 1); };
  for (const auto& [key, k] : schema.members) {
    const bool limit = number_of(k, y);
    bool fits = true;
    if (is_annotation(key)) {
      continue;
    } else if (key == "$ref") {
      fits = of(resolve_(k.text));
    } else if (key == "type") {
      const auto types = types_of(schema);
      const std::string type = type_of(v);
      fits = types.count(type) != 0 || (type == "integer" && types.count("number") != 0);
    } else if (key == "const") {
      fits = equal(k, v);
    } else if (key == "enum") {
      fits = std::any_of(k.items.begin(), k.items.end(), [&](const JsonValue& e) { return equal(e, v); });
    } else if (key == "anyOf") {
      fits = std::any_of(k.items.begin(), k.items.end(), of);
    } else if (key == "allOf") {
      fits = std::all_of(k.items.begin(), k.items.end(), of);
    } else if (key == "oneOf") {
      fits = std::count_if(k.items.begin(), k.items.end(), of) == 1;
    } else if (key == "not") {
      fits = !of(k);
    } else if (key == "minimum") {
      fits = !number || (limit && x >= y);
    } else if (key == "maximum") {
      fits = !number || (limit && x <= y);
    } else if (key == "exclusiveMinimum") {
      fits = !number || (limit && x > y);
    } else if (key == "exclusiveMaximum") {
      fits = !number || (limit && x < y);
    } else if (key == "multipleOf") {
      fits = !number || (limit && is_multiple(x, y));
    } else if (key == "minLength" || key == "maxLength") {
      const auto n = static_cast<double>(characters(v.text));
      fits = !v.is(Kind::kString) || (limit && (key == "minLength" ? n >= y : n <= y));
    } else if (key == "minItems" || key == "maxItems") {
      const auto n = static_cast<double>(v.items.size());
      fits = !v.is(Kind::kArray) || (limit && (key == "minItems" ? n >= y : n <= y));
    } else if (key == "uniqueItems") {
      for (size_t i = 0; i < v.items.size() && k.truth; ++i) {
        for (size_t j = 0; j < i; ++j) fits = fits && !equal(v.items[i], v.items[j]);
      }
    } else if (key == "items" || key == "prefixItems") {
      const JsonValue* heads = schema.find("prefixItems");
      const size_t n = heads == nullptr ? 0 : heads->items.size();
      for (size_t i = 0; i < v.items.size(); ++i) {
        if (key == "items" && i >= n) fits = fits && admits(k, v.items[i], depth + 1);
        if (key == "prefixItems" && i < n) fits = fits && admits(k.items[i], v.items[i], depth + 1);
      }
    } else if (key == "required") {
      for (const JsonValue& name : k.items) fits = fits && (!v.is(Kind::kObject) || v.find(name.text) != nullptr);
    } else if (key == "properties" || key == "additionalProperties") {
      for (const auto& [name, member] : v.members) {
        const JsonValue* s = property(schema, name);
        if (key == "properties" && s != nullptr) fits = fits && admits(*s, member, depth + 1);
        if (key == "additionalProperties" && s == nullptr) fits = fits && admits(k, member, depth + 1);
      }
    } else if (key != "pattern" || v.is(Kind::kString)) {
      refuse_(cat("the keyword \"", key, "\" is not supported beside \"enum\" or \"const\", or inside \"not\""));
    }
    if (!fits) return false;
  }
  return true;
}

bool SchemaAlgebra::disjoint(const JsonValue& left, const JsonValue& right, int depth) const {
  if (depth > 8) return false;
  JsonValue a, b;
  try {
    a = expand(left), b = expand(right);
  } catch (const NoValue&) {
    return true;
  }
  for (const auto& [some, other] : {std::pair<const JsonValue&, const JsonValue&>{a, b}, {b, a}}) {
    for (const char* key : {"anyOf", "oneOf"}) {
      const JsonValue* list = some.find(key);
      if (list == nullptr) continue;
      if (std::all_of(list->items.begin(), list->items.end(),
                      [&](const JsonValue& s) { return disjoint(s, other, depth + 1); })) {
        return true;
      }
    }
  }
  const auto types_a = types_of(a), types_b = types_of(b);
  if (!types_a.empty() && !types_b.empty() && common(types_a, types_b).empty()) return true;
  for (const auto& [some, other] : {std::pair<const JsonValue&, const JsonValue&>{a, b}, {b, a}}) {
    if (values_of(some) == nullptr || other.find("pattern") != nullptr) continue;
    const auto values = listed(some);
    if (std::none_of(values.begin(), values.end(), [&](const JsonValue& v) { return admits(other, v); })) return true;
  }
  const auto limit = [](const JsonValue& s, const char* closed, const char* open, double otherwise, bool& is_open) {
    double out = otherwise, n;
    is_open = false;
    const double sign = otherwise < 0 ? 1 : -1;  // lower limits: the larger counts
    for (const char* key : {closed, open}) {
      const JsonValue* v = s.find(key);
      if (v == nullptr || !number_of(*v, n)) continue;
      if (sign * n > sign * out || (n == out && key == open)) out = n, is_open = key == open;
    }
    return out;
  };
  const std::set<std::string> numeric{"integer", "number"};
  const auto only_numbers = [&](const std::set<std::string>& t) {
    return !t.empty() && std::includes(numeric.begin(), numeric.end(), t.begin(), t.end());
  };
  if (only_numbers(types_a) && only_numbers(types_b)) {
    for (const auto& [low, high] : {std::pair<const JsonValue&, const JsonValue&>{a, b}, {b, a}}) {
      bool open_high, open_low;
      const double end = limit(low, "maximum", "exclusiveMaximum", HUGE_VAL, open_high),
                   begin = limit(high, "minimum", "exclusiveMinimum", -HUGE_VAL, open_low);
      if (end < begin || (end == begin && (open_high || open_low))) return true;
    }
  }
  if (!writes_objects(a) || !writes_objects(b)) return false;
  for (const auto& [some, other] : {std::pair<const JsonValue&, const JsonValue&>{a, b}, {b, a}}) {
    const JsonValue* list = some.find("required");
    if (list == nullptr) continue;
    for (const JsonValue& name : list->items) {
      const JsonValue *mine = property(some, name.text), *its = property(other, name.text);
      if (its == nullptr && is_false(other.find("additionalProperties"))) return true;
      if (mine != nullptr && its != nullptr && disjoint(*mine, *its, depth + 1)) return true;
    }
  }
  return false;
}

}  // namespace svq::rt
