// The two kinds of source that open_model() tells apart, each also to be opened by itself.
#pragma once
#include <filesystem>
#include <memory>
#include <string>

#include "converter/models/model.h"
#include "converter/sources/gguf.h"

namespace svq::convert {

std::unique_ptr<Model> open_gguf(std::unique_ptr<GgufFile> file, const std::string& source_name);
std::unique_ptr<Model> open_hf_directory(const std::filesystem::path& directory);

}  // namespace svq::convert
