// The parts of converter/quantize beside plain references.
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/det.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linalg_inv.h>
#include <ATen/ops/linalg_qr.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/outer.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "converter/base/error.h"
#include "converter/quantize/bf16_products.h"
#include "converter/quantize/block_kernels.h"
#include "converter/quantize/descent.h"
#include "converter/quantize/grid.h"
#include "converter/quantize/hadamard.h"
#include "converter/quantize/hessian.h"
#include "converter/quantize/ldlq.h"
#include "converter/quantize/products.h"
#include "converter/quantize/row_search.h"
#include "converter/quantize/scales.h"
#include "converter/quantize/search.h"
#include "tests/converter/quantize_reference.h"

namespace svq::convert {
namespace {

using test::correlated_activations;
using test::dense_rotation;
using test::largest;
using test::mean_hessian;
using test::normal;

// ---------------------------------------------------------------- products over tokens

struct ProductCase {
  int64_t tokens, left, right;
  bool upper;
};
class ProductTest : public testing::TestWithParam<ProductCase> {};

// With AMX: exactly the sums of the rounded values, up to the order of f32 additions.
TEST_P(ProductTest, AreTheSumsOverTokens) {
  const auto [tokens, left, right, upper] = GetParam();
  const at::Tensor a = normal({tokens, left}, "a"), b = upper ? a : normal({tokens, right}, "b");
  at::Tensor sum = normal({left, right}, "sum"), plain = sum.clone();
  const at::Tensor start = sum.clone();
  add_products(a, b, sum, upper);
  add_products_f32(a, b, plain, upper);
  const auto round = [](const at::Tensor& x) {
    return bf16_products_available() ? x.to(at::kBFloat16).to(at::kDouble) : x.to(at::kDouble);
  };
  const auto check = [&](const at::Tensor& got, const at::Tensor& exact) {
    const at::Tensor error = (got.to(at::kDouble) - exact).abs();
    const double bound = 1e-6 * static_cast<double>(tokens) * 16;
    EXPECT_LT(largest(upper ? error.triu() : error), bound);
  };
  check(sum, start.to(at::kDouble) + at::mm(round(a).t(), round(b)));
  check(plain, start.to(at::kDouble) + at::mm(a.to(at::kDouble).t(), b.to(at::kDouble)));
}

INSTANTIATE_TEST_SUITE_P(Shapes, ProductTest,
                         testing::Values(ProductCase{1, 1, 1, false}, ProductCase{33, 17, 50, false},
                                         ProductCase{64, 600, 64, false}, ProductCase{1100, 96, 47, false},
                                         ProductCase{1025, 576, 576, true}, ProductCase{40, 300, 300, true}));

// ---------------------------------------------------------------- rotation

struct RotationCase {
  int64_t n;
  RotationChoice choice;
};
class RotationTest : public testing::TestWithParam<RotationCase> {};

TEST_P(RotationTest, EqualsTheDenseMatrixAlongBothSides) {
  const auto [n, choice] = GetParam();
  const fb::Rotation r = make_rotation(n, choice);
  if (choice != RotationChoice::kNone) {
    ASSERT_EQ(int64_t{r.block()} * r.factor(), n);
  }
  const at::Tensor dense = dense_rotation(r, n);
  EXPECT_LT(largest(at::mm(dense, dense.t()) - at::eye(n, at::kDouble)), 1e-12);
  const at::Tensor x = normal({19, n}, "x"), y = normal({n, 37}, "y");
  for (const bool inverse : {false, true}) {
    const at::Tensor m = inverse ? dense.t() : dense;
    at::Tensor rows = x.clone(), columns = y.clone(), rows64 = x.to(at::kDouble);
    rotate_(rows, 1, r, inverse);
    rotate_(columns, 0, r, inverse);
    rotate_(rows64, 1, r, inverse);
    const at::Tensor want_rows = at::mm(x.to(at::kDouble), m.t());
    EXPECT_LT(largest(rows64 - want_rows), 1e-12 * static_cast<double>(n));
    EXPECT_LT(largest(rows.to(at::kDouble) - want_rows), 2e-7 * std::sqrt(static_cast<double>(n)) + 1e-6);
    EXPECT_LT(largest(columns.to(at::kDouble) - at::mm(m, y.to(at::kDouble))),
              2e-7 * std::sqrt(static_cast<double>(n)) + 1e-6);
  }
}

TEST_P(RotationTest, InverseUndoesIt) {
  const auto [n, choice] = GetParam();
  const fb::Rotation r = make_rotation(n, choice);
  const at::Tensor x = normal({5, n}, "x");
  at::Tensor y = x.clone();
  rotate_(y, 1, r, false);
  rotate_(y, 1, r, true);
  EXPECT_LT(largest(x - y), 5e-6);
}

INSTANTIATE_TEST_SUITE_P(
    Sizes, RotationTest,
    testing::Values(RotationCase{1, RotationChoice::kMixed}, RotationCase{2, RotationChoice::kMixed},
                    RotationCase{64, RotationChoice::kMixed}, RotationCase{40, RotationChoice::kMixed},
                    RotationCase{96, RotationChoice::kMixed}, RotationCase{576, RotationChoice::kMixed},
                    RotationCase{198, RotationChoice::kMixed}, RotationCase{35, RotationChoice::kMixed},
                    RotationCase{576, RotationChoice::kBlocks}, RotationCase{40, RotationChoice::kBlocks},
                    RotationCase{96, RotationChoice::kNone}));

// ---------------------------------------------------------------- Hessian

TEST(Hessian, OneValueThatIsNotFiniteIsFoundWhereverItStands) {
  constexpr int64_t kRows = 3, kColumns = (1 << 19) + 1;
  at::Tensor x = at::full({kRows, kColumns}, std::numeric_limits<float>::max(), at::kFloat);
  EXPECT_TRUE(all_finite(x));
  EXPECT_TRUE(all_finite(x.t()));
  EXPECT_TRUE(all_finite(at::empty({0, 4}, at::kFloat)));
  for (const int64_t at : {int64_t{0}, int64_t{1} << 20, kRows * kColumns - 1}) {
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
      at::Tensor one = x.clone();
      one.view({-1})[at] = bad;
      EXPECT_FALSE(all_finite(one)) << at << " " << bad;
    }
  }
}

TEST(Hessian, AccumulatorIsTheMeanOverAllBatches) {
  for (const int64_t columns : {7, 96, 1100}) {  // 1100: more than one panel
    const at::Tensor x = normal({50, columns}, "x");
    HessianAccumulator sum(columns);
    sum.add(x.narrow(0, 0, 13));
    sum.add(x.narrow(0, 13, 37).to(at::kDouble));
    EXPECT_EQ(sum.tokens(), 50);
    const at::Tensor h = sum.mean();
    EXPECT_TRUE(h.equal(h.t()));
    const at::Tensor seen = bf16_products_available() ? x.to(at::kBFloat16).to(at::kFloat) : x;
    EXPECT_LT(largest(h - mean_hessian(seen)), 1e-5);
  }
}

TEST(Hessian, TransformEqualsDenseProducts) {
  const int64_t n = 96;
  const at::Tensor h = mean_hessian(correlated_activations(200, n)), s = normal({n}, "scale");
  const fb::Rotation r = make_rotation(n, RotationChoice::kMixed);
  const at::Tensor m = dense_rotation(r, n) * s.to(at::kDouble).unsqueeze(0);
  EXPECT_LT(largest(transform_hessian(h, s, r) - at::mm(m, at::mm(h.to(at::kDouble), m.t()))), 1e-9 * largest(h) * n);
}

TEST(Hessian, FactorRebuildsTheDampedMatrix) {
  for (const int64_t n : {1, 2, 63, 130, 256, 257, 700}) {  // beyond 256: in blocks
    at::Tensor h = mean_hessian(correlated_activations(400, std::max<int64_t>(n, 3)).narrow(1, 0, n)).to(at::kDouble);
    h = (h + h.t()) / 2;  // a BLAS's f32 product need not be symmetric to the last bit
    const double mean = h.diagonal().mean().item<double>();
    const at::Tensor before = h.clone();
    const HessianFactor f = factor_hessian(h, 0.01, "h");
    EXPECT_LT(largest(h - before - at::eye(n, at::kDouble) * (0.01 * mean)), 1e-9 * mean);
    const at::Tensor vt = f.feedback.to(at::kDouble);
    EXPECT_EQ(largest(vt.triu(1)), 0.0);
    EXPECT_LT(largest(vt.diagonal() - 1.0), 1e-6);
    EXPECT_LT(largest(at::mm(vt.t() * f.diagonal.to(at::kDouble).unsqueeze(0), vt) - h), 1e-5 * largest(h));
  }
}

TEST(Hessian, DampingRisesUntilPositiveDefinite) {
  // One eigenvalue at −0.03 of the mean diagonal: 0.01 is not enough, 0.1 is.
  const at::Tensor q = std::get<0>(at::linalg_qr(normal({20, 20}, "q").to(at::kDouble)));
  at::Tensor values = at::ones({20}, at::kDouble);
  values[4] = -0.03;
  at::Tensor h = at::mm(q * values.unsqueeze(0), q.t());
  EXPECT_NEAR(factor_hessian(h, 0.01, "h").damping, 0.1, 1e-12);

  values[4] = -1.5;
  h = at::mm(q * values.unsqueeze(0), q.t()) + at::eye(20, at::kDouble) * 0.01;
  try {
    factor_hessian(h, 0.01, "blocks.3.q");
    FAIL() << "an indefinite matrix was factored";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("blocks.3.q"), std::string::npos) << e.what();
  }
}

TEST(Hessian, NoActivationsCountAsIdentity) {
  at::Tensor h = at::zeros({8, 8}, at::kDouble);
  const HessianFactor f = factor_hessian(h, 0.01, "h");
  EXPECT_TRUE(f.feedback.allclose(at::eye(8)));
}

// ---------------------------------------------------------------- LDLQ and descent

struct CodeCase {
  int64_t columns, rows;
  int bits;
};
class CodeTest : public testing::TestWithParam<CodeCase> {
 protected:
  void SetUp() override {
    const auto [columns, rows, bits] = GetParam();
    hessian_ = mean_hessian(correlated_activations(3 * columns, std::max<int64_t>(columns, 3)).narrow(1, 0, columns))
                   .to(at::kDouble);
    factor_ = factor_hessian(hessian_, 0.01, "h");
    const double middle = ((1 << bits) - 1) / 2.0;
    targets_ = normal({columns, rows}, "targets") / closed_form_step(bits) + middle;
  }
  double objective(const at::Tensor& errors) const {
    const at::Tensor e = errors.to(at::kDouble);
    return (at::mm(hessian_, e) * e).sum().item<double>();
  }
  at::Tensor hessian_, targets_;
  HessianFactor factor_;
};

// GPTQ as its authors state it: the inverse Hessian, reduced by one column after every step.
at::Tensor gptq_reference(const at::Tensor& targets, const at::Tensor& hessian, int bits) {
  at::Tensor w = targets.t().to(at::kDouble).clone(), inverse = at::linalg_inv(hessian);
  at::Tensor codes = at::zeros_like(w);
  const int64_t columns = w.size(1);
  for (int64_t k = 0; k < columns; ++k) {
    const at::Tensor c = w.select(1, k).add(0.5).floor().clamp(0, (1 << bits) - 1);
    codes.select(1, k).copy_(c);
    const at::Tensor error = (w.select(1, k) - c) / inverse[k][k];
    w.sub_(at::outer(error, inverse[k]));
    inverse = inverse - at::outer(inverse.select(1, k), inverse[k]) / inverse[k][k];
    inverse[k].zero_();
    inverse.select(1, k).zero_();
    inverse[k][k] = 1.0;
  }
  return codes.t().contiguous();
}

TEST_P(CodeTest, LdlqEqualsGptq) {
  const int bits = GetParam().bits;
  at::Tensor errors = targets_.clone(), codes = at::empty(targets_.sizes(), at::kByte);
  ldlq_(errors, codes, factor_, bits);
  EXPECT_TRUE(errors.allclose(targets_ - codes.to(at::kFloat)));
  const at::Tensor want = gptq_reference(targets_, hessian_, bits);
  // Ties between two codes within f32 rounding may fall either way, and then spread along that row.
  const at::Tensor same_rows = codes.to(at::kDouble).eq(want).all(0);
  EXPECT_GE(same_rows.sum().item<double>(), 0.9 * static_cast<double>(codes.size(1)) - (bits == 8 ? 8 : 0));
  EXPECT_NEAR(objective(errors) / objective(targets_ - want.to(at::kFloat)), 1.0, 1e-2);
}

TEST_P(CodeTest, DescentNeverRaisesTheObjective) {
  const int bits = GetParam().bits;
  at::Tensor errors = targets_.clone(), codes = at::empty(targets_.sizes(), at::kByte);
  ldlq_(errors, codes, factor_, bits);
  const at::Tensor h = hessian_.to(at::kFloat);
  double before = objective(errors);
  int64_t moved = 1;
  for (int pass = 0; pass < 60 && moved > 0; ++pass) {
    moved = descend_(errors, codes, h, bits);
    const double after = objective(errors);
    EXPECT_LE(after, before * (1 + 1e-9));
    if (moved > 0) {
      EXPECT_LT(after, before);
    }
    before = after;
  }
  EXPECT_EQ(moved, 0) << "no fixed point after 60 passes";
  EXPECT_TRUE(errors.allclose(targets_ - codes.to(at::kFloat), 1e-5, 1e-4));
  EXPECT_NEAR(weighted_error(errors, h).sum().item<double>() / before, 1.0, 1e-4);
  // A fixed point: no single code can move by one with a gain.
  const at::Tensor gradient = at::mm(hessian_, errors.to(at::kDouble)), diagonal = hessian_.diagonal().unsqueeze(1);
  const at::Tensor up_possible = codes.lt((1 << bits) - 1), down_possible = codes.gt(0);
  const at::Tensor up = (diagonal - 2 * gradient).masked_select(up_possible),
                   down = (diagonal + 2 * gradient).masked_select(down_possible);
  const double tolerance = -5e-3 * largest(hessian_.diagonal());
  if (up.numel()) {
    EXPECT_GT(up.min().item<double>(), tolerance);
  }
  if (down.numel()) {
    EXPECT_GT(down.min().item<double>(), tolerance);
  }
}

TEST_P(CodeTest, SearchGoesBelowDescent) {
  const int bits = GetParam().bits;
  at::Tensor errors = targets_.clone(), codes = at::empty(targets_.sizes(), at::kByte);
  ldlq_(errors, codes, factor_, bits);
  const at::Tensor h = hessian_.to(at::kFloat).contiguous();
  for (int pass = 0; pass < 60 && descend_(errors, codes, h, bits) > 0; ++pass) {
  }
  const double before = objective(errors);
  const at::Tensor start = errors.clone(), start_codes = codes.clone();
  search_codes_(errors, codes, h, bits, {600, 1});
  EXPECT_LE(codes.max().item<int>(), (1 << bits) - 1);
  EXPECT_TRUE(errors.allclose(targets_ - codes.to(at::kFloat), 1e-5, 1e-4));
  // Every row, and by 3 to 25 % where there are columns enough.
  const at::Tensor by_row = weighted_error(errors, h), at_start = weighted_error(start, h);
  EXPECT_TRUE(by_row.le(at_start * (1 + 1e-4)).all().item<bool>());
  if (codes.size(0) >= 40) {
    EXPECT_LT(objective(errors), 0.97 * before);
  }
  // Whatever the number of threads; other random numbers, other codes.
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  at::Tensor again = start.clone(), again_codes = start_codes.clone();
  search_codes_(again, again_codes, h, bits, {600, 1});
  at::set_num_threads(threads);
  EXPECT_TRUE(again_codes.equal(codes));
  EXPECT_TRUE(again.equal(errors));
  if (codes.numel() >= 1000) {
    at::Tensor other = start.clone(), other_codes = start_codes.clone();
    search_codes_(other, other_codes, h, bits, {600, 2});
    EXPECT_FALSE(other_codes.equal(codes));
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, CodeTest,
                         testing::Values(CodeCase{1, 1, 2}, CodeCase{2, 3, 2}, CodeCase{40, 63, 2}, CodeCase{96, 64, 3},
                                         CodeCase{127, 65, 2}, CodeCase{128, 130, 4}, CodeCase{129, 40, 2},
                                         CodeCase{300, 100, 2}, CodeCase{198, 33, 8}));

// All codes of seven columns tried: the search ends with the best of them in most rows (52 of 60).
TEST(Search, FindsTheBestCodesOfAFewColumns) {
  constexpr int64_t kColumns = 7, kRows = 60;
  const at::Tensor h = mean_hessian(correlated_activations(20, kColumns)).contiguous();
  const at::Tensor targets = normal({kRows, kColumns}, "targets").mul_(1.1).add_(1.5);
  int found = 0;
  for (int64_t r = 0; r < kRows; ++r) {
    const at::Tensor w = targets[r];
    const auto cost = [&](const at::Tensor& codes) {
      const at::Tensor e = (w - codes).to(at::kDouble);
      return at::mm(at::mm(e.unsqueeze(0), h.to(at::kDouble)), e.unsqueeze(1)).item<double>();
    };
    at::Tensor all = at::empty({1 << (2 * kColumns), kColumns}, at::kFloat);
    for (int64_t i = 0; i < all.size(0); ++i)
      for (int64_t k = 0; k < kColumns; ++k)
        all.data_ptr<float>()[i * kColumns + k] = static_cast<float>(i >> (2 * k) & 3);
    const at::Tensor e = (w - all).to(at::kDouble);
    const double best = at::mm(e, h.to(at::kDouble)).mul_(e).sum(1).min().item<double>();

    at::Tensor codes = w.add(0.5).floor().clamp(0, 3).to(at::kByte);
    const double start = cost(codes.to(at::kFloat));
    at::Tensor gradient = at::mm((w - codes.to(at::kFloat)).unsqueeze(0), h).contiguous();
    NamedRandom random(1, "row " + std::to_string(r));
    RowSearch search(h.data_ptr<float>(), kColumns, 3);
    const double change = search.run(400, random, gradient.data_ptr<float>(), codes.data_ptr<uint8_t>());
    const double end = cost(codes.to(at::kFloat));
    EXPECT_NEAR(start + change, end, 1e-4 * start);
    EXPECT_LT(largest(gradient - at::mm((w - codes.to(at::kFloat)).unsqueeze(0), h)), 1e-4);
    found += end < best * (1 + 1e-4);
  }
  EXPECT_GE(found, 50);
}

TEST(Codes, RoundTakesTheNearest) {
  at::Tensor values = at::tensor({-3.0f, -0.4f, 0.49f, 0.51f, 2.4f, 9.0f}).unsqueeze(1).contiguous();
  at::Tensor codes = at::empty({6, 1}, at::kByte);
  round_(values, codes, 2);
  EXPECT_TRUE(codes.flatten().equal(at::tensor({0, 0, 0, 1, 2, 3}).to(at::kByte)));
  EXPECT_NEAR(values[5][0].item<float>(), 6.0f, 1e-6);
}

// ---------------------------------------------------------------- grid

class GridTest : public testing::TestWithParam<std::tuple<int, LatticeInit, int>> {};

TEST_P(GridTest, CodeUnitsKeepTheWeightedError) {
  const auto [dim, lattice, per_map] = GetParam();
  const int64_t columns = 48, rows = 21;
  QuantizeOptions options;
  options.group_dim = dim;
  options.lattice = lattice;
  AffineMapsData maps = make_maps(lattice_basis(options, "g"), 0.25, 3, columns, per_map);
  // Maps that a training moved apart must work as well.
  if (lattice == LatticeInit::kOrthogonal) maps.a.add_(normal({maps.a.size(0), dim, dim}, "bend"), 0.02);
  const at::Tensor targets = normal({rows, columns}, "targets"), scale = normal({rows}, "scale").abs() + 0.5;
  const at::Tensor h = mean_hessian(correlated_activations(100, columns)).to(at::kDouble);
  const at::Tensor units = to_code_units(targets, scale, maps), h_units = to_code_units(h, maps);
  ASSERT_EQ(units.size(0), columns);
  const at::Tensor codes = (normal({columns, rows}, "codes").abs() * 3).to(at::kByte).clamp(0, 7);
  const at::Tensor e_units = (units - codes.to(at::kFloat)).to(at::kDouble);
  const at::Tensor e = (targets / scale.unsqueeze(1) - decode(codes.t().contiguous(), maps)).to(at::kDouble);
  const double in_units = (at::mm(h_units, e_units) * e_units).sum().item<double>();
  const double factor = is_scalar(maps) ? 0.25 * 0.25 : 1.0;
  const double direct = (at::mm(e, h) * e).sum().item<double>();
  EXPECT_NEAR(in_units * factor / direct, 1.0, 1e-4);
}

INSTANTIATE_TEST_SUITE_P(Maps, GridTest,
                         testing::Combine(testing::Values(4, 8),
                                          testing::Values(LatticeInit::kIdentity, LatticeInit::kOrthogonal),
                                          testing::Values(0, 16, 32)));

INSTANTIATE_TEST_SUITE_P(D4, GridTest,
                         testing::Combine(testing::Values(4), testing::Values(LatticeInit::kD4),
                                          testing::Values(0, 16)));

TEST(Grid, TheD4BasisGeneratesD4) {
  QuantizeOptions options;
  options.lattice = LatticeInit::kD4;
  const at::Tensor g = lattice_basis(options, "a") * std::pow(2.0, 0.25);
  // D4: integer vectors whose sum is even; a generator of it has determinant 2.
  EXPECT_LT(largest(g - g.round()), 2e-3);
  EXPECT_TRUE(g.round().sum(0).remainder(2).eq(0).all().item<bool>());
  EXPECT_NEAR(std::abs(at::det(g.round()).item<double>()), 2.0, 1e-5);
}

TEST(Grid, OrthogonalBasisIsOrthogonalAndFixed) {
  QuantizeOptions options;
  options.lattice = LatticeInit::kOrthogonal;
  for (const int d : {4, 8}) {
    options.group_dim = d;
    const at::Tensor g = lattice_basis(options, "a");
    EXPECT_LT(largest(at::mm(g, g.t()) - at::eye(d)), 2e-3);  // f16
    EXPECT_TRUE(g.equal(lattice_basis(options, "a")));
    EXPECT_FALSE(g.equal(lattice_basis(options, "b")));
  }
}

TEST(Grid, NearestCodesEqualASearchOfAllCodewords) {
  for (const int bits : {2, 3}) {
    const int64_t d = 4, levels = int64_t{1} << bits, words = levels * levels * levels * levels;
    at::Tensor all = at::empty({words, d}, at::kFloat);
    for (int64_t w = 0; w < words; ++w) {
      int64_t rest = w;
      for (int64_t i = 0; i < d; ++i, rest /= levels) all[w][i] = static_cast<float>(rest % levels);
    }
    // From well to badly conditioned.
    for (const double bend : {0.0, 0.3, 1.0}) {
      const at::Tensor a = at::eye(d) * 1.3 + normal({d, d}, "a") * bend, b = normal({d}, "b") - 2.0;
      const at::Tensor targets = normal({60, d}, "t") * 3.0;
      const at::Tensor codewords = at::mm(all, a.t()) + b;
      const at::Tensor distance = (targets.unsqueeze(1) - codewords.unsqueeze(0)).square().sum(2);
      const at::Tensor codes = nearest_codes(targets, a, b, bits);
      const at::Tensor found = (targets - at::mm(codes.to(at::kFloat), a.t()) - b).square().sum(1);
      EXPECT_LT(largest(found - std::get<0>(distance.min(1))), 1e-4) << "bits " << bits << " bend " << bend;
    }
  }
  EXPECT_THROW(nearest_codes(at::zeros({1, 4}), at::ones({4, 4}), at::zeros({4}), 2), Error);
}

// ---------------------------------------------------------------- scales

TEST(Scales, LeastSquaresIsOptimalForEveryRow) {
  const int64_t n = 24, k = 40;
  const at::Tensor h = mean_hessian(correlated_activations(200, k));
  const at::Tensor w = normal({n, k}, "w"), p = w + normal({n, k}, "noise") * 0.3,
                   scale = round_to_f16(at::full({n}, 0.9));
  const RowFit fit = fit_rows(p, w, h, scale, true);
  const auto error = [&](const at::Tensor& s) {
    const at::Tensor e = (p * s.unsqueeze(1) - w).to(at::kDouble);
    return (at::mm(e, h.to(at::kDouble)) * e).sum(1);
  };
  const at::Tensor best = error(fit.scale);
  EXPECT_NEAR(best.sum().item<double>(), fit.error, 1e-5 * fit.reference);
  EXPECT_TRUE(best.le(error(scale)).all().item<bool>());
  for (const double nudge : {0.995, 1.005}) EXPECT_TRUE(best.lt(error(fit.scale * nudge)).all().item<bool>());
  const at::Tensor w64 = w.to(at::kDouble);
  EXPECT_NEAR((at::mm(w64, h.to(at::kDouble)) * w64).sum().item<double>() / fit.reference, 1.0, 1e-5);
}

TEST(Scales, FactorIsClamped) {
  const at::Tensor w = normal({3, 16}, "w"), scale = at::ones({3});
  EXPECT_TRUE(fit_rows(w * 0.1, w, {}, scale, true).scale.eq(2.0).all().item<bool>());
  EXPECT_TRUE(fit_rows(w * 10.0, w, {}, scale, true).scale.eq(0.5).all().item<bool>());
  EXPECT_TRUE(fit_rows(w * 10.0, w, {}, scale, false).scale.eq(1.0).all().item<bool>());
}

TEST(Scales, RowStepsComeNearTheBestStep) {
  const at::Tensor w = normal({8, 300}, "w");
  for (const int bits : {2, 3, 4}) {
    const at::Tensor steps = row_steps(w, bits);
    // A normal row's best step is near the closed form.
    EXPECT_LT(largest(steps / row_rms(w) / closed_form_step(bits) - 1.0), 0.15);
  }
  EXPECT_EQ(largest(row_steps(at::zeros({2, 8}), 2)), 0.0);
}

}  // namespace
}  // namespace svq::convert
