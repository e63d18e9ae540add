// The float forward pass on a real model, where one is given: SVQ_TEST_MODEL_GGUF names the Q4_1 GGUF of
// SmolLM2-135M-Instruct, SVQ_TEST_DATA a folder with wikitext-test.txt (raw WikiText-2 test).
#include <ATen/TensorOperators.h>
#include <ATen/ops/log_softmax.h>
#include <flatbuffers/flatbuffers.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>

#include "converter/job/calibration.h"
#include "converter/models/float/evaluate.h"
#include "converter/models/float/startup.h"
#include "converter/models/model.h"
#include "runtime/tokenizer/tokenizer.h"

namespace svq::convert {
namespace {

class FloatRealTest : public testing::Test {
 protected:
  void SetUp() override {
    const char* path = std::getenv("SVQ_TEST_MODEL_GGUF");
    if (path == nullptr) GTEST_SKIP() << "SVQ_TEST_MODEL_GGUF names no model";
    model_ = open_model(path);
    if (model_->architecture().hidden != 576) GTEST_SKIP() << "the model is not SmolLM2-135M";
  }
  std::unique_ptr<Model> model_;
};

TEST_F(FloatRealTest, PerplexityIsThatOfKnownGoodImplementations) {
  const char* data = std::getenv("SVQ_TEST_DATA");
  if (data == nullptr) GTEST_SKIP() << "SVQ_TEST_DATA names no folder";
  const std::string text =
      read_documents(std::filesystem::path(data) / "wikitext-test.txt", {}).at(0).text.substr(0, 20000);
  flatbuffers::FlatBufferBuilder builder;
  builder.Finish(fb::Tokenizer::Pack(builder, model_->tokenizer()));
  const auto tokenizer = rt::Tokenizer::create(*flatbuffers::GetRoot<fb::Tokenizer>(builder.GetBufferPointer()),
                                               model_->architecture().vocab);
  // transformers on the dequantised file: 12.007 for the first chunk of 512, 28.430 over 16.
  const Perplexity got = perplexity(*model_, tokenizer->encode(text, false, false), 512, 1);
  EXPECT_EQ(got.scored, 255);
  EXPECT_NEAR(got.value, 12.007, 0.002 * 12.007);
}

TEST_F(FloatRealTest, SampledTextIsLikelyToTheModelItself) {
  const CalibrationOptions options{.n_sequences = 4, .length = 64, .seed = 3};
  const auto set = make_calibration(*model_, options, {});
  ASSERT_TRUE(set);
  // Of tokens drawn from the model, -log p is the entropy on average: far from that of random tokens, log 49152 = 10.8.
  const at::Tensor log_p = at::log_softmax(float_logits(*model_, set->tokens), -1);
  const at::Tensor of_next =
      log_p.narrow(1, 0, 63).gather(2, set->tokens.narrow(1, 1, 63).unsqueeze(2)).squeeze(2).narrow(1, 30, 33);
  const double nll = -of_next.mean().item<double>();
  EXPECT_GT(nll, 0.5);
  EXPECT_LT(nll, 5.5);
}

}  // namespace
}  // namespace svq::convert

int main(int argc, char** argv) {
  svq::convert::choose_blas_kernels(argv);  // as svqconvert does: five times the speed on some machines
  svq::convert::init_allocator();
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
