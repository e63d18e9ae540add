#include "tests/grammar/random_schema.h"

#include <cmath>
#include <map>
#include <regex>

#include "runtime/tokenizer/utf8.h"

namespace svq::test {
namespace {

using nlohmann::json;

int up_to(std::mt19937& rng, int n) { return static_cast<int>(rng() % static_cast<uint32_t>(n + 1)); }

std::string random_name(std::mt19937& rng) {
  static const char* kNames[] = {"name",
                                 "x",
                                 "speed",
                                 "a \"quoted\" one",
                                 "back\\slash",
                                 "\xC3\xA9t\xC3\xA9",
                                 "\xF0\x9F\xA4\x96",
                                 "",
                                 "new\nline",
                                 "arguments",
                                 "t",
                                 "id"};
  return kNames[rng() % std::size(kNames)] + std::string(rng() % 3 == 0 ? std::to_string(rng() % 10) : "");
}

json random_value(std::mt19937& rng, int depth = 0) {
  switch (rng() % (depth > 1 ? 5 : 7)) {
    case 0:
      return nullptr;
    case 1:
      return rng() % 2 == 0;
    case 2:
      return up_to(rng, 2000) - 1000;
    case 3:
      return (up_to(rng, 2000) - 1000) / 8.0;
    case 4:
      return random_name(rng);
    case 5: {
      json list = json::array();
      for (int n = up_to(rng, 2); n > 0; --n) list.push_back(random_value(rng, depth + 1));
      return list;
    }
    default: {
      json object = json::object();
      for (int n = up_to(rng, 2); n > 0; --n) object[random_name(rng)] = random_value(rng, depth + 1);
      return object;
    }
  }
}

double random_bound(std::mt19937& rng, bool integer) {
  switch (rng() % 4) {
    case 0:
      return up_to(rng, 20) - 10;
    case 1:
      return up_to(rng, 200000) - 100000;
    case 2:
      return integer ? std::floor(std::pow(10, up_to(rng, 15))) * (rng() % 2 == 0 ? 1 : -1)
                     : (up_to(rng, 2000) - 1000) / 1000.0;
    default:
      return integer ? up_to(rng, 3) : (up_to(rng, 2000000) - 1000000) / 64.0;
  }
}

json random_number(std::mt19937& rng, bool integer) {
  json s{{"type", integer ? "integer" : "number"}};
  double a = random_bound(rng, integer), b = random_bound(rng, integer);
  if (a > b) std::swap(a, b);
  if (b - a < 1) b = a + 1 + up_to(rng, 3);
  const auto write = [&](double v) -> json { return v == std::floor(v) ? json(static_cast<int64_t>(v)) : json(v); };
  if (rng() % 2 == 0) s[rng() % 4 == 0 ? "exclusiveMinimum" : "minimum"] = write(a - 2);
  if (rng() % 2 == 0) s[rng() % 4 == 0 ? "exclusiveMaximum" : "maximum"] = write(b + 2);
  return s;
}

json random_schema(std::mt19937& rng, int depth);

// A regular expression and limits of length that it can hold.
json random_pattern(std::mt19937& rng) {
  static const char* kAtoms[] = {"a",        "[a-c]",  "\\d",      ".",      "[^x-z\"]", "\\w", "\\.",
                                 "(?:ab|c)", "(x|yz)", "\xC3\xA9", "[\\s_]", "\\S",      "\\/", "\\u00fc"};
  static const char* kTimes[] = {"", "", "", "?", "*", "+", "{2}", "{1,3}", "{0,}", "+?"};
  json s{{"type", "string"}};
  std::string text;
  for (int branch = up_to(rng, 2); branch >= 0; --branch) {
    if (rng() % 3 != 0) text += '^';
    for (int n = up_to(rng, 3); n > 0; --n)
      text += std::string(kAtoms[rng() % std::size(kAtoms)]) + kTimes[rng() % std::size(kTimes)];
    if (rng() % 3 != 0) text += '$';
    if (branch > 0) text += '|';
  }
  if (rng() % 3 == 0) {  // one repetition, which the limits narrow
    text = "^[a-z]\\w*$";
    s["minLength"] = up_to(rng, 5);
    s["maxLength"] = 5 + up_to(rng, 5);
  }
  s["pattern"] = text;
  return s;
}

json random_multiple(std::mt19937& rng) {
  const bool integer = rng() % 2 == 0;
  json s = random_number(rng, integer);
  static const double kSteps[] = {0.5, 0.25, 0.01, 0.1, 1, 2, 5, 7, 15, 90, 100, 2.5, 0.125};
  s["multipleOf"] = integer ? json(1 + up_to(rng, 120)) : json(kSteps[rng() % std::size(kSteps)]);
  const double step = s["multipleOf"].get<double>();
  for (const char* key : {"maximum", "exclusiveMaximum"}) {  // wide enough
    if (s.contains(key)) s[key] = std::ceil(s[key].get<double>() + 2 * step + 1);
  }
  return s;
}

json random_distinct(std::mt19937& rng) {
  json list = json::array();
  for (int n = 2 + up_to(rng, 3); n > 0; --n) list.push_back(n * 10);
  json s{{"type", "array"}, {"uniqueItems", true}, {"items", {{"enum", list}}}};
  if (rng() % 2 == 0) s["minItems"] = up_to(rng, 2);
  if (rng() % 2 == 0) s["maxItems"] = 2 + up_to(rng, 3);
  return s;
}

// Parts of one object, and what one of them says of another.
json random_parts(std::mt19937& rng, int depth) {
  json a{{"type", "object"},
         {"properties", {{"a", random_schema(rng, depth + 2)}, {"n", {{"type", "integer"}, {"minimum", 0}}}}}};
  json b{{"properties", {{"b", random_schema(rng, depth + 2)}, {"n", {{"maximum", 5 + up_to(rng, 40)}}}}}};
  if (rng() % 2 == 0) a["required"] = json::array({"a"});
  if (rng() % 2 == 0) b["required"] = json::array({"n", "b"});
  if (rng() % 3 == 0)
    b["anyOf"] = json::array({{{"properties", {{"c", {{"const", 1}}}}}, {"required", {"c"}}},
                              json::object({{"properties", {{"d", {{"type", "null"}}}}}})});
  if (rng() % 3 == 0) return json{{"allOf", json::array({b})}, {"type", "object"}, {"properties", a["properties"]}};
  return json{{"allOf", json::array({a, b})}};
}

// Messages told apart by a constant.
json random_one_of(std::mt19937& rng, int depth) {
  json out{{"oneOf", json::array()}};
  for (int i = 0; i < 2 + up_to(rng, 2); ++i) {
    out["oneOf"].push_back(
        {{"type", "object"},
         {"properties", {{"kind", {{"const", "k" + std::to_string(i)}}}, {"value", random_schema(rng, depth + 2)}}},
         {"required", json::array({"kind"})}});
  }
  if (rng() % 2 == 0) out["oneOf"].push_back({{"type", "string"}, {"maxLength", 5}});
  return out;
}

json random_not(std::mt19937& rng) {
  switch (rng() % 3) {
    case 0:
      return json{{"enum", {1, "two", 3.5, nullptr}}, {"not", {{"enum", {"two", 3.5}}}}};
    case 1:
      return json{{"type", {"string", "integer", "null"}}, {"not", {{"type", "null"}}}, {"maxLength", 6}};
    default:
      return json{{"type", "object"},
                  {"properties", {{"p", {{"type", "null"}}}, {"q", {{"type", "boolean"}}}}},
                  {"not", {{"required", {"p"}}}}};
  }
}

json random_schema(std::mt19937& rng, int depth) {
  switch (rng() % (depth > 2 ? 9 : 16)) {
    case 6:
      return random_pattern(rng);
    case 7:
      return random_multiple(rng);
    case 8:
      return rng() % 2 == 0 ? random_not(rng) : random_distinct(rng);
    case 9:
      return random_parts(rng, depth);
    case 10:
      return random_one_of(rng, depth);
    case 11:
      return json{{"enum", {1, 2, 3, "x", 40}},
                  {"type", rng() % 2 == 0 ? "integer" : "number"},
                  {"maximum", 2 + up_to(rng, 50)}};
    case 0: {
      json s{{"type", "string"}};
      const int low = up_to(rng, 4);
      if (rng() % 3 != 0) s["minLength"] = low;
      if (rng() % 3 != 0) s["maxLength"] = low + up_to(rng, 8);
      return s;
    }
    case 1:
      return random_number(rng, true);
    case 2:
      return random_number(rng, false);
    case 3:
      return json{{"type", rng() % 2 == 0 ? "boolean" : "null"}, {"description", "either \"this\" or that"}};
    case 4: {
      json list = json::array();
      for (int n = 1 + up_to(rng, 3); n > 0; --n) list.push_back(random_value(rng));
      return json{{"enum", list}};
    }
    case 5:
      return json{{"const", random_value(rng)}};
    case 12: {
      json s{{"type", "array"}};
      const int low = up_to(rng, 3);
      if (rng() % 2 == 0) s["minItems"] = low;
      if (rng() % 2 == 0) s["maxItems"] = low + up_to(rng, 3);
      if (rng() % 4 == 0) {
        s["prefixItems"] = json::array();
        for (int n = 1 + up_to(rng, 2); n > 0; --n) s["prefixItems"].push_back(random_schema(rng, depth + 1));
        if (rng() % 2 == 0 && low <= 1) {
          s["items"] = false;
          s.erase("minItems");
          if (s.contains("maxItems")) s.erase("maxItems");
          return s;
        }
      }
      if (rng() % 5 != 0) s["items"] = random_schema(rng, depth + 1);
      return s;
    }
    case 13: {
      json s{{"anyOf", json::array()}};
      for (int n = 1 + up_to(rng, 2); n > 0; --n) s["anyOf"].push_back(random_schema(rng, depth + 1));
      return s;
    }
    case 14: {
      if (rng() % 4 == 0) return json{{"type", "object"}, {"additionalProperties", random_schema(rng, depth + 1)}};
      if (rng() % 4 == 0) return json::object();
      return json{{"$ref", "#/$defs/shared"}};
    }
    default: {
      json s{{"type", "object"}, {"properties", json::object()}};
      json required = json::array();
      for (int n = up_to(rng, 4); n > 0; --n) {
        const std::string name = random_name(rng);
        s["properties"][name] = random_schema(rng, depth + 1);
      }
      for (const auto& [name, _] : s["properties"].items()) {
        if (rng() % 2 == 0) required.push_back(name);
      }
      if (rng() % 5 != 0) s["required"] = required;
      if (rng() % 2 == 0) s["additionalProperties"] = false;
      return s;
    }
  }
}

// Characters of a UTF-8 text.
size_t length(const std::string& s) {
  size_t n = 0;
  for (const char c : s) n += (static_cast<uint8_t>(c) & 0xC0) != 0x80;
  return n;
}

std::wstring wide(const std::string& s) {
  std::wstring out;
  for (std::string_view rest = s; !rest.empty();) {
    const size_t n = rt::utf8_char(rest);
    out += static_cast<wchar_t>(rt::utf8_code_point(rest, n));
    rest.remove_prefix(n);
  }
  return out;
}

}  // namespace

json random_schema(std::mt19937& rng) {
  json s = random_schema(rng, 0);
  s["$defs"]["shared"] = rng() % 2 == 0
                             ? random_schema(rng, 3)
                             : json{{"type", "object"},  // of itself
                                    {"properties",
                                     {{"next", {{"anyOf", {{{"type", "null"}}, {{"$ref", "#/$defs/shared"}}}}}},
                                      {"v", {{"type", "integer"}}}}},
                                    {"required", {"next"}}};
  return s;
}

std::string validate(const json& v, const json& schema, const json& document) {
  if (schema.is_boolean()) return schema.get<bool>() ? "" : "nothing is valid";
  const auto bad = [&](const std::string& why) { return v.dump() + ": " + why + " of " + schema.dump(); };
  if (schema.contains("$ref")) {
    return validate(v, document.at(json::json_pointer(schema["$ref"].get<std::string>().substr(1))), document);
  }
  if (schema.contains("const") && v != schema["const"]) return bad("const");
  if (schema.contains("enum")) {
    bool found = false;
    for (const json& e : schema["enum"]) found = found || e == v;
    if (!found) return bad("enum");
  }
  if (schema.contains("anyOf")) {
    bool found = false;
    for (const json& s : schema["anyOf"]) found = found || validate(v, s, document).empty();
    if (!found) return bad("anyOf");
  }
  if (schema.contains("allOf")) {
    for (const json& s : schema["allOf"]) {
      if (const std::string why = validate(v, s, document); !why.empty()) return why;
    }
  }
  if (schema.contains("oneOf")) {
    int found = 0;
    for (const json& s : schema["oneOf"]) found += validate(v, s, document).empty();
    if (found != 1) return bad("oneOf");
  }
  if (schema.contains("not") && validate(v, schema["not"], document).empty()) return bad("not");
  if (schema.contains("type") && schema["type"].is_array()) {
    bool found = false;
    for (const json& t : schema["type"]) found = found || validate(v, json{{"type", t}}, document).empty();
    if (!found) return bad("type");
  }
  if (schema.contains("type") && schema["type"].is_string()) {
    const std::string type = schema["type"];
    const bool fits = type == "null"      ? v.is_null()
                      : type == "boolean" ? v.is_boolean()
                      : type == "integer" ? v.is_number_integer()
                      : type == "number"  ? v.is_number()
                      : type == "string"  ? v.is_string()
                      : type == "array"   ? v.is_array()
                                          : v.is_object();
    if (!fits) return bad("type");
  }
  if (v.is_number()) {
    const double x = v.get<double>();
    if (!std::isfinite(x)) return bad("not finite");
    if (schema.contains("minimum") && x < schema["minimum"].get<double>()) return bad("minimum");
    if (schema.contains("maximum") && x > schema["maximum"].get<double>()) return bad("maximum");
    if (schema.contains("exclusiveMinimum") && x <= schema["exclusiveMinimum"].get<double>())
      return bad("exclusiveMinimum");
    if (schema.contains("exclusiveMaximum") && x >= schema["exclusiveMaximum"].get<double>())
      return bad("exclusiveMaximum");
  }
  if (v.is_number_integer() && schema.contains("multipleOf") && schema["multipleOf"].is_number_integer()) {
    if (v.get<int64_t>() % schema["multipleOf"].get<int64_t>() != 0) return bad("multipleOf");
  } else if (v.is_number() && schema.contains("multipleOf")) {  // in millionths, exactly
    const double x = v.get<double>() * 1e6, m = schema["multipleOf"].get<double>() * 1e6;
    if (std::fabs(x - std::round(x)) > 1e-3 * std::max(1.0, std::fabs(x) * 1e-12) ||
        std::fmod(std::round(x), std::round(m)) != 0)
      return bad("multipleOf");
  }
  if (v.is_string() && schema.contains("pattern")) {
    static std::map<std::string, std::wregex> known;
    const std::string pattern = schema["pattern"];
    const auto it = known.try_emplace(pattern, wide(pattern)).first;
    if (!std::regex_search(wide(v.get<std::string>()), it->second)) return bad("pattern");
  }
  if (v.is_array() && schema.value("uniqueItems", false)) {
    for (size_t i = 0; i < v.size(); ++i) {
      for (size_t j = 0; j < i; ++j) {
        if (v[i] == v[j]) return bad("uniqueItems");
      }
    }
  }
  if (v.is_string()) {
    const size_t n = length(v.get<std::string>());
    if (schema.contains("minLength") && n < schema["minLength"].get<size_t>()) return bad("minLength");
    if (schema.contains("maxLength") && n > schema["maxLength"].get<size_t>()) return bad("maxLength");
  }
  if (v.is_array()) {
    if (schema.contains("minItems") && v.size() < schema["minItems"].get<size_t>()) return bad("minItems");
    if (schema.contains("maxItems") && v.size() > schema["maxItems"].get<size_t>()) return bad("maxItems");
    const size_t heads = schema.contains("prefixItems") ? schema["prefixItems"].size() : 0;
    for (size_t i = 0; i < v.size(); ++i) {
      const json s = i < heads ? schema["prefixItems"][i] : schema.value("items", json(true));
      if (const std::string why = validate(v[i], s, document); !why.empty()) return why;
    }
  }
  if (v.is_object()) {
    for (const json& name : schema.value("required", json::array())) {
      if (!v.contains(name.get<std::string>())) return bad("required");
    }
    const json properties = schema.value("properties", json::object());
    for (const auto& [name, value] : v.items()) {
      const json s = properties.contains(name) ? properties[name] : schema.value("additionalProperties", json(true));
      if (const std::string why = validate(value, s, document); !why.empty()) return why;
    }
  }
  return "";
}

}  // namespace svq::test
