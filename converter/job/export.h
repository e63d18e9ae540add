// The quantized model as a Hugging Face directory in 16-bit floats, which other tools load and evaluate.
#pragma once
#include <filesystem>
#include <functional>
#include <vector>

#include "converter/job/plan.h"

namespace svq::convert {

// Throws Error if `directory` cannot take the files: it is not empty (unless options.force), or no directory.
void check_export(const Options& options);

// Writes config.json, model.safetensors and the tokenizer's files. parts and files are those of plan.groups, in order.
// A norm that is folded into the linears behind it is written as ones. Throws Error naming a value beyond 16-bit
// floats.
void export_dequantized(const Model& model, const Plan& plan, const std::vector<const fb::PartT*>& parts,
                        const std::vector<std::filesystem::path>& files, const Options& options,
                        const std::function<void(double)>& progress);

}  // namespace svq::convert
