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

// Bytes of the source's weights when it continues them; 0: these would be more than three eighths of the machine's
// memory, and the source is left out.
uint64_t completions_memory(const Model& model, const ForwardOptions& forward);

// Three questions where the model has a chat format, otherwise three beginnings of a text. progress may throw.
Completions complete(const Model& model, const std::filesystem::path& file, const ForwardOptions& forward, int threads,
                     const std::function<void(double)>& progress);

}  // namespace svq::convert
