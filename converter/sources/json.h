// JSON from untrusted files, with limits.
#pragma once
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace svq::convert {

// The whole text must be one value. Throws Error naming `label` for syntax errors, nesting deeper than 64, and a key
// that occurs twice in one object.
nlohmann::json parse_json(const std::string& label, std::string_view text);

// Reads and parses a file of at most `max_bytes`.
nlohmann::json read_json(const std::filesystem::path& path, uint64_t max_bytes = uint64_t{256} << 20);

}  // namespace svq::convert
