// Reads JSON (RFC 8259) into a tree. Numbers keep their text: what is read may be written again unchanged.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace svq::rt {

struct JsonValue {
  enum class Kind { kNull, kBool, kNumber, kString, kArray, kObject };
  Kind kind = Kind::kNull;
  bool truth = false;
  std::string text;  // kString: UTF-8; kNumber: as written
  std::vector<JsonValue> items;
  std::vector<std::pair<std::string, JsonValue>> members;  // in order

  bool is(Kind k) const { return kind == k; }
  const JsonValue* find(std::string_view key) const;  // member of an object; null: none
  enum class Style { kCompact, kSpaced, kIndented };  // spaces after ':' and ','; lines indented by four
  std::string dump(Style style = Style::kCompact) const;
};

// Throws Error (`status`) with one sentence: what, and where in `name`.
JsonValue read_json(std::string_view text, const char* name, int status);

}  // namespace svq::rt
