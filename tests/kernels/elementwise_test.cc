#include <cmath>
#include <limits>

#include "tests/kernels/support.h"

namespace svq::kernels::testing {
namespace {

class ElementwiseKernels : public PerTable {};

TEST_P(ElementwiseKernels, Rmsnorm) {
  for (uint32_t n : {1u, 2u, 3u, 4u, 5u, 7u, 64u, 577u, 8960u}) {
    const std::vector<float> x = Random(n).floats(n, -5, 5), weight = Random(n + 1).floats(n);
    for (bool weighted : {true, false}) {
      std::vector<float> y(n), in_place = x;
      table_->rmsnorm(x.data(), weighted ? weight.data() : nullptr, 1e-5f, n, y.data());
      table_->rmsnorm(in_place.data(), weighted ? weight.data() : nullptr, 1e-5f, n, in_place.data());
      EXPECT_EQ(y, in_place);
      double sum = 0;
      for (float v : x) sum += static_cast<double>(v) * v;
      const double inverse = 1 / std::sqrt(sum / n + static_cast<double>(1e-5f));
      for (uint32_t i = 0; i < n; ++i) {
        const double want = x[i] * inverse * (weighted ? weight[i] : 1.0);
        ASSERT_NEAR(y[i], want, 3e-7 * std::fabs(want) + 1e-12) << n;
      }
    }
  }
}

TEST_P(ElementwiseKernels, Rope) {
  for (uint32_t head_dim : {2u, 6u, 8u, 10u, 64u, 96u, 128u}) {
    const uint32_t half = head_dim / 2;
    const std::vector<float> x = Random(head_dim).floats(head_dim);
    std::vector<float> cosine(half), sine(half), y = x;
    for (uint32_t i = 0; i < half; ++i) {
      cosine[i] = std::cos(0.3f * static_cast<float>(i));
      sine[i] = std::sin(0.3f * static_cast<float>(i));
    }
    table_->rope(y.data(), cosine.data(), sine.data(), head_dim);
    for (uint32_t i = 0; i < half; ++i) {
      const double a = x[i], b = x[i + half];
      ASSERT_NEAR(y[i], a * cosine[i] - b * sine[i], 2e-7);
      ASSERT_NEAR(y[i + half], b * cosine[i] + a * sine[i], 2e-7);
    }
  }
}

TEST_P(ElementwiseKernels, SiluMul) {
  const std::vector<float> one(1, 1.0f);
  for (uint32_t n : {1u, 3u, 4u, 7u, 15u, 16u, 17u, 33u, 1000u}) {
    const std::vector<float> gate = Random(n).floats(n, -30, 30), up = Random(n + 1).floats(n);
    std::vector<float> y(n);
    table_->silu_mul(gate.data(), up.data(), n, y.data());
    for (uint32_t i = 0; i < n; ++i) {
      const double want = gate[i] / (1 + std::exp(-static_cast<double>(gate[i]))) * up[i];
      ASSERT_NEAR(y[i], want, 1e-6 * std::fabs(want) + 1e-30) << gate[i];
    }
  }
  for (float big : {200.0f, -200.0f, 1e30f, -1e30f}) {
    float y = 0;
    table_->silu_mul(&big, one.data(), 1, &y);
    EXPECT_NEAR(y, big > 0 ? big : 0.0f, 1e-5f);
  }
  const float nan = std::numeric_limits<float>::quiet_NaN();
  float y = 0;
  table_->silu_mul(&nan, one.data(), 1, &y);
  EXPECT_TRUE(std::isnan(y));
}

// silu(x) / x = 1 / (1 + exp(−x)) → exp: its relative error over the whole range, as simd/exp.h promises.
TEST_P(ElementwiseKernels, ExponentialIsAccurate) {
  double worst = 0;
  for (float x = 0.0f; x < 86.0f; x += 0.00371f) {
    const float gate = -x, up = 1.0f;
    float y = 0;
    table_->silu_mul(&gate, &up, 1, &y);
    const double want = -static_cast<double>(x) / (1 + std::exp(static_cast<double>(x)));
    if (want != 0) worst = std::max(worst, std::fabs((static_cast<double>(y) - want) / want));
  }
  EXPECT_LT(worst, 4e-7);  // exp, an addition, a division and a product
}

TEST_P(ElementwiseKernels, AddAndAxpby) {
  for (uint32_t n = 1; n < 40; ++n) {
    const std::vector<float> x = Random(n).floats(n), y = Random(n + 1).floats(n);
    std::vector<float> sum = x, scaled = x;
    table_->add(sum.data(), y.data(), n);
    table_->axpby(scaled.data(), y.data(), 0.7f, n);
    for (uint32_t i = 0; i < n; ++i) {
      ASSERT_EQ(sum[i], x[i] + y[i]);
      ASSERT_EQ(scaled[i], x[i] + 0.7f * y[i]);
    }
  }
}

SVQ_PER_TABLE(ElementwiseKernels);

}  // namespace
}  // namespace svq::kernels::testing
