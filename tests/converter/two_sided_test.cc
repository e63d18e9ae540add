// Rounding under the curvature of inputs and outputs.
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/linalg_inv.h>
#include <ATen/ops/mm.h>
#include <gtest/gtest.h>

#include "converter/quantize/descent.h"
#include "converter/quantize/quantize.h"
#include "converter/quantize/two_sided.h"
#include "tests/converter/quantize_reference.h"

namespace svq::convert {
namespace {

using test::correlated_activations;
using test::mean_hessian;
using test::normal;

double objective(const at::Tensor& e, const at::Tensor& in, const at::Tensor& out) {
  const at::Tensor x = e.to(at::kDouble);
  return at::mm(in.to(at::kDouble), x).mul(at::mm(x, out.to(at::kDouble))).sum().item<double>();
}

CodeMetric metric_of(int64_t columns) {
  at::Tensor h = mean_hessian(correlated_activations(512, columns)).to(at::kDouble);
  CodeMetric metric;
  metric.factor = factor_hessian(h, 0.01, "in");
  metric.hessian = h.to(at::kFloat).contiguous();
  return metric;
}

struct Case {
  int64_t rows, columns;
  int passes;
};
class TwoSided : public ::testing::TestWithParam<Case> {};

TEST_P(TwoSided, LosesLessThanOneSidedRoundingUnderItsOwnObjective) {
  const auto [rows, columns, passes] = GetParam();
  const CodeMetric metric = metric_of(columns);
  at::Tensor out = mean_hessian(correlated_activations(512, rows)).to(at::kDouble);
  const at::Tensor targets = normal({columns, rows}, "targets").mul_(1.1).add_(1.5);

  at::Tensor plain = targets.clone(), plain_codes = at::empty({columns, rows}, at::kByte);
  choose_codes_(plain, plain_codes, metric, 2, passes);
  at::Tensor errors = targets.t().contiguous(), codes = at::empty({rows, columns}, at::kByte);
  choose_codes_two_sided_(errors, codes, metric, out, 0.05, 2, passes, {}, "out");
  codes = codes.t();
  errors = errors.t();

  EXPECT_LE(codes.max().item<int>(), 3);
  EXPECT_LT((targets - codes.to(at::kFloat) - errors).abs().max().item<double>(), 1e-4);
  EXPECT_LT(objective(errors, metric.hessian, out), 0.8 * objective(plain, metric.hessian, out));
}

INSTANTIATE_TEST_SUITE_P(Shapes, TwoSided,
                         ::testing::Values(Case{96, 64, 0}, Case{96, 64, 4}, Case{72, 144, 3}, Case{7, 32, 2}));

// Outputs that all count alike and independently give what rounding by inputs alone gives.
TEST(TwoSidedRounding, IsTheOneSidedOneWhenOutputsCountAlike) {
  constexpr int64_t kRows = 40, kColumns = 96;
  const CodeMetric metric = metric_of(kColumns);
  at::Tensor out = at::eye(kRows, at::kDouble).mul_(3.0);
  const at::Tensor targets = normal({kColumns, kRows}, "targets").mul_(1.1).add_(1.5);
  at::Tensor plain = targets.clone(), plain_codes = at::empty({kColumns, kRows}, at::kByte);
  choose_codes_(plain, plain_codes, metric, 2, 0);
  at::Tensor errors = targets.t().contiguous(), codes = at::empty({kRows, kColumns}, at::kByte);
  choose_codes_two_sided_(errors, codes, metric, out, 0.0, 2, 0, {}, "out");
  EXPECT_EQ(codes.t().ne(plain_codes).sum().item<int64_t>(), 0);
}

// Rows searched beside each other move against the same others.
TEST_P(TwoSided, SearchGoesBelowDescent) {
  const auto [rows, columns, passes] = GetParam();
  const CodeMetric metric = metric_of(columns);
  const at::Tensor out = mean_hessian(correlated_activations(512, rows)).to(at::kDouble);
  const at::Tensor targets = normal({columns, rows}, "targets").mul_(1.1).add_(1.5);
  const auto choose = [&](int64_t moves) {
    at::Tensor errors = targets.t().contiguous(), codes = at::empty({rows, columns}, at::kByte), damped = out.clone();
    choose_codes_two_sided_(errors, codes, metric, damped, 0.05, 2, 20, {moves, 1}, "out");
    EXPECT_LE(codes.max().item<int>(), 3);
    EXPECT_LT((targets.t() - codes.to(at::kFloat) - errors).abs().max().item<double>(), 1e-4);
    return std::pair(codes, objective(errors.t(), metric.hessian, damped));
  };
  const auto [codes, searched] = choose(400);
  EXPECT_LT(searched, (rows < 16 ? 1.0 : 0.97) * choose(0).second);
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  EXPECT_TRUE(choose(400).first.equal(codes));
  at::set_num_threads(threads);
}

// A whole linear: rotations on both sides, scales fitted together.
TEST(TwoSidedRounding, ImprovesALinearUnderItsOutputsCurvature) {
  constexpr int64_t kRows = 96, kColumns = 144;
  GroupJob job;
  job.name = "g";
  job.hessian = mean_hessian(correlated_activations(512, kColumns));
  job.linears.push_back({"l", normal({kRows, kColumns}, "w"), 2, true, {}});
  const at::Tensor out = mean_hessian(correlated_activations(512, kRows));
  const auto loss = [&] {
    const at::Tensor e = dequantize_linear(quantize_group(job, {}), 0) - job.linears[0].weight;
    return objective(e.t().contiguous(), job.hessian, out);
  };
  const double before = loss();
  job.linears[0].output_hessian = out;
  EXPECT_LT(loss(), 0.85 * before);
}

}  // namespace
}  // namespace svq::convert
