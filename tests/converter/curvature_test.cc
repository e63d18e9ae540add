// The curvature over outputs against the Fisher information worked out from Jacobians.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "converter/job/curvature.h"
#include "converter/train/curvature.h"
#include "tests/converter/float_fake_model.h"

namespace svq::convert::test {
namespace {

at::Tensor some_tokens(int64_t length, int64_t vocab) {
  return (at::arange(length, at::kLong).mul(7).add(3)).remainder(vocab).view({1, length});
}

std::map<std::string, at::Tensor> means(const OutputCurvature& curvature) {
  std::map<std::string, at::Tensor> all;
  for (const auto& [name, sum] : curvature.sums()) all.emplace(name, sum.mean());
  return all;
}

// Of the last block's down projection: its output is added to what the head reads, position by position.
TEST(Curvature, IsTheFisherInformationOfTheOutputs) {
  const FakeModel model({.hidden = 24, .n_layers = 2, .vocab = 12, .sharpness = 4.0f});
  const Plan plan = make_plan(model, {});
  Student student = float_student(model, plan);
  constexpr int64_t kLength = 9, kRepeats = 400;
  const at::Tensor tokens = some_tokens(kLength, 12);

  const at::Tensor hidden = student.hidden(tokens).detach().requires_grad_(true);
  const at::Tensor logits = student.logits(student.head_input(hidden).view({kLength, -1}));
  const at::Tensor p = at::softmax(logits.detach(), -1).to(at::kDouble);
  at::Tensor expected = at::zeros({24, 24}, at::kDouble), jacobian = at::empty({12, kLength, 24}, at::kDouble);
  for (int64_t v = 0; v < 12; ++v) {
    const auto g = torch::autograd::grad({logits.select(1, v).sum()}, {hidden}, {}, /*retain_graph=*/true);
    jacobian[v].copy_(g[0][0]);
  }
  for (int64_t t = 0; t < kLength; ++t) {
    const at::Tensor j = jacobian.select(1, t), q = p[t];
    expected += at::mm(j.t(), at::mm(at::diag(q) - at::outer(q, q), j)) / kLength;
  }

  OutputCurvature curvature(student, 1000);
  for (int64_t i = 0; i < kRepeats; ++i) curvature.add(tokens, i, 5, /*kept_blocks=*/i % 3);
  const auto measured = means(curvature);
  ASSERT_EQ(measured.size(), 14u);
  const at::Tensor down = measured.at("blocks.1.down").to(at::kDouble);
  EXPECT_LT((down - expected).norm().item<double>(), 0.15 * expected.norm().item<double>());
  for (const auto& [name, h] : measured) {
    EXPECT_GT(h.trace().item<double>(), 0) << name;
    EXPECT_LE((h - h.t()).abs().max().item<double>(), 1e-6 * h.abs().max().item<double>()) << name;
  }
}

TEST(Curvature, DependsOnTheSeedAlone) {
  const FakeModel model({.biases = true, .qk_norms = true, .tied = false});
  const Plan plan = make_plan(model, {});
  const auto measure = [&](uint64_t seed, int64_t kept_blocks) {
    Student student = float_student(model, plan);
    OutputCurvature curvature(student, 40);
    for (int64_t i = 0; i < 3; ++i) curvature.add(some_tokens(20, 300), i, seed, kept_blocks);
    return means(curvature);
  };
  const auto one = measure(1, 0), again = measure(1, 1), whole = measure(1, 2), other = measure(2, 2);
  EXPECT_EQ(one.size(), 12u);  // q has 48 outputs
  for (const auto& [name, h] : one) {
    EXPECT_TRUE(h.equal(again.at(name))) << name;
    EXPECT_TRUE(h.equal(whole.at(name))) << name;
    EXPECT_FALSE(h.equal(other.at(name))) << name;
  }
}

TEST(Curvature, GoesOnFromASum) {
  const FakeModel model({.biases = true});
  const Plan plan = make_plan(model, {});
  Student student = float_student(model, plan);
  OutputCurvature whole(student, 1000);
  for (int64_t i = 0; i < 3; ++i) whole.add(some_tokens(20, 300), i, 7, 2);
  std::map<std::string, std::pair<at::Tensor, int64_t>> kept;
  {
    Student other = float_student(model, plan);
    OutputCurvature begun(other, 1000);
    begun.add(some_tokens(20, 300), 0, 7, 2);
    for (const auto& [name, sum] : begun.sums()) kept[name] = {sum.sum().clone(), sum.tokens()};
  }
  Student other = float_student(model, plan);
  OutputCurvature rest(other, 1000);
  for (const auto& [name, sum] : kept) rest.restore(name, sum.first, sum.second);
  for (int64_t i = 1; i < 3; ++i) rest.add(some_tokens(20, 300), i, 7, 2);
  const auto expected = means(whole), got = means(rest);
  ASSERT_EQ(got.size(), 14u);
  for (const auto& [name, h] : expected) EXPECT_TRUE(h.equal(got.at(name))) << name;
}

}  // namespace
}  // namespace svq::convert::test
