// The same beginnings continued greedily by the source and by the file.
#pragma once
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "converter/models/float/options.h"
#include "converter/models/model.h"

namespace svq::convert {

struct Completion {
  std::string prompt, source, quantized;
};

struct Completions {
  std::vector<Completion> rows;
  std::string missing;  // why there are none, or none of the source
};

// Three questions where the model has a chat format, otherwise three beginnings of a text. The source is left out where
// its weights would take more than three eighths of the machine's memory. progress may throw.
Completions complete(const Model& model, const std::filesystem::path& file, const ForwardOptions& forward, int threads,
                     const std::function<void(double)>& progress);

}  // namespace svq::convert
