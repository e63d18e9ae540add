// quantize_group as a whole: what is stored, how well it stands for the weights, and what it refuses.
#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros.h>

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "converter/base/error.h"
#include "converter/quantize/grid.h"
#include "converter/quantize/quantize.h"
#include "tests/converter/quantize_reference.h"

namespace svq::convert {
namespace {

using test::correlated_activations;
using test::dense_linear;
using test::largest;
using test::mean_hessian;
using test::normal;
using test::relative_error;

GroupJob make_job(int64_t columns, std::vector<std::pair<int64_t, int>> rows_and_bits, bool with_norm = false) {
  GroupJob job;
  job.name = "blocks.0.attn_in";
  job.hessian = mean_hessian(correlated_activations(4 * columns, columns));
  if (with_norm) job.input_norm = normal({columns}, "norm").abs() + 0.1;
  int index = 0;
  for (const auto& [rows, bits] : rows_and_bits) {
    LinearJob l;
    l.name = "blocks.0.linear" + std::to_string(index++);
    l.weight = normal({rows, columns}, l.name.c_str()) * 0.05;
    l.bits = bits;
    job.linears.push_back(l);
  }
  return job;
}

double error_of(const GroupJob& job, const QuantizeOptions& options) {
  return quantize_group(job, options).linears[0].relative_error;
}

struct Variant {
  const char* name;
  int64_t columns, rows;
  int bits;
  bool norm = false;
  bool rotate_output = true;
  Method method = Method::kUnisvq;
  RotationChoice rotation = RotationChoice::kMixed;
  LatticeInit lattice = LatticeInit::kIdentity;
  int dim = 4, per_map = 0;
};
void PrintTo(const Variant& v, std::ostream* out) { *out << v.name; }

class GroupTest : public testing::TestWithParam<Variant> {};

// The stored parts are exact f16, codes are in range, dequantize_linear equals the formula, and relative_error is that
// of the stored values with respect to the original weight and Hessian.
TEST_P(GroupTest, StoredValuesStandForTheWeight) {
  const Variant& v = GetParam();
  GroupJob job = make_job(v.columns, {{v.rows, v.bits}}, v.norm);
  job.linears[0].rotate_output = v.rotate_output;
  QuantizeOptions options;
  options.method = v.method;
  options.rotation = v.rotation;
  options.lattice = v.lattice;
  options.group_dim = v.dim;
  options.columns_per_map = v.per_map;
  double last = 0;
  const QuantizedGroup group = quantize_group(job, options, [&](double fraction) {
    EXPECT_GE(fraction, last);
    EXPECT_LE(fraction, 1.0);
    last = fraction;
  });
  EXPECT_NEAR(last, 1.0, 1e-9);
  ASSERT_EQ(group.linears.size(), 1u);
  const QuantizedLinear& l = group.linears[0];
  EXPECT_EQ(l.rows, v.rows);
  EXPECT_EQ(l.columns, v.columns);
  EXPECT_EQ(l.codes.scalar_type(), at::kByte);
  EXPECT_LT(l.codes.max().item<int>(), 1 << v.bits);
  ASSERT_EQ(l.out_scale.numel(), v.rows);
  const AffineMapsData& maps = group.maps.at(l.affine);
  EXPECT_EQ(maps.a.size(0), v.per_map ? (v.columns + v.per_map - 1) / v.per_map : 1);
  for (const at::Tensor& t : {l.out_scale, maps.a, maps.b, group.in_scale}) {
    if (t.defined()) {
      EXPECT_TRUE(t.equal(round_to_f16(t)));
    }
  }
  EXPECT_GT(l.out_scale.abs().min().item<double>(), 0x1p-12) << "near the subnormal numbers of f16";
  EXPECT_LT(largest(l.out_scale), 0x1p12);
  const bool rotates = v.method == Method::kUnisvq && v.rotation != RotationChoice::kNone;
  EXPECT_EQ(group.rotation.kind() != fb::RotationKind::None, rotates);
  EXPECT_EQ(l.output_rotation.kind() != fb::RotationKind::None, rotates && v.rotate_output);
  EXPECT_EQ(group.in_scale.defined(), rotates || v.norm);

  const at::Tensor dense = dense_linear(group, 0), fast = dequantize_linear(group, 0);
  EXPECT_LT(largest(fast - dense), 2e-6 * std::max(1.0, largest(dense)));
  // The quantized linear acts on x / norm: fold the norm into W, and take it out of the Hessian.
  at::Tensor weight = job.linears[0].weight.to(at::kDouble), hessian = job.hessian.to(at::kDouble);
  if (v.norm) {
    const at::Tensor norm = job.input_norm.to(at::kDouble);
    weight = weight * norm.unsqueeze(0);
    hessian = hessian / norm.unsqueeze(0) / norm.unsqueeze(1);
  }
  const double error = relative_error(dense, weight, hessian);
  EXPECT_NEAR(l.relative_error, error, 1e-4 * error + 2e-7);
  EXPECT_LT(error, v.method == Method::kRtn ? 0.9 : v.bits == 2 ? 0.15 : 0.05);
}

INSTANTIATE_TEST_SUITE_P(
    Variants, GroupTest,
    testing::Values(
        Variant{.name = "plain", .columns = 96, .rows = 40, .bits = 2},
        Variant{.name = "norm", .columns = 96, .rows = 40, .bits = 2, .norm = true},
        Variant{.name = "odd_columns", .columns = 99, .rows = 24, .bits = 2},
        Variant{.name = "twice_odd", .columns = 198, .rows = 33, .bits = 3, .norm = true},
        Variant{.name = "not_of_64", .columns = 144, .rows = 130, .bits = 2},
        Variant{.name = "one_row", .columns = 64, .rows = 1, .bits = 2},
        Variant{.name = "three_bits", .columns = 96, .rows = 40, .bits = 3},
        Variant{.name = "four_bits", .columns = 96, .rows = 40, .bits = 4},
        Variant{.name = "five_bits", .columns = 96, .rows = 40, .bits = 5},
        Variant{.name = "six_bits", .columns = 99, .rows = 24, .bits = 6},
        Variant{.name = "seven_bits", .columns = 96, .rows = 40, .bits = 7},
        Variant{.name = "eight_bits", .columns = 96, .rows = 40, .bits = 8},
        Variant{.name = "head", .columns = 96, .rows = 200, .bits = 4, .rotate_output = false},
        Variant{.name = "blocks", .columns = 96, .rows = 40, .bits = 2, .rotation = RotationChoice::kBlocks},
        Variant{.name = "unrotated", .columns = 96, .rows = 40, .bits = 2, .rotation = RotationChoice::kNone},
        Variant{.name = "orthogonal", .columns = 96, .rows = 40, .bits = 2, .lattice = LatticeInit::kOrthogonal},
        Variant{.name = "orthogonal_8",
                .columns = 96,
                .rows = 40,
                .bits = 3,
                .lattice = LatticeInit::kOrthogonal,
                .dim = 8},
        Variant{.name = "d4", .columns = 96, .rows = 40, .bits = 4, .lattice = LatticeInit::kD4},
        Variant{.name = "dim_8", .columns = 96, .rows = 40, .bits = 2, .dim = 8},
        Variant{.name = "maps", .columns = 96, .rows = 40, .bits = 2, .per_map = 32},
        Variant{.name = "maps_ragged",
                .columns = 100,
                .rows = 40,
                .bits = 2,
                .lattice = LatticeInit::kOrthogonal,
                .per_map = 32},
        Variant{.name = "gptq", .columns = 96, .rows = 40, .bits = 3, .method = Method::kGptq},
        Variant{.name = "gptq_norm", .columns = 96, .rows = 40, .bits = 3, .norm = true, .method = Method::kGptq},
        Variant{.name = "rtn", .columns = 96, .rows = 40, .bits = 4, .method = Method::kRtn}));

TEST(Group, LinearsOfEqualBitsShareMaps) {
  const GroupJob job = make_job(96, {{64, 2}, {32, 4}, {32, 2}});
  const QuantizedGroup group = quantize_group(job, {});
  ASSERT_EQ(group.maps.size(), 2u);
  EXPECT_EQ(group.linears[0].affine, group.linears[2].affine);
  EXPECT_NE(group.linears[0].affine, group.linears[1].affine);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_NEAR(relative_error(dequantize_linear(group, i), job.linears[i].weight, job.hessian),
                group.linears[i].relative_error, 1e-5);
  }
}

// The ordering measured on a real model: every step of the method earns its place.
TEST(Group, EveryStepOfTheMethodHelps) {
  GroupJob job = make_job(192, {{192, 2}});
  // Heavy tails, as trained weights have.
  job.linears[0].weight.mul_(normal({192, 192}, "tails").abs().add_(0.2));
  QuantizeOptions options;
  options.descent_passes = 0;
  options.search_moves = 0;
  options.fit_out_scale = false;
  options.scale_search = false;
  const double feedback = error_of(job, options);
  options.descent_passes = 1;
  const double once = error_of(job, options);
  options.descent_passes = 4;
  const double descent = error_of(job, options);
  options.search_moves = 1000;
  const double search = error_of(job, options);
  options.scale_search = true;
  const double searched = error_of(job, options);
  options.fit_out_scale = true;
  const double all = error_of(job, options);

  GroupJob no_hessian = job;
  no_hessian.hessian = at::Tensor();
  const QuantizedGroup nearest = quantize_group(no_hessian, options);
  const double rotated_rtn = relative_error(dequantize_linear(nearest, 0), job.linears[0].weight, job.hessian);

  QuantizeOptions baseline;
  baseline.method = Method::kGptq;
  const double gptq = error_of(job, baseline);
  baseline.method = Method::kRtn;
  const double rtn = error_of(job, baseline);

  EXPECT_LT(feedback, 0.8 * rotated_rtn);
  EXPECT_LT(once, feedback);
  EXPECT_LE(descent, once);
  EXPECT_LT(search, 0.97 * descent);
  EXPECT_LT(searched, 1.01 * search);
  EXPECT_LT(all, searched);
  EXPECT_LT(all, 0.8 * gptq);
  EXPECT_LT(gptq, rtn);
}

TEST(Group, MoreBitsLessError) {
  for (const Method method : {Method::kUnisvq, Method::kGptq, Method::kRtn}) {
    QuantizeOptions options;
    options.method = method;
    double last = 1.0;
    for (int bits = 2; bits <= 8; ++bits) {
      const double error = error_of(make_job(96, {{64, bits}}), options);
      EXPECT_LT(error, 0.5 * last) << bits;
      last = error;
    }
    EXPECT_LT(last, 5e-4);
  }
}

TEST(Group, LatticesAreNearlyEqual) {
  QuantizeOptions options;
  const GroupJob job = make_job(192, {{96, 2}});
  const double identity = error_of(job, options);
  for (const int dim : {4, 8}) {
    options.group_dim = dim;
    options.lattice = LatticeInit::kOrthogonal;
    EXPECT_NEAR(error_of(job, options) / identity, 1.0, 0.1);
  }
  options = {};
  options.columns_per_map = 64;
  EXPECT_EQ(error_of(job, options), identity);
}

TEST(Group, SameSeedSameBits) {
  const GroupJob job = make_job(144, {{80, 2}, {48, 3}}, true);
  QuantizeOptions options;
  options.lattice = LatticeInit::kOrthogonal;
  options.seed = 7;
  const QuantizedGroup a = quantize_group(job, options), b = quantize_group(job, options);
  EXPECT_TRUE(a.in_scale.equal(b.in_scale));
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_TRUE(a.linears[i].codes.equal(b.linears[i].codes));
    EXPECT_TRUE(a.linears[i].out_scale.equal(b.linears[i].out_scale));
    EXPECT_TRUE(a.maps[i].a.equal(b.maps[i].a));
    EXPECT_EQ(a.linears[i].relative_error, b.linears[i].relative_error);
  }
  options.seed = 8;
  EXPECT_FALSE(a.in_scale.equal(quantize_group(job, options).in_scale));
}

// Rows of a head are independent: worked on in chunks or alone, they get the same codes.
TEST(Group, RowsOfAHeadDoNotDependOnEachOther) {
  GroupJob job = make_job(64, {{150, 4}});
  job.linears[0].rotate_output = false;
  QuantizeOptions options;
  options.scale_search = false;  // its sample is taken over all rows
  options.search_moves = 0;      // a tie that turns is only the beginning there
  const QuantizedGroup whole = quantize_group(job, options);
  GroupJob part = job;
  part.linears[0].weight = job.linears[0].weight.narrow(0, 100, 50);
  const QuantizedGroup tail = quantize_group(part, options);
  const at::Tensor same = tail.linears[0].codes.eq(whole.linears[0].codes.narrow(0, 100, 50)).all(1);
  EXPECT_GE(same.sum().item<int64_t>(), 48);  // sums in another order may turn a tie
}

// Tiny weights must not sink into the subnormal numbers of f16.
TEST(Group, MagnitudeOfTheWeightsDoesNotMatter) {
  for (const double magnitude : {1e-5, 1.0, 300.0}) {
    GroupJob job = make_job(96, {{40, 4}});
    const double usual = error_of(job, {});
    job.linears[0].weight.mul_(magnitude);
    EXPECT_NEAR(error_of(job, {}) / usual, 1.0, 0.05) << magnitude;
  }
}

TEST(Group, DeadInputsAndRowsAreHarmless) {
  for (const Method method : {Method::kUnisvq, Method::kGptq}) {
    GroupJob job = make_job(96, {{40, 2}}, true);
    job.hessian.narrow(0, 10, 5).zero_();
    job.hessian.narrow(1, 10, 5).zero_();
    job.input_norm.narrow(0, 10, 5).zero_();
    job.linears[0].rotate_output = false;
    job.linears[0].weight[3].zero_();
    QuantizeOptions options;
    options.method = method;
    const QuantizedGroup group = quantize_group(job, options);
    EXPECT_LT(group.linears[0].relative_error, 0.3);
    EXPECT_TRUE(dequantize_linear(group, 0).isfinite().all().item<bool>());
    EXPECT_EQ(largest(dequantize_linear(group, 0)[3]), 0.0);
  }
  GroupJob job = make_job(96, {{40, 2}});
  job.linears[0].weight.zero_();
  EXPECT_EQ(error_of(job, {}), 0.0);
  job = make_job(96, {{40, 2}});
  job.hessian.zero_();
  EXPECT_TRUE(dequantize_linear(quantize_group(job, {}), 0).isfinite().all().item<bool>());
}

// ---------------------------------------------------------------- refusals

void expect_refused(const GroupJob& job, const QuantizeOptions& options, const std::string& word) {
  try {
    quantize_group(job, options);
    FAIL() << "accepted; expected a refusal naming " << word;
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find(word), std::string::npos) << e.what();
    EXPECT_NE(std::string(e.what()).find("expected"), std::string::npos) << e.what();
  }
}

TEST(Group, RefusesBadInputByName) {
  const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
  GroupJob job = make_job(96, {{40, 2}, {8, 2}});
  job.linears[1].weight[3][5] = nan;
  expect_refused(job, {}, "blocks.0.linear1");
  job = make_job(96, {{40, 2}});
  job.linears[0].weight[3][5] = -infinity;
  expect_refused(job, {}, "blocks.0.linear0");
  job = make_job(96, {{40, 2}});
  job.hessian[0][0] = nan;
  expect_refused(job, {}, "blocks.0.linear0");
  job = make_job(96, {{40, 2}});
  job.hessian = job.hessian.narrow(0, 0, 95);
  expect_refused(job, {}, "[95, 96]");
  job = make_job(96, {{40, 2}});
  job.hessian.neg_();
  expect_refused(job, {}, "blocks.0.linear0");
  job = make_job(96, {{40, 9}});
  expect_refused(job, {}, "9 bits");
  job = make_job(96, {{40, 2}, {40, 2}});
  job.linears[1].weight = at::zeros({40, 95});
  expect_refused(job, {}, "[40, 95]");
  job = make_job(96, {{40, 2}}, true);
  job.input_norm[7] = 1e6;
  expect_refused(job, {}, "norm");
  job = make_job(96, {{40, 2}});
  job.linears.clear();
  expect_refused(job, {}, "blocks.0.attn_in");

  QuantizeOptions options;
  options.group_dim = 5;
  expect_refused(make_job(96, {{40, 2}}), options, "5");
  options = {};
  options.columns_per_map = 6;
  expect_refused(make_job(96, {{40, 2}}), options, "6");
  options = {};
  options.damping = -1;
  expect_refused(make_job(96, {{40, 2}}), options, "damping");
  options = {};
  options.lattice = LatticeInit::kOrthogonal;
  expect_refused(make_job(98, {{40, 2}}), options, "98");
}

}  // namespace
}  // namespace svq::convert
