// The forward pass: against a naive reference, and independent of how the work is split.
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <thread>

#include "tests/runtime/helpers.h"
#include "tests/runtime/variants.h"
#include "tests/runtime/reference_model.h"

namespace svq::test {
namespace {

class ForwardTest : public testing::TestWithParam<Variant> {};
INSTANTIATE_TEST_SUITE_P(Variants, ForwardTest, testing::ValuesIn(variants()),
                         [](const auto& variant) { return variant.param.name; });

double largest(const std::vector<std::vector<double>>& reference) {
  double out = 0;
  for (const auto& row : reference) {
    for (const double v : row) out = std::max(out, std::fabs(v));
  }
  return out;
}

struct Difference {
  double largest, relative_rms;  // the former relative to the largest logit
};
Difference difference(const std::vector<float>& got, const std::vector<std::vector<double>>& expected) {
  double worst = 0, squares = 0, total = 0;
  for (size_t t = 0; t < expected.size(); ++t) {
    for (size_t i = 0; i < expected[t].size(); ++i) {
      const double e = got[t * expected[t].size() + i] - expected[t][i];
      if (std::isnan(e)) return {INFINITY, INFINITY};
      worst = std::max(worst, std::fabs(e));
      squares += e * e;
      total += expected[t][i] * expected[t][i];
    }
  }
  return {worst / largest(expected), std::sqrt(squares / total)};
}

TEST_P(ForwardTest, FloatActivationsMatchTheReferenceClosely) {
  const TinyModel tiny = make_tiny(GetParam().options);
  const Loaded loaded(tiny);
  const auto tokens = some_tokens(24, tiny.meta.architecture->vocab);
  const Difference d = difference(all_logits(loaded.model, {.threads = 1, .activations = 32}, tokens),
                                  ReferenceModel(tiny).logits(tokens));
  // f32 sums of ~100 terms through two layers, and now and then a half in the cache that rounds the other way.
  EXPECT_LT(d.largest, 2e-4);
  EXPECT_LT(d.relative_rms, 1e-4);
}

TEST_P(ForwardTest, Int8ActivationsMatchTheReferenceLoosely) {
  const TinyModel tiny = make_tiny(GetParam().options);
  const Loaded loaded(tiny);
  const auto tokens = some_tokens(24, tiny.meta.architecture->vocab);
  const auto reference = ReferenceModel(tiny).logits(tokens);
  const Difference d = difference(all_logits(loaded.model, {.threads = 1}, tokens), reference);
  // Rounding to 1/127 of the largest value, in fifteen linears one after another. Where rounding errors meet the whole
  // unsigned code and not its distance from the middle, most variants are between 0.02 and 0.06.
  EXPECT_LT(d.relative_rms, 0.02);
}

TEST_P(ForwardTest, ChunksDoNotChangeABit) {
  const Loaded loaded(GetParam().options);
  const auto tokens = some_tokens(70, loaded.model->weights().config.vocab);
  const auto whole = all_logits(loaded.model, {.threads = 1, .chunk = 64}, tokens);
  for (const uint32_t chunk : {1u, 2u, 3u, 7u, 70u})
    EXPECT_EQ(whole, all_logits(loaded.model, {.threads = 1, .chunk = chunk}, tokens)) << chunk;
  for (const size_t step : {size_t{1}, size_t{5}, size_t{33}})
    EXPECT_EQ(whole, all_logits(loaded.model, {.threads = 1}, tokens, step)) << step;
}

TEST_P(ForwardTest, ThreadsDoNotChangeABit) {
  const Loaded loaded(GetParam().options);
  const auto tokens = some_tokens(40, loaded.model->weights().config.vocab);
  const auto one = all_logits(loaded.model, {.threads = 1, .chunk = 16}, tokens);
  for (const uint32_t threads : {2u, 3u}) {
    EXPECT_EQ(one, all_logits(loaded.model, {.threads = threads, .chunk = 16}, tokens)) << threads;
    EXPECT_EQ(one, all_logits(loaded.model, {.threads = threads, .chunk = 16}, tokens, 1)) << threads;
  }
}

TEST_P(ForwardTest, LastLogitsEqualThoseOfEvalLogits) {
  const Loaded loaded(GetParam().options);
  const uint32_t vocab = loaded.model->weights().config.vocab;
  const auto tokens = some_tokens(33, vocab);
  const auto all = all_logits(loaded.model, {.threads = 1}, tokens);
  rt::Session session(loaded.model, {.threads = 1, .chunk = 8});
  session.eval(tokens, nullptr);
  for (uint32_t i = 0; i < vocab; ++i) EXPECT_EQ(session.logits()[i], all[(tokens.size() - 1) * vocab + i]) << i;
}

TEST_P(ForwardTest, Int8CacheIsCloseToF16) {
  const Loaded loaded(GetParam().options);
  const uint32_t vocab = loaded.model->weights().config.vocab;
  const auto tokens = some_tokens(24, vocab);
  const auto f16 = all_logits(loaded.model, {.threads = 1, .kv_bits = 16}, tokens),
             i8 = all_logits(loaded.model, {.threads = 1, .kv_bits = 8}, tokens);
  double squares = 0, total = 0;
  for (size_t i = 0; i < f16.size(); ++i) {
    squares += std::pow(f16[i] - i8[i], 2);
    total += std::pow(f16[i], 2);
  }
  EXPECT_LT(std::sqrt(squares / total), 0.1);
  EXPECT_GT(squares, 0);
  EXPECT_EQ(i8, all_logits(loaded.model, {.threads = 2, .kv_bits = 8, .chunk = 5}, tokens));
}

TEST(Forward, WideLayersRunInParallelAndDoNotChangeABit) {
  // Wide enough that every step is handed to the workers also for a single token.
  const Loaded loaded({.hidden = 512,
                       .intermediate = 1536,
                       .n_heads = 8,
                       .n_kv_heads = 4,
                       .head_dim = 64,
                       .bits = 0,
                       .biases = true,
                       .side_paths = true});
  const auto tokens = some_tokens(40, loaded.model->weights().config.vocab);
  const auto one = all_logits(loaded.model, {.threads = 1}, tokens);
  EXPECT_EQ(one, all_logits(loaded.model, {.threads = 3}, tokens));
  EXPECT_EQ(one, all_logits(loaded.model, {.threads = 2}, tokens, 1));
}

// Attention goes over a long context in spans, which threads share when one token is decoded.
TEST(Forward, LongContextsDependOnNeitherChunksNorThreads) {
  for (const uint32_t window : {0u, 200u, 300u}) {
    const TinyModel tiny =
        make_tiny({.n_layers = 1, .n_heads = 6, .n_kv_heads = 2, .context = 1024, .sliding_window = window});
    const Loaded loaded(tiny);
    const auto tokens = some_tokens(600, tiny.meta.architecture->vocab);
    for (const uint32_t kv_bits : {16u, 8u}) {
      const auto one = all_logits(loaded.model, {.threads = 1, .kv_bits = kv_bits}, tokens);
      for (const uint32_t threads : {1u, 2u, 3u}) {
        const rt::SessionOptions options{.threads = threads, .kv_bits = kv_bits, .chunk = 48};
        EXPECT_EQ(one, all_logits(loaded.model, options, tokens)) << window << ", " << threads << " threads";
        EXPECT_EQ(one, all_logits(loaded.model, options, tokens, 1)) << window << ", " << threads << " threads";
      }
    }
    const Difference d = difference(all_logits(loaded.model, {.threads = 2, .activations = 32}, tokens, 1),
                                    ReferenceModel(tiny).logits(tokens));
    EXPECT_LT(d.largest, 2e-4) << window;
  }
}

TEST(Forward, PositionsBeyondTheWindowDoNotMatter) {
  const Loaded loaded({.n_layers = 1, .sliding_window = 4});
  const uint32_t vocab = loaded.model->weights().config.vocab;
  auto a = some_tokens(12, vocab, 1), b = some_tokens(12, vocab, 2);
  std::copy(a.end() - 4, a.end(), b.end() - 4);
  const auto la = all_logits(loaded.model, {.threads = 1}, a), lb = all_logits(loaded.model, {.threads = 1}, b);
  EXPECT_TRUE(std::equal(la.end() - vocab, la.end(), lb.end() - vocab));
  EXPECT_FALSE(std::equal(la.begin(), la.begin() + vocab, lb.begin()));
}

}  // namespace
}  // namespace svq::test
