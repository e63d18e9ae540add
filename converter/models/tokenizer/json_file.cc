#include "converter/models/tokenizer/json_file.h"

#include <cmath>
#include <fstream>

#include "converter/base/error.h"

namespace svq::convert {

using nlohmann::json;

std::optional<std::string> read_optional_file(const std::filesystem::path& path, uint64_t max_bytes) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (status.type() == std::filesystem::file_type::not_found) return std::nullopt;
  if (!std::filesystem::is_regular_file(status)) throw Error(path.string() + ": a readable file was expected");
  const uint64_t size = std::filesystem::file_size(path, error);
  if (error) throw Error(path.string() + ": " + error.message());
  if (size > max_bytes)
    throw Error(path.string() + ": the file has " + std::to_string(size) + " bytes, at most " +
                std::to_string(max_bytes) + " were expected");
  std::string text(size, '\0');
  std::ifstream in(path, std::ios::binary);
  if (!in || !in.read(text.data(), static_cast<std::streamsize>(size))) throw Error(path.string() + ": cannot be read");
  return text;
}

JsonFile::JsonFile(const std::filesystem::path& path, uint64_t max_bytes) : name_(path.string()) {
  constexpr int kMaxDepth = 64;
  const auto text = read_optional_file(path, max_bytes);
  if (!text) return;
  exists_ = true;
  try {
    json_ = json::parse(*text, [this](int depth, json::parse_event_t, json&) {
      if (depth > kMaxDepth) fail("nested deeper than " + std::to_string(kMaxDepth));
      return true;
    });
  } catch (const json::exception& e) {
    fail("not valid JSON (" + std::string(e.what()) + ")");
  }
  if (!json_.is_object()) fail("a JSON object was expected");
}

void JsonFile::fail(const std::string& what) const { throw Error(name_ + ": " + what); }

const json* JsonFile::find(const char* key) const { return find_member(json_, key); }

std::optional<std::string> JsonFile::string(const char* key) const {
  const json* v = find(key);
  if (!v) return std::nullopt;
  if (!v->is_string()) fail(std::string(key) + ": a string was expected");
  return v->get<std::string>();
}

std::optional<bool> JsonFile::boolean(const char* key) const {
  const json* v = find(key);
  if (!v) return std::nullopt;
  if (!v->is_boolean()) fail(std::string(key) + ": true or false was expected");
  return v->get<bool>();
}

std::optional<double> JsonFile::number(const char* key) const {
  const json* v = find(key);
  if (!v) return std::nullopt;
  if (!v->is_number() || !std::isfinite(v->get<double>())) fail(std::string(key) + ": a number was expected");
  return v->get<double>();
}

std::optional<int64_t> JsonFile::integer(const char* key) const {
  const json* v = find(key);
  if (!v) return std::nullopt;
  if (!v->is_number_integer() || (v->is_number_unsigned() && v->get<uint64_t>() > INT64_MAX))
    fail(std::string(key) + ": an integer was expected");
  return v->get<int64_t>();
}

std::optional<std::string> JsonFile::token(const char* key) const {
  const json* v = find(key);
  if (v && v->is_object()) v = find_member(*v, "content");
  if (!v) return std::nullopt;
  if (!v->is_string()) fail(std::string(key) + ": a token's text was expected");
  return v->get<std::string>();
}

std::vector<int64_t> JsonFile::ids(const char* key) const {
  const json* v = find(key);
  if (!v) return {};
  std::vector<int64_t> ids;
  const auto add = [&](const json& id) {
    if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() > INT32_MAX)
      fail(std::string(key) + ": a token id or a list of them was expected");
    ids.push_back(id.get<int64_t>());
  };
  if (v->is_array()) {
    for (const json& id : *v) add(id);
  } else {
    add(*v);
  }
  return ids;
}

const json* find_member(const json& object, const char* key) {
  if (!object.is_object()) return nullptr;
  const auto it = object.find(key);
  return it == object.end() || it->is_null() ? nullptr : &*it;
}

bool bool_member(const json& object, const char* key, bool otherwise, const std::string& where) {
  const json* v = find_member(object, key);
  if (!v) return otherwise;
  if (!v->is_boolean()) throw Error(where + "." + key + ": true or false was expected");
  return v->get<bool>();
}

std::string string_member(const json& object, const char* key, const std::string& where) {
  const json* v = find_member(object, key);
  if (!v) return {};
  if (!v->is_string()) throw Error(where + "." + key + ": a string was expected");
  return v->get<std::string>();
}

}  // namespace svq::convert
