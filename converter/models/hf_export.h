// A model's configuration and tokenizer as the files of a Hugging Face directory. No libtorch here.
#pragma once
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "converter/models/family.h"
#include "converter/models/model.h"

namespace svq::convert {

const Family& family_named(const std::string& name);  // "qwen2"; throws Error

// config.json of the same model in 16-bit floats. Throws Error if its rotary frequencies cannot be said in its terms.
nlohmann::ordered_json hf_config(const Model& model);

struct HfFile {
  std::string name, content;
};
// generation_config.json, tokenizer_config.json, and tokenizer.json or tokenizer.model. What does not stand in the
// model's tables is left out.
std::vector<HfFile> hf_tokenizer_files(const Model& model);

// The files beside the weights of a Hugging Face directory that belong to its tokenizer, by their names.
std::vector<std::filesystem::path> hf_side_files(const std::filesystem::path& directory);

}  // namespace svq::convert
