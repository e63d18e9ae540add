// Fine-tuning's parts against plain libtorch expressions and their automatic gradients.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "converter/job/sequences.h"
#include "converter/quantize/grid.h"
#include "converter/quantize/hadamard.h"
#include "converter/train/adafactor.h"
#include "converter/train/adam.h"
#include "converter/train/attention.h"
#include "converter/train/distill.h"
#include "converter/train/pointwise.h"
#include "converter/train/student.h"
#include "tests/converter/quantize_reference.h"

namespace svq::convert {
namespace {

using test::normal;
using test::relative_difference;

struct GroupCase {
  RotationChoice rotation;
  LatticeInit lattice;
  int dim, columns_per_map;
  int64_t columns, rows, tokens;
};

class Group : public ::testing::TestWithParam<GroupCase> {};

QuantizedGroup quantized(const GroupCase& c) {
  GroupJob job;
  job.name = "g";
  job.hessian = test::mean_hessian(test::correlated_activations(256, c.columns));
  job.linears.push_back({"first", normal({c.rows, c.columns}, "first"), 2, true});
  job.linears.push_back({"second", normal({c.rows * 2, c.columns}, "second"), 3, true});
  job.linears.push_back({"third", normal({c.rows, c.columns}, "third"), 2, true});
  QuantizeOptions options;
  options.rotation = c.rotation;
  options.lattice = c.lattice;
  options.group_dim = c.dim;
  options.columns_per_map = c.columns_per_map;
  return quantize_group(job, options);
}

TEST_P(Group, ComputesWhatTheStoredWeightsStandFor) {
  const GroupCase& c = GetParam();
  const QuantizedGroup q = quantized(c);
  const StudentGroup group = make_group(q, /*bf16=*/false);
  const at::Tensor x = normal({c.tokens, c.columns}, "x");
  const auto y = group.forward(x);
  ASSERT_EQ(y.size(), 3u);
  for (size_t l = 0; l < 3; ++l) {
    const at::Tensor expected = at::mm(x, dequantize_linear(q, l).t());
    EXPECT_LT(relative_difference(y[l], expected), 2e-6) << l;
  }
  // bf16 rounds what meets the codes to 8 bits, nothing else.
  const auto rough = make_group(q, /*bf16=*/true).forward(x);
  EXPECT_LT(relative_difference(rough[1], y[1]), 1e-2);
  EXPECT_GT(relative_difference(rough[1], y[1]), 1e-5);
}

TEST_P(Group, GradientsAreThoseOfThePlainFormula) {
  const GroupCase& c = GetParam();
  StudentGroup group = make_group(quantized(c), /*bf16=*/false);
  const auto want = [](at::Tensor& t) { t = t.detach().clone().requires_grad_(true); };
  at::Tensor x = normal({c.tokens, c.columns}, "x");
  want(x);
  want(group.in_scale);
  std::vector<at::Tensor*> all{&x, &group.in_scale};
  for (auto& m : group.maps) {
    want(m.a);
    want(m.centre);
    all.push_back(&m.a);
    all.push_back(&m.centre);
  }
  for (auto& l : group.linears) {
    want(l.out_scale);
    all.push_back(&l.out_scale);
  }
  const auto loss = [&](const std::vector<at::Tensor>& y) {
    at::Tensor sum = at::zeros({}, at::kDouble);
    for (size_t l = 0; l < y.size(); ++l)
      sum = sum + (y[l].to(at::kDouble) * normal({c.tokens, y[l].size(1)}, l == 0 ? "d0" : l == 1 ? "d1" : "d2")).sum();
    return sum;
  };
  const auto gradients = [&](const std::vector<at::Tensor>& y) {
    torch::autograd::backward({loss(y)}, {});
    std::vector<at::Tensor> result;
    for (at::Tensor* t : all) {
      EXPECT_TRUE(t->grad().defined());
      result.push_back(t->grad().clone());
      t->mutable_grad() = at::Tensor();
    }
    return result;
  };
  // u = H (s ⊙ x), Q = A c + B by groups, y = s_out ⊙ H_outᵀ (Q u), with dense matrices in f64.
  const at::Tensor rotation = test::dense_rotation(group.rotation, c.columns);
  const at::Tensor u = at::mm((x * group.in_scale).to(at::kDouble), rotation.t());
  std::vector<at::Tensor> plain;
  for (const StudentLinear& l : group.linears) {
    const auto& m = group.maps[static_cast<size_t>(l.map)];
    const int64_t d = m.dim, per_map = m.columns_per_map > 0 ? m.columns_per_map : c.columns;
    std::vector<at::Tensor> columns;
    for (int64_t k = 0; k < c.columns; k += d) {
      const at::Tensor a = m.a[k / per_map].to(at::kDouble), b = m.centre[k / per_map].to(at::kDouble);
      columns.push_back(at::mm(l.codes.narrow(1, k, d).to(at::kDouble), a.t()) + b);
    }
    const at::Tensor out = test::dense_rotation(l.output_rotation, l.rows);
    plain.push_back(at::mm(at::mm(u, at::cat(columns, 1).t()), out) * l.out_scale.to(at::kDouble));
  }
  const auto expected = gradients(plain);
  const auto actual = gradients(group.forward(x));
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i)
    EXPECT_LT(relative_difference(actual[i], expected[i]), 2e-5) << "tensor " << i;
}

TEST_P(Group, StoringRoundsAndNothingElse) {
  const QuantizedGroup q = quantized(GetParam());
  StudentGroup group = make_group(q, false);
  QuantizedGroup stored = q;
  store_group(group, stored);
  for (size_t l = 0; l < q.linears.size(); ++l) {
    EXPECT_TRUE(stored.linears[l].codes.equal(q.linears[l].codes));
    EXPECT_TRUE(stored.linears[l].out_scale.equal(q.linears[l].out_scale));
  }
  EXPECT_TRUE(stored.in_scale.equal(q.in_scale.defined() ? q.in_scale : at::ones({q.columns})));
  for (size_t m = 0; m < q.maps.size(); ++m) {
    EXPECT_TRUE(stored.maps[m].a.equal(q.maps[m].a));
    EXPECT_TRUE(at::allclose(stored.maps[m].b, q.maps[m].b, 0, 1e-3));
  }
  // After rounding, the student is exactly what is stored.
  group.in_scale = group.in_scale * 1.00037;
  group.maps[0].a = group.maps[0].a * 0.9991;
  group.maps[0].centre = group.maps[0].centre + 0.00123;
  round_group(group);
  store_group(group, stored);
  const at::Tensor x = normal({5, GetParam().columns}, "x");
  for (size_t l = 0; l < 3; ++l)
    EXPECT_LT(relative_difference(group.forward(x)[l], at::mm(x, dequantize_linear(stored, l).t())), 2e-6);
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, Group,
    ::testing::Values(GroupCase{RotationChoice::kMixed, LatticeInit::kIdentity, 4, 0, 96, 12, 37},
                      GroupCase{RotationChoice::kMixed, LatticeInit::kOrthogonal, 4, 32, 96, 20, 16},
                      GroupCase{RotationChoice::kMixed, LatticeInit::kIdentity, 4, 0, 280, 36, 21},
                      GroupCase{RotationChoice::kMixed, LatticeInit::kIdentity, 4, 0, 112, 70, 33},
                      GroupCase{RotationChoice::kBlocks, LatticeInit::kOrthogonal, 8, 0, 64, 16, 1},
                      GroupCase{RotationChoice::kNone, LatticeInit::kIdentity, 8, 24, 72, 10, 50}));

struct AttentionCase {
  int64_t batch, heads, kv_heads, length, dim, window;
};
class Attention : public ::testing::TestWithParam<AttentionCase> {};

TEST_P(Attention, EqualsThePlainFormulaWithGradients) {
  const AttentionCase& c = GetParam();
  at::Tensor q = normal({c.batch, c.heads, c.length, c.dim}, "q").requires_grad_(true);
  at::Tensor k = normal({c.batch, c.kv_heads, c.length, c.dim}, "k").requires_grad_(true);
  at::Tensor v = normal({c.batch, c.kv_heads, c.length, c.dim}, "v").requires_grad_(true);
  const at::Tensor d = normal({c.batch, c.heads, c.length, c.dim}, "d");
  const auto gradients = [&](const at::Tensor& y) {
    torch::autograd::backward({y}, {d.to(y.scalar_type())});
    std::vector<at::Tensor> all{q.grad().clone(), k.grad().clone(), v.grad().clone()};
    for (at::Tensor* t : {&q, &k, &v}) t->mutable_grad() = at::Tensor();
    return all;
  };
  const int64_t group = c.heads / c.kv_heads;
  const at::Tensor position = at::arange(c.length), distance = position.unsqueeze(1) - position;
  at::Tensor hidden = distance < 0;
  if (c.window > 0) hidden = hidden.logical_or(distance >= c.window);
  const at::Tensor scores =
      at::matmul(q.to(at::kDouble), k.to(at::kDouble).repeat_interleave(group, 1).transpose(2, 3)) /
      std::sqrt(static_cast<double>(c.dim));
  const at::Tensor plain =
      at::matmul(at::softmax(scores.masked_fill(hidden, -INFINITY), -1), v.to(at::kDouble).repeat_interleave(group, 1));
  const at::Tensor y = attend(q, k, v, c.window);
  EXPECT_LT(relative_difference(y, plain), 1e-6);
  const auto expected = gradients(plain), actual = gradients(y);
  // With a single position the weights are constant: the gradients of q and k are zero.
  for (size_t i = 0; i < 3; ++i)
    EXPECT_LT((actual[i] - expected[i]).norm().item<double>(), 2e-6 * (1 + expected[i].norm().item<double>())) << i;
}

INSTANTIATE_TEST_SUITE_P(Shapes, Attention,
                         ::testing::Values(AttentionCase{1, 1, 1, 1, 4, 0}, AttentionCase{2, 6, 2, 40, 8, 0},
                                           AttentionCase{1, 4, 4, 300, 16, 0}, AttentionCase{1, 4, 2, 290, 8, 7},
                                           AttentionCase{1, 2, 1, 257, 8, 200}));

// Values and gradients of `actual` are those of `plain`, which computes in f64.
template <class Actual, class Plain>
void expect_same_function(std::vector<at::Tensor> inputs, const Actual& actual, const Plain& plain) {
  for (at::Tensor& t : inputs) t.requires_grad_(true);
  const auto gradients = [&](const at::Tensor& y) {
    torch::autograd::backward({y}, {normal(y.sizes().vec(), "d").to(y.scalar_type())});
    std::vector<at::Tensor> all;
    for (at::Tensor& t : inputs) {
      all.push_back(t.grad().clone());
      t.mutable_grad() = at::Tensor();
    }
    return all;
  };
  const at::Tensor y = actual(inputs), expected = plain(inputs);
  EXPECT_LT(relative_difference(y, expected), 1e-6);
  const auto of_actual = gradients(y), of_plain = gradients(expected);
  for (size_t i = 0; i < inputs.size(); ++i) EXPECT_LT(relative_difference(of_actual[i], of_plain[i]), 2e-6) << i;
}

TEST(Pointwise, NormaliseEqualsThePlainFormula) {
  for (const std::vector<int64_t>& shape : {std::vector<int64_t>{1, 7}, {70, 33}, {3, 5, 64}}) {
    const auto plain = [](const std::vector<at::Tensor>& in) {
      const at::Tensor x = in[0].to(at::kDouble), y = x * (x.square().mean(-1, true) + 1e-5).rsqrt();
      return in.size() > 1 ? y * in[1].to(at::kDouble) : y;
    };
    const at::Tensor x = normal(shape, "x"), weight = normal({shape.back()}, "weight");
    expect_same_function(
        {x.clone(), weight}, [](auto& in) { return normalise(in[0], in[1], 1e-5); }, plain);
    expect_same_function(
        {x.clone()}, [](auto& in) { return normalise(in[0], {}, 1e-5); }, plain);
  }
}

TEST(Pointwise, SiluProductEqualsThePlainFormula) {
  const at::Tensor gate = normal({37, 45}, "gate") * 8, up = normal({37, 45}, "up");
  expect_same_function(
      {gate, up}, [](auto& in) { return silu_product(in[0], in[1]); },
      [](auto& in) { return at::silu(in[0].to(at::kDouble)) * in[1].to(at::kDouble); });
  const at::Tensor far = at::tensor({-1e4f, -200.0f, 200.0f, 1e4f}), one = at::ones({4});
  EXPECT_TRUE(at::allclose(silu_product(far, one), at::silu(far), 1e-6, 1e-30));
}

TEST(Pointwise, DivergenceAndItsGradientEqualThePlainFormula) {
  for (const int64_t vocab : {3, 16, 1000, 9001}) {
    for (const bool bf16 : {false, true}) {
      const at::Tensor wanted = (normal({5, vocab}, "wanted") * 6 + 40).to(bf16 ? at::kBFloat16 : at::kFloat);
      at::Tensor logits = normal({5, vocab}, "logits") * 4 - 70;
      const at::Tensor log_p = at::log_softmax(wanted.to(at::kDouble), -1),
                       log_q = at::log_softmax(logits.to(at::kDouble), -1);
      const double expected = (log_p.exp() * (log_p - log_q)).sum().item<double>();
      EXPECT_NEAR(kl_gradient(wanted, logits, 0.25), expected, 1e-5 * (1 + expected)) << vocab;
      EXPECT_LT(relative_difference(logits, (log_q.exp() - log_p.exp()) * 0.25), 3e-6) << vocab;
    }
  }
}

TEST(Adam, FirstStepsFollowTheFormula) {
  at::Tensor value = at::full({3}, 2.0, at::kFloat).requires_grad_(true);
  AdamOptions options;
  Adam adam({{"p", value, 2.0, false}}, options);
  value.mutable_grad() = at::tensor({1.0f, -4.0f, 0.0f});
  adam.step(0.5);
  // The first step has the size of the rate whatever the gradient's: 0.5 · 4e-3 · 2.
  EXPECT_TRUE(at::allclose(value.detach(), at::tensor({1.996f, 2.004f, 2.0f}), 0, 1e-6)) << value;
  EXPECT_FALSE(value.grad().defined());
  const at::Tensor state = adam.save();
  value.mutable_grad() = at::tensor({1.0f, 1.0f, 1.0f});
  adam.step(1.0);
  const at::Tensor after = value.detach().clone();
  adam.load(state);
  EXPECT_TRUE(at::allclose(value.detach(), at::tensor({1.996f, 2.004f, 2.0f}), 0, 1e-6));
  value.mutable_grad() = at::tensor({1.0f, 1.0f, 1.0f});
  adam.step(1.0);
  EXPECT_TRUE(value.detach().equal(after));
}

TEST(Adafactor, StepsFollowTheFormula) {
  const int64_t n = 150, k = 70;  // more rows than are summed in a run, columns that fill no lanes
  at::manual_seed(1);
  const at::Tensor start = at::randn({n, k});
  at::Tensor value = start.clone().requires_grad_(true);
  const double unit = 0.7, rate = 3e-3, decay = 0.9;
  Adafactor optimizer({{"w", value, unit, false}}, rate, decay);
  at::Tensor expected = start.to(at::kDouble), rows = at::zeros({n}, at::kDouble),
             columns = at::zeros({k}, at::kDouble);
  for (int step = 1; step <= 3; ++step) {
    const at::Tensor g = at::randn({n, k}) * at::rand({n, 1}) * at::rand({1, k}).square();
    value.mutable_grad() = g.clone();
    optimizer.step(step == 2 ? 0.5 : 1.0);
    EXPECT_FALSE(value.grad().defined());
    const at::Tensor squares = g.to(at::kDouble).square();
    rows = decay * rows + (1 - decay) * squares.mean(1);
    columns = decay * columns + (1 - decay) * squares.mean(0);
    const double unbias = 1 - std::pow(decay, step);
    const at::Tensor v = at::outer(rows / unbias, columns / unbias) / (rows / unbias).mean();
    expected -= (step == 2 ? 0.5 : 1.0) * rate * unit * g.to(at::kDouble) / v.sqrt();
    EXPECT_LT((value.detach().to(at::kDouble) - expected).abs().max().item<double>(), 1e-5) << step;
  }
  EXPECT_GT((value.detach() - start).abs().max().item<double>(), 1e-3);
}

TEST(Adafactor, AZeroGradientLeavesTheWeights) {
  at::Tensor value = at::ones({3, 4}).requires_grad_(true);
  Adafactor optimizer({{"w", value, 1.0, false}}, 1e-3);
  value.mutable_grad() = at::zeros({3, 4});
  optimizer.step(1);
  EXPECT_TRUE(value.detach().equal(at::ones({3, 4})));
}

TEST(Adafactor, DoesNotDependOnTheNumberOfThreads) {
  at::manual_seed(2);
  const at::Tensor start = at::randn({300, 64}), g = at::randn({300, 64});
  const auto stepped = [&](int threads) {
    const int before = at::get_num_threads();
    at::set_num_threads(threads);
    at::Tensor value = start.clone().requires_grad_(true);
    Adafactor optimizer({{"w", value, 1.0, false}}, 1e-2);
    value.mutable_grad() = g.clone();
    optimizer.step(1);
    at::set_num_threads(before);
    return value.detach();
  };
  EXPECT_TRUE(stepped(1).equal(stepped(3)));
}

TEST(Adam, RateWarmsUpAndFallsToItsFloor) {
  EXPECT_NEAR(cosine_rate(0, 100, 5, 0.03), 1.0 / 6, 1e-12);
  EXPECT_NEAR(cosine_rate(5, 100, 5, 0.03), 1.0, 1e-12);
  EXPECT_NEAR(cosine_rate(100, 100, 5, 0.03), 0.03, 1e-12);
  for (int64_t step = 6; step < 100; ++step)
    EXPECT_LT(cosine_rate(step, 100, 5, 0.03), cosine_rate(step - 1, 100, 5, 0.03));
}

TEST(Sequences, EveryEpochVisitsEachOnce) {
  const std::vector<int64_t> all{2, 3, 5, 7, 11, 13, 17};
  std::multiset<int64_t> seen;
  for (int64_t step = 0; step < 7; ++step) {
    for (int64_t s : sequences_of_step(step, 2, all, 9)) seen.insert(s);
  }
  for (int64_t s : all) EXPECT_EQ(seen.count(s), 2u) << s;
  EXPECT_NE(sequences_of_step(0, 7, all, 9), sequences_of_step(1, 7, all, 9));
}

TEST(Sequences, HeldOutOnesAreNeitherTrainedOnNorCalibratedWith) {
  Options options;
  options.effort = "fast";
  options.calibration_sequences = 32;
  for (const int64_t total : {2, 9, 33, 136, 264}) {
    const SequencePlan plan = plan_sequences(options, total);
    std::set<int64_t> all(plan.training.begin(), plan.training.end());
    EXPECT_EQ(static_cast<int64_t>(plan.held_out.size()), std::clamp<int64_t>(total / 8, 1, 8)) << total;
    for (int64_t s : plan.calibration) EXPECT_TRUE(all.contains(s));
    for (int64_t s : plan.held_out) EXPECT_FALSE(all.contains(s));
    all.insert(plan.held_out.begin(), plan.held_out.end());
    EXPECT_EQ(static_cast<int64_t>(all.size()), total);
    EXPECT_EQ(plan.calibration.size(), static_cast<size_t>(std::min<int64_t>(32, total - plan.held_out.size())));
  }
}

TEST(Sequences, ATimeLimitAsksForNoMoreThanItTrainsOn) {
  Options options;
  options.time_limit = 6000;
  options.calibration_sequences = 128;
  Plan plan;
  plan.tied = true;
  plan.block_weights = 1'300'000'000;
  plan.groups.resize(1);
  plan.groups[0].linears.resize(1);
  plan.groups[0].linears[0].rows = 150'000;
  plan.groups[0].linears[0].columns = 1536;
  const double flops = 8 * 1.3e9 + 6 * 150'000.0 * 1536;  // a token
  EXPECT_EQ(training_flops(plan), flops);
  const int64_t wanted = wanted_sequences(options);
  // Rates at which some 400 and 800 sequences would be trained on twice, as what the model writes itself is.
  const double rate = 400 * 2 * 512 * flops / 6000;
  const int64_t slow = useful_sequences(options, plan, 128, rate),
                fast = useful_sequences(options, plan, 128, 2 * rate);
  EXPECT_GT(slow, 128 + 8);
  EXPECT_LT(slow, 400);  // not all of the time is training's
  EXPECT_NEAR(static_cast<double>(fast - 8), 2.0 * static_cast<double>(slow - 8), 2);
  EXPECT_EQ(useful_sequences(options, plan, 128, rate / 100), 128 + 8);
  EXPECT_EQ(useful_sequences(options, plan, 32, rate / 100), 32 + 8);
  EXPECT_EQ(useful_sequences(options, plan, 128, 1000 * rate), wanted);
}

TEST(Sequences, HessiansTakeAThirdOfATimeLimitAtTheMost) {
  Options options;
  options.time_limit = 900;
  const double work = 1e12, rate = 2 * work / 600;             // 600 seconds with all 64
  EXPECT_EQ(affordable_calibration(options, work, rate), 64);  // as many as were asked for
  options.calibration_by_time = true;
  EXPECT_EQ(affordable_calibration(options, work, rate), 32);
  EXPECT_EQ(affordable_calibration(options, work, 2 * rate), 64);
  EXPECT_EQ(affordable_calibration(options, work, 10 * rate), 64);
  EXPECT_EQ(affordable_calibration(options, work, rate / 10), 16);
  options.calibration_sequences = 8;
  EXPECT_EQ(affordable_calibration(options, work, rate / 10), 8);
}

}  // namespace
}  // namespace svq::convert
