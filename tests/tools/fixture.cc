#include "tests/tools/fixture.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace svq::test {
namespace {

// Removed when the tests end.
class Folder {
 public:
  Folder() { std::filesystem::create_directories(path_); }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::string file(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_ = std::filesystem::temp_directory_path() / ("svq_tools_test." + std::to_string(getpid()));
};

const Folder& folder() {
  static const Folder f;
  return f;
}

std::string made(const std::string& name, const TinyOptions& options) {
  const std::string path = folder().file(name);
  write_tiny_model(path, options);
  return path;
}

}  // namespace

const std::string& tiny_model() {
  static const std::string path = made("tiny.svq", {});
  return path;
}
const std::string& tiny_model_with_bos() {
  static const std::string path = made("tiny-bos.svq", {.add_bos = true});
  return path;
}
const std::string& tiny_model_without_chat() {
  static const std::string path = made("tiny-plain.svq", {.chat = false});
  return path;
}

std::string write_file(const std::string& name, const std::string& content) {
  const std::string path = folder().file(name);
  std::ofstream(path, std::ios::binary) << content;
  return path;
}

nlohmann::json run_json(const std::string& program, const std::vector<std::string>& arguments) {
  const Outcome o = run(program, arguments);
  EXPECT_EQ(o.exit_code, 0) << o.err;
  const auto json = nlohmann::json::parse(o.out, nullptr, false);
  EXPECT_FALSE(json.is_discarded()) << o.out;
  return json;
}

}  // namespace svq::test
