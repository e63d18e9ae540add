// The whole path without any other tool: a random model is converted by svqconvert, run by the runtime, and its logits
// are compared with the converter's own float forward pass.
#include <cmath>

#include "converter/models/float/evaluate.h"
#include "svqrt/svqrt.h"
#include "tests/converter/job_helpers.h"

#include <ATen/ops/from_blob.h>

namespace svq {
namespace {

struct FamilyCase {
  std::string family;
  bool tied;
};

class RuntimeAgrees : public test::ConverterTest, public ::testing::WithParamInterface<FamilyCase> {
 protected:
  static constexpr int kTokens = 48;

  void SetUp() override {
    ConverterTest::SetUp();
    test::TinyShape shape;
    shape.family = GetParam().family;
    shape.tied = GetParam().tied;
    shape.hidden = 96;  // 2^5 · 3: mixed rotations
    shape.head_dim = 24;
    source_ = write_model(shape);
    test::Random random(5);
    for (int i = 0; i < kTokens; ++i) tokens_.push_back(static_cast<int32_t>(random.below(272)));
  }

  std::vector<float> float_reference() const {
    const auto model = convert::open_model(source_);
    std::vector<int64_t> ids(tokens_.begin(), tokens_.end());
    const at::Tensor logits =
        convert::float_logits(*model, at::from_blob(ids.data(), {1, kTokens}, at::kLong)).contiguous();
    return {logits.data_ptr<float>(), logits.data_ptr<float>() + logits.numel()};
  }

  // What the runtime makes of a conversion. [kTokens, vocab]
  std::vector<float> converted(const std::vector<std::string>& options) const {
    auto arguments = quick({"tiny.gguf", "-o", "t.svq", "--quiet", "--force"});
    arguments.insert(arguments.end(), options.begin(), options.end());
    const auto result = run(arguments);
    EXPECT_EQ(result.status, 0) << result.err;
    return evaluated();
  }

  // Of the last conversion's file.
  std::vector<float> evaluated(int activations = 8) const {
    svq_model* model = nullptr;
    svq_model_params* params = svq_model_params_create();
    svq_model_params_set(params, SVQ_MODEL_VERIFY, 1);
    EXPECT_EQ(svq_model_load(path("t.svq").c_str(), params, &model), SVQ_OK) << svq_last_error();
    svq_model_params_free(params);
    if (!model) return {};
    svq_model_info info{};
    svq_model_get_info(model, &info);
    EXPECT_EQ(info.vocab, 272u);
    std::vector<float> logits(static_cast<size_t>(kTokens) * info.vocab);
    svq_session* session = nullptr;
    svq_session_params* settings = svq_session_params_create();
    svq_session_params_set(settings, SVQ_SESSION_THREADS, 1);
    svq_session_params_set(settings, SVQ_SESSION_ACTIVATIONS, activations);
    EXPECT_EQ(svq_session_create(model, settings, &session), SVQ_OK) << svq_last_error();
    svq_session_params_free(settings);
    EXPECT_EQ(svq_session_eval_logits(session, tokens_.data(), tokens_.size(), logits.data()), SVQ_OK)
        << svq_last_error();
    svq_session_free(session);
    svq_model_free(model);
    return logits;
  }

  // Root mean square of a − b, relative to b's.
  static double distance(const std::vector<float>& a, const std::vector<float>& b) {
    EXPECT_EQ(a.size(), b.size());
    double difference = 0, norm = 0;
    for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
      difference += std::pow(double(a[i]) - b[i], 2);
      norm += std::pow(double(b[i]), 2);
    }
    return std::sqrt(difference / norm);
  }

  std::filesystem::path source_;
  std::vector<int32_t> tokens_;
};

TEST_P(RuntimeAgrees, WithTheFloatForwardPass) {
  const auto reference = float_reference();
  // 16 bits hold these weights exactly; what differs is the KV cache in f16 and the order of sums.
  EXPECT_LT(distance(converted({"--bits", "16"}), reference), 2e-3);
  // A random model multiplies what each linear adds (0.5 % at 8 bits) severalfold, so these limits are wide;
  // unrelated logits would be at 1.4.
  const std::vector<std::string> ends{"--embedding-bits", "8", "--head-bits", "8"};
  const auto at = [&](const char* bits) {
    std::vector<std::string> options{"--bits", bits};
    options.insert(options.end(), ends.begin(), ends.end());
    return distance(converted(options), reference);
  };
  const double eight_int8 = at("8"), eight = distance(evaluated(32), reference), four = at("4"), two = at("2");
  EXPECT_LT(eight, 0.06);
  EXPECT_LT(eight_int8, 0.12);
  EXPECT_LT(eight_int8, four);
  EXPECT_LT(four, two);
  EXPECT_LT(two, 1.2);
}

TEST_P(RuntimeAgrees, InEveryFormOfTheContainer) {
  const auto reference = float_reference();
  for (const std::vector<std::string>& options :
       std::vector<std::vector<std::string>>{{"--method", "rtn"},
                                             {"--method", "gptq"},
                                             {"--method", "quip"},
                                             {"--rotation", "blocks"},
                                             {"--rotation", "none"},
                                             {"--lattice", "orthogonal"},
                                             {"--lattice", "d4"},
                                             {"--group", "8"},
                                             {"--map-columns", "32"},
                                             {"--override", "blocks.0.k=16", "--override", "blocks.1.up=3"},
                                             {"--override", "*.q=5", "--override", "*.up=6", "--override", "*.o=7"}}) {
    std::vector<std::string> all{"--bits", "8", "--embedding-bits", "8", "--head-bits", "8"};
    all.insert(all.end(), options.begin(), options.end());
    const double limit = options.size() > 2 ? 0.6 : 0.2;
    EXPECT_LT(distance(converted(all), reference), limit) << options[0] << " " << options[1];
  }
}

// Linears done are packed, the others in 16 bits; later the same command overwrites the file with the whole one.
TEST_P(RuntimeAgrees, WithAFileThatCtrlCAskedFor) {
  test::ProgramOptions interrupt;
  interrupt.signal = SIGINT;
  interrupt.kill_when = [&] { return parts("t.svq.work") >= 3; };
  const auto arguments = quick(
      {"tiny.gguf", "-o", "t.svq", "--bits", "8", "--embedding-bits", "8", "--head-bits", "8", "--search", "20000"});
  const auto stopped = run(arguments, interrupt);
  ASSERT_EQ(stopped.status, 130) << stopped.err;
  ASSERT_NE(stopped.err.find("in 16 bits"), std::string::npos) << stopped.err;
  const auto size = std::filesystem::file_size(path("t.svq"));
  const auto reference = float_reference();
  const double difference = distance(evaluated(), reference);
  EXPECT_LT(difference, 0.12);
  EXPECT_GT(difference, 2e-3);  // more than that of 16 bits everywhere
  const auto rest = run(arguments);
  ASSERT_EQ(rest.status, 0) << rest.err;
  EXPECT_LT(std::filesystem::file_size(path("t.svq")), size);
  EXPECT_LT(distance(evaluated(), reference), 0.12);
}

INSTANTIATE_TEST_SUITE_P(Families, RuntimeAgrees,
                         ::testing::Values(FamilyCase{"llama", true}, FamilyCase{"mistral", false},
                                           FamilyCase{"qwen2", false}, FamilyCase{"qwen3", true}),
                         [](const auto& c) { return c.param.family; });

}  // namespace
}  // namespace svq
