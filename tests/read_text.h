#pragma once
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

namespace svq::test {

// A file's bytes; "" if it cannot be read.
inline std::string read_text(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

}  // namespace svq::test
