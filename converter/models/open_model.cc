#include "converter/models/open_model.h"

#include <nlohmann/json.hpp>

#include "converter/base/error.h"
#include "converter/models/config.h"
#include "converter/models/gguf_metadata.h"
#include "converter/models/lcqat.h"
#include "converter/models/source_model.h"
#include "converter/models/tokenizer/hf_tokenizer.h"
#include "converter/models/tokenizer/tables.h"
#include "converter/sources/json.h"
#include "converter/sources/safetensors.h"
#include "converter/sources/text.h"

namespace svq::convert {
namespace {

namespace fs = std::filesystem;

// Runs `read`, which returns warnings; its messages quote the source's text as it stands, so they are made readable
// here.
template <typename Read>
std::vector<std::string> readable_messages(const std::string& prefix, Read read) {
  std::vector<std::string> warnings;
  try {
    warnings = read();
  } catch (const Error& error) {
    throw Error(prefix + readable(error.what()));
  }
  for (std::string& warning : warnings) warning = readable(std::move(warning));
  return warnings;
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
  parts.source_name = readable(source_name, 200);
  parts.name = readable(file->get_string("general.name").value_or(""), 200);
  if (parts.name.empty()) parts.name = fs::path(parts.source_name).stem().string();
  parts.source_bytes = file->file_bytes();
  parts.generation = read_sampling_keys(*file);
  GgufTokenizer keys;
  if (read_tokenizer_keys(*file, keys)) {
    parts.tokenizer = std::make_unique<fb::TokenizerT>();
    parts.warnings = readable_messages(parts.label + ": ", [&] {
      auto warnings = read_gguf_tokenizer(keys, *parts.tokenizer, parts.chat);
      check_tokenizer(*parts.tokenizer, parts.config.architecture.vocab, "tokenizer");
      return warnings;
    });
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
  auto source = std::make_unique<SafetensorsDirectory>(directory);
  const bool quantized = is_lcqat(*source);
  nlohmann::json config = read_json(config_path, 16 << 20);
  if (quantized && config.is_object()) config.erase("quantization_config");
  parts.config = read_hf_config(config_path.string(), config);
  parts.label = directory.string();
  parts.source_name = readable(last_component(directory), 200);
  parts.name = parts.source_name;
  parts.source_bytes = source->file_bytes();
  parts.source = std::move(source);
  std::unique_ptr<LcqatCodes> codes;
  if (quantized) {
    codes = std::make_unique<LcqatCodes>(parts.label, std::move(parts.source));
    parts.source = codes->weights();
  }
  readable_messages("", [&] {
    parts.generation = read_generation_config(directory);
    return std::vector<std::string>();
  });
  if (has_hf_tokenizer(directory)) {
    parts.tokenizer = std::make_unique<fb::TokenizerT>();
    parts.warnings = readable_messages("", [&] {
      auto warnings = read_hf_tokenizer(directory, *parts.tokenizer, parts.chat);
      check_tokenizer(*parts.tokenizer, parts.config.architecture.vocab, parts.label);
      return warnings;
    });
  }
  if (quantized) return make_lcqat_model(std::move(codes), std::move(parts));
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
