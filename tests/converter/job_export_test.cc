// --export-dequantized: the directory opens as a source, its tokenizer is the same, and its float forward pass computes
// what the runtime computes from the .svq file.
#include <cmath>

#include "converter/models/float/evaluate.h"
#include "svqrt/svqrt.h"
#include "tests/converter/job_helpers.h"
#include "tests/sources/tiny_hf.h"

#include <ATen/ops/from_blob.h>
#include <nlohmann/json.hpp>

namespace svq {
namespace {

namespace fs = std::filesystem;

class Export : public test::ConverterTest {
 protected:
  static constexpr int kTokens = 40;

  void SetUp() override {
    ConverterTest::SetUp();
    test::Random random(11);
    for (int i = 0; i < kTokens; ++i) tokens_.push_back(static_cast<int32_t>(random.below(272)));
  }

  std::vector<float> runtime_logits(const std::string& file) const {
    svq_model* model = nullptr;
    EXPECT_EQ(svq_model_load(path(file).c_str(), nullptr, &model), SVQ_OK) << svq_last_error();
    if (!model) return {};
    svq_session_params* settings = svq_session_params_create();
    svq_session_params_set(settings, SVQ_SESSION_THREADS, 1);
    svq_session_params_set(settings, SVQ_SESSION_ACTIVATIONS, 32);
    svq_session* session = nullptr;
    EXPECT_EQ(svq_session_create(model, settings, &session), SVQ_OK) << svq_last_error();
    svq_session_params_free(settings);
    std::vector<float> logits(static_cast<size_t>(kTokens) * 272);
    EXPECT_EQ(svq_session_eval_logits(session, tokens_.data(), tokens_.size(), logits.data()), SVQ_OK);
    svq_session_free(session);
    svq_model_free(model);
    return logits;
  }

  // Root mean square of the difference between the exported directory and the file, relative to the latter.
  double distance(const std::string& directory, const std::string& file) const {
    const auto model = convert::open_model(path(directory));
    std::vector<int64_t> ids(tokens_.begin(), tokens_.end());
    const at::Tensor logits =
        convert::float_logits(*model, at::from_blob(ids.data(), {1, kTokens}, at::kLong)).contiguous();
    const std::vector<float> expected = runtime_logits(file);
    double difference = 0, norm = 0;
    for (size_t i = 0; i < expected.size(); ++i) {
      difference += std::pow(double(logits.data_ptr<float>()[i]) - expected[i], 2);
      norm += std::pow(double(expected[i]), 2);
    }
    return std::sqrt(difference / norm);
  }

  std::vector<int32_t> tokens_;
};

TEST_F(Export, OfEveryFamilyComputesWhatTheRuntimeDoes) {
  for (const char* family : {"llama", "qwen2", "qwen3"}) {
    for (const bool tied : {true, false}) {
      test::TinyShape shape;
      shape.family = family;
      shape.tied = tied;
      shape.hidden = 96;
      shape.head_dim = 24;
      shape.theta = 50000;
      write_model(shape);
      const auto result = run(quick({"tiny.gguf", "-o", "t.svq", "--quiet", "--force", "--export-dequantized", "out",
                                     "--override", "blocks.1.k=16"}));
      ASSERT_EQ(result.status, 0) << result.err;
      // Both begin with 2-bit weights; the export rounds their values to 16 bits.
      EXPECT_LT(distance("out", "t.svq"), 4e-3) << family << (tied ? " tied" : "");
      const auto source = convert::open_model(path("tiny.gguf")), written = convert::open_model(path("out"));
      EXPECT_EQ(written->tied(), tied);
      const fb::TokenizerT &a = *source->tokenizer(), &b = *written->tokenizer();
      EXPECT_EQ(a.token_bytes, b.token_bytes);
      EXPECT_EQ(a.token_offsets, b.token_offsets);
      EXPECT_EQ(a.merge_results, b.merge_results);
      EXPECT_EQ(a.eos, b.eos);
      EXPECT_EQ(a.pre_tokenizer, b.pre_tokenizer);
      EXPECT_EQ(a.special.size(), b.special.size());
      EXPECT_EQ(source->chat().source_template, written->chat().source_template);
    }
  }
}

TEST_F(Export, OfADirectoryKeepsItsFiles) {
  test::TinyShape shape;
  shape.family = "mistral";
  test::write_tiny_hf(path("source"), shape);
  const auto result =
      run(quick({"source", "-o", "t.svq", "--quiet", "--method", "rtn", "--bits", "4", "--export-dequantized", "out"}));
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_LT(distance("out", "t.svq"), 4e-3);
  EXPECT_EQ(test::read_text(path("source/tokenizer.json")), test::read_text(path("out/tokenizer.json")));
  const auto config = nlohmann::json::parse(test::read_text(path("out/config.json")));
  EXPECT_EQ(config["torch_dtype"], "float16");
  EXPECT_EQ(config["architectures"][0], "MistralForCausalLM");
}

TEST_F(Export, RefusesADirectoryThatHoldsSomething) {
  write_model();
  fs::create_directory(path("mine"));
  std::ofstream(path("mine/letter.txt")) << "do not touch";
  const auto result = run(quick({"tiny.gguf", "-o", "t.svq", "--quiet", "--export-dequantized", "mine"}));
  EXPECT_EQ(result.status, 1);
  for (const char* word : {"--export-dequantized", "mine", "not empty"})
    EXPECT_NE(result.err.find(word), std::string::npos) << result.err;
  EXPECT_FALSE(fs::exists(path("t.svq")));
}

}  // namespace
}  // namespace svq
