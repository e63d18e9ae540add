// JSON files of a model directory, read with limits and with errors that name file and field.
#pragma once
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

namespace svq::convert {

// Contents of a file of at most max_bytes. nullopt: there is no such file. Throws Error if it cannot be read.
std::optional<std::string> read_optional_file(const std::filesystem::path& path, uint64_t max_bytes);

// A JSON object with a file's name for errors. Getters return nullopt where the key is absent or null, and throw Error
// naming file and key where the value has another type.
class JsonFile {
 public:
  // An absent file reads as an empty object. Throws Error if the file is no JSON object or nested deeper than 64.
  JsonFile(const std::filesystem::path& path, uint64_t max_bytes);

  bool exists() const { return exists_; }
  const nlohmann::json& root() const { return json_; }
  const std::string& name() const { return name_; }
  const nlohmann::json* find(const char* key) const;  // null: absent or null
  std::optional<std::string> string(const char* key) const;
  std::optional<bool> boolean(const char* key) const;
  std::optional<double> number(const char* key) const;
  std::optional<int64_t> integer(const char* key) const;
  // A token given as "text" or as {"content": "text", …}.
  std::optional<std::string> token(const char* key) const;
  // One id or a list of ids.
  std::vector<int64_t> ids(const char* key) const;

  [[noreturn]] void fail(const std::string& what) const;  // throws Error "file: what"

 private:
  std::string name_;
  nlohmann::json json_ = nlohmann::json::object();
  bool exists_ = false;
};

// Members of a JSON object that is not the file's root; `where` names it in errors.
const nlohmann::json* find_member(const nlohmann::json& object, const char* key);
bool bool_member(const nlohmann::json& object, const char* key, bool otherwise, const std::string& where);
std::string string_member(const nlohmann::json& object, const char* key, const std::string& where);  // "" if absent

}  // namespace svq::convert
