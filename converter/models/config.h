// An architecture as read from a source's metadata: gguf_config.cc, hf_config.cc.
#pragma once
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>

#include "converter/models/family.h"
#include "converter/sources/gguf.h"
#include "svq_generated.h"

namespace svq::convert {

struct Config {
  const Family* family = nullptr;
  fb::ArchitectureT architecture;
  std::optional<bool> tied;            // what the file says of the head; nullopt: nothing
  std::optional<bool> attention_bias;  // likewise of optional biases
};

// Both throw Error naming file and key for what is missing, malformed, out of range or not supported.
Config read_gguf_config(const GgufFile& file);
// `path` names config.json in messages.
Config read_hf_config(const std::string& path, const nlohmann::json& json);

}  // namespace svq::convert
