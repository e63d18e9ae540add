// Files frozen when their format version was made (tests/golden/format/README.md): today's runtime loads and verifies
// them, and gives the answers of then.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "svqrt/svqrt.hpp"

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

const fs::path kFolder = SVQ_GOLDEN_DIR "/format";
constexpr const char* kText = "The robot picks up the red cube, then waits: 12 parts are on the shelf.";

svq::Session session_of(const svq::Model& model, int activations) {
  svq::SessionOptions options;
  options.threads = 1;
  options.context = 128;
  options.activations = activations;
  return svq::Session(model, options);
}

// Logits of the text's last token.
std::vector<float> last_logits(const svq::Model& model, int activations) {
  svq::Session session = session_of(model, activations);
  session.eval(model.tokenize(kText));
  const float* logits = session.logits();
  return {logits, logits + model.info().vocab};
}

double spread(const std::vector<float>& x) {
  double sum = 0, squares = 0;
  for (const float v : x) sum += v, squares += double(v) * v;
  const double n = static_cast<double>(x.size());
  return std::sqrt(squares / n - sum / n * (sum / n));
}

// Root mean square of a - b in units of b's standard deviation.
double distance(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return INFINITY;
  double squares = 0;
  for (size_t i = 0; i < a.size(); ++i) squares += std::pow(double(a[i]) - b[i], 2);
  return std::sqrt(squares / static_cast<double>(b.size())) / spread(b);
}

// The likeliest tokens after the text in float arithmetic, as long as each leads the second by a twentieth of the
// logits' spread: no rounding of any instruction set changes those.
std::vector<svq_token> clear_answer(const svq::Model& model, size_t most) {
  svq::Session session = session_of(model, 32);
  session.eval(model.tokenize(kText));
  std::vector<svq_token> answer;
  while (answer.size() < most) {
    const std::vector<float> logits(session.logits(), session.logits() + model.info().vocab);
    std::vector<float> sorted = logits;
    std::nth_element(sorted.begin(), sorted.begin() + 1, sorted.end(), std::greater<>());
    if (sorted[0] - sorted[1] < 0.05 * spread(logits)) break;
    answer.push_back(static_cast<svq_token>(std::max_element(logits.begin(), logits.end()) - logits.begin()));
    session.eval({answer.back()});
  }
  return answer;
}

json freeze(const svq::Model& model) {
  json frozen;
  frozen["text"] = kText;
  frozen["tokens"] = model.tokenize(kText);
  frozen["chat_tokens"] = model.chat_tokenize({{"user", kText}});
  frozen["answer"] = clear_answer(model, 12);
  const auto description = json::parse(model.describe());
  for (const char* part : {"architecture", "chat", "provenance", "tokenizer"}) frozen[part] = description.at(part);
  frozen["logits_int8"] = last_logits(model, 8);
  frozen["logits_f32"] = last_logits(model, 32);
  return frozen;
}

void check(const fs::path& file) {
  SCOPED_TRACE(file.string());
  svq::ModelOptions options;
  options.verify = true;
  const svq::Model model(file.string(), options);
  const fs::path answers = fs::path(file).replace_extension().replace_extension(".json");
  if (std::getenv("SVQ_WRITE_GOLDEN")) std::ofstream(answers) << freeze(model).dump(0) << "\n";
  std::ifstream in(answers);
  const auto frozen = json::parse(in);
  EXPECT_EQ(model.tokenize(frozen.at("text").get<std::string>()), frozen.at("tokens").get<std::vector<svq_token>>());
  EXPECT_EQ(model.chat_tokenize({{"user", frozen.at("text").get<std::string>()}}),
            frozen.at("chat_tokens").get<std::vector<svq_token>>());
  // A newer runtime may tell more, and nothing else.
  const auto description = json::parse(model.describe());
  for (const char* part : {"architecture", "chat", "provenance", "tokenizer"}) {
    for (const auto& [key, value] : frozen.at(part).items()) EXPECT_EQ(description.at(part).at(key), value) << key;
  }
  EXPECT_LT(distance(last_logits(model, 32), frozen.at("logits_f32").get<std::vector<float>>()), 2e-3);
  // A value that lies between two integers is rounded either way by different instruction sets; these random models
  // amplify it (0.026 between AVX-512 and scalar code; unrelated logits would be at 1.4).
  EXPECT_LT(distance(last_logits(model, 8), frozen.at("logits_int8").get<std::vector<float>>()), 0.1);
  const auto answer = frozen.at("answer").get<std::vector<svq_token>>();
  EXPECT_FALSE(answer.empty());
  EXPECT_EQ(clear_answer(model, answer.size()), answer);
}

TEST(FrozenFiles, GiveTheAnswersOfThen) {
  size_t files = 0;
  for (const auto& version : fs::directory_iterator(kFolder)) {
    if (!version.is_directory()) continue;
    for (const auto& file : fs::directory_iterator(version)) {
      if (file.path().extension() != ".golden") continue;
      ++files;
      check(file.path());
    }
  }
  EXPECT_GE(files, 3u);
}

TEST(FrozenFiles, EveryVersionHasSome) {
  const uint32_t now = svq_format_version();
  for (uint32_t minor = 0; minor <= (now & 0xffff); ++minor) {
    const std::string version = std::to_string(now >> 16) + "." + std::to_string(minor);
    EXPECT_TRUE(fs::is_directory(kFolder / version)) << "no frozen files of format " << version;
  }
}

}  // namespace
