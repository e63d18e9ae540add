// A model's metadata, for people.
#pragma once
#include <nlohmann/json.hpp>
#include <span>
#include <string>

#include "tools/common/runtime.h"

namespace svq::tools {

// Facts of svq_model_info and the file's metadata (svq_model_describe), the lists of linears and tensors aside.
std::string summary(const svq_model_info& info, const nlohmann::ordered_json& metadata);

// Bytes by part of the model: embedding, attention, feed-forward, …
std::string size_table(const nlohmann::ordered_json& tensors);
nlohmann::ordered_json size_by_part(const nlohmann::ordered_json& tensors);

// A list of objects, one a row.
std::string list_table(const nlohmann::ordered_json& rows);

// Share of each code and the entropy of their distribution, in bits a code.
std::string histogram_chart(const std::string& name, std::span<const uint64_t> counts);
double entropy(std::span<const uint64_t> counts);

}  // namespace svq::tools
