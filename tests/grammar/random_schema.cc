#include "tests/grammar/random_schema.h"

#include <cmath>

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

json random_schema(std::mt19937& rng, int depth) {
  switch (rng() % (depth > 2 ? 6 : 10)) {
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
    case 6: {
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
    case 7: {
      json s{{"anyOf", json::array()}};
      for (int n = 1 + up_to(rng, 2); n > 0; --n) s["anyOf"].push_back(random_schema(rng, depth + 1));
      return s;
    }
    case 8: {
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
  if (schema.contains("type")) {
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
