// The float forward pass against a plain double-precision reading of the same formulas.
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include "converter/models/float/block.h"
#include "converter/models/float/evaluate.h"
#include "converter/models/float/startup.h"
#include "converter/models/float/vocabulary.h"
#include "tests/converter/float_fake_model.h"

namespace svq::convert::test {
namespace {

struct Case {
  const char* name;
  FakeOptions options;
};

std::vector<Case> cases() {
  return {
      {"grouped_query", {}},
      {"one_kv_head", {.n_heads = 3, .n_kv_heads = 1}},
      {"full_heads", {.n_heads = 3, .n_kv_heads = 3}},
      {"biases", {.biases = true}},
      {"qk_norms", {.qk_norms = true}},
      {"window", {.sliding_window = 5}},
      {"window_of_one", {.sliding_window = 1}},
      {"untied", {.tied = false}},
      {"attention_factor", {.rope_attention_factor = 1.3f}},
      {"all", {.sliding_window = 4, .biases = true, .qk_norms = true, .tied = false}},
  };
}

at::Tensor to_tensor(const Rows& rows) {
  at::Tensor t = at::empty({static_cast<int64_t>(rows.size()), static_cast<int64_t>(rows[0].size())}, at::kDouble);
  for (size_t i = 0; i < rows.size(); ++i)
    std::copy(rows[i].begin(), rows[i].end(), t.data_ptr<double>() + i * rows[i].size());
  return t;
}

double largest_difference(const at::Tensor& a, const at::Tensor& b) {
  EXPECT_EQ(a.sizes(), b.sizes());
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

Rows rows_of(const at::Tensor& t) {  // [T, D] f32
  Rows rows;
  for (int64_t i = 0; i < t.size(0); ++i) {
    const at::Tensor row = t[i].to(at::kDouble).contiguous();
    rows.emplace_back(row.data_ptr<double>(), row.data_ptr<double>() + row.numel());
  }
  return rows;
}

// A part of the tokens at a time, put together again.
struct Collected {
  std::vector<at::Tensor> attn_in, o_in, ffn_in, down_in;
  BlockHooks hooks() {
    return {[this](const at::Tensor& x) { attn_in.push_back(x.clone()); },
            [this](const at::Tensor& x) { o_in.push_back(x.clone()); },
            [this](const at::Tensor& x) { ffn_in.push_back(x.clone()); },
            [this](const at::Tensor& x) { down_in.push_back(x.clone()); }};
  }
};

class FloatBlockTest : public testing::TestWithParam<Case> {};

TEST_P(FloatBlockTest, EqualsTheReferenceWithEveryGroupInput) {
  const FakeModel model(GetParam().options);
  const int64_t batch = 3, length = 11;
  const at::Tensor hidden = at::randn({batch, length, model.architecture().hidden}, at::kFloat);
  ForwardOptions options;
  options.tokens_per_pass = 2 * length;  // two passes, of two sequences and of one
  Collected seen;
  const at::Tensor out = FloatBlock::load(model, 1, options).forward(hidden, seen.hooks());

  GroupInputs inputs;
  std::vector<at::Tensor> expected;
  for (int64_t b = 0; b < batch; ++b)
    expected.push_back(to_tensor(reference_block(model, 1, rows_of(hidden[b]), &inputs)));
  EXPECT_LT(largest_difference(out, at::stack(expected)), 2e-5);
  EXPECT_LT(largest_difference(at::cat(seen.attn_in), to_tensor(inputs.attn_in)), 1e-5);
  EXPECT_LT(largest_difference(at::cat(seen.o_in), to_tensor(inputs.o_in)), 2e-5);
  EXPECT_LT(largest_difference(at::cat(seen.ffn_in), to_tensor(inputs.ffn_in)), 2e-5);
  EXPECT_LT(largest_difference(at::cat(seen.down_in), to_tensor(inputs.down_in)), 4e-5);
}

TEST_P(FloatBlockTest, LogitsEqualTheReference) {
  const FakeModel model(GetParam().options);
  const std::vector<int64_t> tokens{5, 250, 0, 17, 17, 299, 3, 44, 5};
  const at::Tensor ids = at::tensor(tokens, at::kLong).unsqueeze(0);
  const at::Tensor logits = float_logits(model, ids)[0];
  EXPECT_LT(largest_difference(logits, to_tensor(reference_logits(model, tokens))), 5e-5);
}

INSTANTIATE_TEST_SUITE_P(Architectures, FloatBlockTest, testing::ValuesIn(cases()),
                         [](const auto& test) { return test.param.name; });

TEST(FloatBlock, TokensPerPassDoNotMatter) {
  const FakeModel model({.sliding_window = 6});
  const at::Tensor hidden = at::randn({2, 300, 24}, at::kFloat);  // longer than one step of the attention's queries
  ForwardOptions whole, parts;
  whole.tokens_per_pass = 1 << 20;
  parts.tokens_per_pass = 70;
  const at::Tensor a = FloatBlock::load(model, 0, whole).forward(hidden);
  const at::Tensor b = FloatBlock::load(model, 0, parts).forward(hidden);
  EXPECT_LT(largest_difference(a, b), 1e-5);
}

TEST(FloatBlock, LongSequenceEqualsTheReference) {
  const FakeModel model({.n_heads = 2, .n_kv_heads = 1});
  const at::Tensor hidden = at::randn({1, 290, 24}, at::kFloat);
  const at::Tensor out = FloatBlock::load(model, 0, {}).forward(hidden);
  EXPECT_LT(largest_difference(out[0], to_tensor(reference_block(model, 0, rows_of(hidden[0])))), 2e-5);
}

TEST(FloatBlock, LeavesItsInputAlone) {
  const FakeModel model({});
  const at::Tensor hidden = at::randn({2, 4, 24}, at::kFloat), before = hidden.clone();
  FloatBlock::load(model, 0, {}).forward(hidden);
  EXPECT_TRUE(hidden.equal(before));
}

TEST(FloatBlock, Bfloat16StaysNear) {
  const FakeModel model({.hidden = 64, .intermediate = 96, .biases = true});
  const at::Tensor hidden = at::randn({1, 32, 64}, at::kFloat);
  ForwardOptions options;
  options.bf16_linears = true;
  Collected seen;
  const at::Tensor exact = FloatBlock::load(model, 0, {}).forward(hidden);
  const at::Tensor rounded = FloatBlock::load(model, 0, options).forward(hidden, seen.hooks());
  EXPECT_EQ(seen.down_in[0].scalar_type(), at::kFloat);
  const double error = (exact - rounded).norm().item<double>() / (exact - hidden).norm().item<double>();
  EXPECT_LT(error, 0.01);  // of what the block adds; bfloat16 rounds to 2^-9
  EXPECT_GT(error, 0);
}

TEST(FloatVocabulary, EmbedReadsRowsAndRefusesOthers) {
  const FakeModel model({});
  const at::Tensor ids = at::tensor({299, 0, 7, 299}, at::kLong).view({2, 2});
  const at::Tensor rows = embed(model, ids, {});
  ASSERT_EQ(rows.sizes(), (std::vector<int64_t>{2, 2, 24}));
  for (int64_t i = 0; i < 4; ++i) {
    const int64_t id = ids.view({-1})[i].item<int64_t>();
    for (int64_t c = 0; c < 24; ++c)
      EXPECT_EQ(rows.view({4, 24})[i][c].item<float>(),
                model.values(Slot::kEmbedding, -1)[static_cast<size_t>(id * 24 + c)]);
  }
  EXPECT_THROW(embed(model, at::tensor({300}, at::kLong), {}), Error);
  EXPECT_THROW(embed(model, at::tensor({-1}, at::kLong), {}), Error);
}

// A vocabulary of more than one slice of the head.
TEST(FloatVocabulary, NllOverSlicesEqualsLogSoftmax) {
  const FakeModel model({.n_layers = 1, .vocab = 40000, .tied = false, .sharpness = 3.0f});
  const at::Tensor x = at::randn({700, 24}, at::kFloat);
  const at::Tensor targets = at::randint(40000, {700}, at::kLong);
  const at::Tensor logits = head_logits(model, x, {});
  ASSERT_EQ(logits.sizes(), (std::vector<int64_t>{700, 40000}));
  const at::Tensor expected = -at::log_softmax(logits.to(at::kDouble), -1).gather(1, targets.unsqueeze(1)).squeeze(1);
  EXPECT_LT(largest_difference(head_nll(model, x, targets, {}), expected), 1e-4);
}

TEST(Perplexity, FollowsTheRuleOfHalfChunks) {
  for (const bool bos : {false, true}) {
    const FakeModel model({.tokenizer = true, .add_bos = bos, .sharpness = 2.0f});
    std::vector<int32_t> tokens;
    for (int i = 0; i < 35; ++i) tokens.push_back((i * i * 7 + 3) % 256);
    const Perplexity got = perplexity(model, tokens, 10, 0);
    double sum = 0;
    for (size_t chunk = 0; chunk < 3; ++chunk) {
      std::vector<int64_t> ids(tokens.begin() + static_cast<ptrdiff_t>(chunk * 10),
                               tokens.begin() + static_cast<ptrdiff_t>(chunk * 10 + 10));
      if (bos) ids[0] = FakeModel::kBos;
      const Rows logits = reference_logits(model, ids);
      for (size_t p = 5; p < 9; ++p) {
        double total = 0;
        for (const double l : logits[p]) total += std::exp(l);
        sum += std::log(total) - logits[p][static_cast<size_t>(ids[p + 1])];
      }
    }
    EXPECT_EQ(got.scored, 12);
    EXPECT_EQ(got.chunk_nll.size(), 3u);
    EXPECT_NEAR(got.value, std::exp(sum / 12), 1e-3 * got.value);
    EXPECT_EQ(perplexity(model, tokens, 10, 2).scored, 8);
    EXPECT_THROW(perplexity(model, tokens, 36, 0), Error);
  }
}

TEST(Startup, DevicesAreNamed) {
  EXPECT_TRUE(choose_device("cpu").is_cpu());
  EXPECT_THROW(choose_device("gpu"), Error);
  EXPECT_THROW(choose_device("cuda:99"), Error);
  EXPECT_THROW(choose_device("cudax"), Error);
  init_threads(2);
  EXPECT_EQ(at::get_num_threads(), 2);
}

}  // namespace
}  // namespace svq::convert::test
