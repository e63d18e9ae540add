// SmolLM2-135M-Instruct (Q4_1 GGUF) through svqconvert, svqeval, svqrun and svqinspect.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

namespace {

namespace fs = std::filesystem;

// Runs a shell command; returns what it wrote to standard output and sets *status to its exit code.
std::string run(const std::string& command, int* status) {
  std::string out;
  FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) {
    *status = -1;
    return out;
  }
  char buffer[4096];
  while (const size_t n = fread(buffer, 1, sizeof buffer, pipe)) out.append(buffer, n);
  const int code = pclose(pipe);
  *status = WIFEXITED(code) ? WEXITSTATUS(code) : -1;
  return out;
}

std::string program(const std::string& name) { return "\"" SVQ_BIN "/" + name + "\" "; }
std::string quoted(const fs::path& path) { return "\"" + path.string() + "\""; }

class RealModel : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (const char* path = std::getenv("SVQ_TEST_MODEL_GGUF")) source_ = path;
    dir_ = fs::path(testing::TempDir()) / ("svq_real_model_" + std::to_string(getpid()));
    fs::create_directories(dir_);
  }
  static void TearDownTestSuite() { fs::remove_all(dir_); }
  void SetUp() override {
    if (source_.empty()) GTEST_SKIP() << "skipped: SVQ_TEST_MODEL_GGUF names no model";
  }

  static fs::path file(int bits) { return dir_ / ("smollm2-" + std::to_string(bits) + ".svq"); }

  // Converts once a run; a small calibration keeps the test short.
  static void convert(int bits) {
    if (fs::exists(file(bits))) return;
    int status = 0;
    run(program("svqconvert") + quoted(source_) + " -o " + quoted(file(bits)) + " --bits " + std::to_string(bits) +
            " --calibration \"" SVQ_DEMO_TEXT
            "\" --calibration-sequences 5 --calibration-length 128 --effort none --quiet",
        &status);
    ASSERT_EQ(status, 0);
    ASSERT_TRUE(fs::exists(file(bits)));
  }

  static double perplexity(int bits, const std::string& options = "") {
    int status = 0;
    const std::string out = run(program("svqeval") + "perplexity " + quoted(file(bits)) +
                                    " --text \"" SVQ_DEMO_TEXT "\" --context 256 --json " + options + " 2>/dev/null",
                                &status);
    EXPECT_EQ(status, 0);
    return nlohmann::json::parse(out).at("perplexity").get<double>();
  }

  static std::string answer(int bits, const std::string& question) {
    int status = 0;
    const std::string out = run(
        program("svqrun") + quoted(file(bits)) + " -p \"" + question + "\" -n 40 --temperature 0 2>/dev/null", &status);
    EXPECT_EQ(status, 0);
    return out;
  }

  static fs::path source_, dir_;
};
fs::path RealModel::source_, RealModel::dir_;

// Reference: the GGUF dequantised to f32 and evaluated in float32 with PyTorch, tokens from PyPI tokenizers:
// two chunks of 256, the second half of each scored (254 predictions).
TEST_F(RealModel, SixteenBitsEqualAReferenceImplementation) {
  convert(16);
  constexpr double kReference = 32.3562;
  EXPECT_NEAR(perplexity(16), kReference, 0.002 * kReference);
}

TEST_F(RealModel, FourBitsStayCloseAndVerify) {
  convert(16);
  convert(4);
  EXPECT_LT(fs::file_size(file(4)), fs::file_size(file(16)) / 3);
  const double full = perplexity(16), four = perplexity(4), unrounded = perplexity(4, "--activations 32");
  EXPECT_LT(four, 1.15 * full);
  EXPECT_NEAR(four, unrounded, 0.03 * unrounded);
  int status = 0;
  const std::string out = run(program("svqinspect") + quoted(file(4)) + " --verify --json", &status);
  EXPECT_EQ(status, 0) << out;
}

TEST_F(RealModel, AnswersAQuestion) {
  convert(16);
  EXPECT_NE(answer(16, "What is the capital of France?").find("Paris"), std::string::npos);
}

// Which answers four bits cost so small a model depends on the CPU that calibrated it; a broken one knows none.
TEST_F(RealModel, FourBitsAnswerMostQuestions) {
  convert(4);
  const std::pair<const char*, const char*> capitals[] = {
      {"France", "Paris"},  {"Italy", "Rome"},    {"Japan", "Tokyo"},    {"Germany", "Berlin"},
      {"Greece", "Athens"}, {"Russia", "Moscow"}, {"England", "London"}, {"China", "Beijing"}};
  int right = 0;
  std::string answers;
  for (const auto& [country, capital] : capitals) {
    const std::string out = answer(4, std::string("What is the capital of ") + country + "?");
    right += out.find(capital) != std::string::npos ? 1 : 0;
    answers += out + "\n";
  }
  EXPECT_GE(right, 5) << answers;
}

}  // namespace
