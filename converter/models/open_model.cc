#include "converter/models/open_model.h"

#include <nlohmann/json.hpp>

#include "converter/base/error.h"
#include "converter/models/config.h"
#include "converter/models/gguf_metadata.h"
#include "converter/models/source_model.h"
#include "converter/models/tokenizer/hf_tokenizer.h"
#include "converter/models/tokenizer/tables.h"
#include "converter/sources/json.h"
#include "converter/sources/safetensors.h"
#include "converter/sources/text.h"

namespace svq::convert {
namespace {

namespace fs = std::filesystem;

// For one line of a report: control characters and, where the text is not ASCII, other bytes become '?'.
std::string readable(std::string text) {
  if (text.size() > 200) text.resize(200);
  for (char& c : text) {
    if (c < 0x20 || c == 0x7F) c = '?';
  }
  return text;
}

// The last component, also of "dir/" and of ".".
std::string last_component(const fs::path& path) {
  std::error_code failed;
  const fs::path absolute = fs::weakly_canonical(path, failed);
  const fs::path& base = failed ? path : absolute;
  return (base.has_filename() ? base.filename() : base.parent_path().filename()).string();
}

}  // namespace

std::unique_ptr<Model> open_gguf(std::unique_ptr<GgufFile> file, const std::string& source_name) {
  SourceModel::Parts parts;
  parts.naming = Naming::kGguf;
  parts.config = read_gguf_config(*file);
  parts.label = file->label();
  parts.source_name = readable(source_name);
  parts.name = readable(file->get_string("general.name").value_or(""));
  if (parts.name.empty()) parts.name = fs::path(parts.source_name).stem().string();
  parts.source_bytes = file->file_bytes();
  parts.generation = read_sampling_keys(*file);
  GgufTokenizer keys;
  if (read_tokenizer_keys(*file, keys)) {
    parts.tokenizer = std::make_unique<fb::TokenizerT>();
    try {
      parts.warnings = read_gguf_tokenizer(keys, *parts.tokenizer, parts.chat);
    } catch (const Error& error) {
      throw Error(parts.label + ": " + error.what());
    }
    check_tokenizer(*parts.tokenizer, parts.config.architecture.vocab, parts.label);
  }
  parts.source = std::move(file);
  return std::make_unique<SourceModel>(std::move(parts));
}

std::unique_ptr<Model> open_hf_directory(const fs::path& directory) {
  const fs::path config_path = directory / "config.json";
  std::error_code ignored;
  if (!fs::exists(config_path, ignored)) throw Error(directory.string() + ": holds no config.json");
  SourceModel::Parts parts;
  parts.naming = Naming::kHf;
  parts.config = read_hf_config(config_path.string(), read_json(config_path, 16 << 20));
  parts.label = directory.string();
  parts.source_name = readable(last_component(directory));
  parts.name = parts.source_name;
  auto source = std::make_unique<SafetensorsDirectory>(directory);
  parts.source_bytes = source->file_bytes();
  parts.source = std::move(source);
  parts.generation = read_generation_config(directory);
  if (has_hf_tokenizer(directory)) {
    parts.tokenizer = std::make_unique<fb::TokenizerT>();
    parts.warnings = read_hf_tokenizer(directory, *parts.tokenizer, parts.chat);
    check_tokenizer(*parts.tokenizer, parts.config.architecture.vocab, parts.label);
  }
  return std::make_unique<SourceModel>(std::move(parts));
}

std::unique_ptr<Model> open_model(const fs::path& path) {
  std::error_code failed;
  const auto status = fs::status(path, failed);
  if (!fs::exists(status)) throw Error(path.string() + ": does not exist");
  if (fs::is_directory(status)) return open_hf_directory(path);
  if (path.extension() == ".safetensors" || path.filename() == "config.json") {
    throw Error(path.string() + ": is one file of a model; give the directory that holds it");
  }
  return open_gguf(std::make_unique<GgufFile>(path), last_component(path));
}

}  // namespace svq::convert
