// A real file, where one is given: SVQ_TEST_MODEL_GGUF names SmolLM2-135M-Instruct as GGUF.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>

#include "converter/models/model.h"

namespace svq::convert {
namespace {

TEST(RealModel, SmolLm2) {
  const char* path = std::getenv("SVQ_TEST_MODEL_GGUF");
  if (!path) GTEST_SKIP() << "SVQ_TEST_MODEL_GGUF is not set";
  const auto model = open_model(path);
  const auto& a = model->architecture();
  EXPECT_EQ(a.family, "llama");
  EXPECT_EQ(a.hidden, 576u);
  EXPECT_EQ(a.intermediate, 1536u);
  EXPECT_EQ(a.n_layers, 30u);
  EXPECT_EQ(a.n_heads, 9u);
  EXPECT_EQ(a.n_kv_heads, 3u);
  EXPECT_EQ(a.head_dim, 64u);
  EXPECT_EQ(a.vocab, 49152u);
  EXPECT_EQ(a.context_length, 8192u);
  EXPECT_NEAR(a.rope_inv_freq[1], std::pow(100000.0, -2.0 / 64), 1e-6);
  EXPECT_TRUE(model->tied());
  EXPECT_EQ(model->chat().format, fb::ChatFormat::ChatML);
  ASSERT_TRUE(model->tokenizer());
  EXPECT_EQ(model->tokenizer()->pre_tokenizer, fb::PreTokenizer::Smollm);
  // Weights of a trained model: finite (read() checks), centred, of the usual size.
  for (int layer : {0, 29}) {
    for (Slot slot : {Slot::kQ, Slot::kK, Slot::kV, Slot::kO, Slot::kGate, Slot::kUp, Slot::kDown}) {
      const Shape shape = model->shape(slot, layer);
      std::vector<float> values(shape.rows * shape.columns);
      model->read(slot, layer, values);
      double sum = 0, squares = 0;
      for (float value : values) {
        sum += value;
        squares += static_cast<double>(value) * value;
      }
      const double rms = std::sqrt(squares / static_cast<double>(values.size()));
      EXPECT_GT(rms, 0.01) << slot_name(slot);
      EXPECT_LT(rms, 1.0) << slot_name(slot);
      EXPECT_LT(std::abs(sum / static_cast<double>(values.size())), 0.05 * rms) << slot_name(slot);
    }
  }
}

}  // namespace
}  // namespace svq::convert
