#include <cmath>
#include <limits>

#include "tests/kernels/support.h"

namespace svq::kernels::testing {
namespace {

class AttentionKernels : public PerTable {};

// Softmax attention in f64 on the cache's own values.
std::vector<double> naive(const std::vector<float>& q, const std::vector<float>& k, const std::vector<float>& v,
                          size_t stride, uint32_t first, uint32_t last, float scale) {
  const size_t d = q.size();
  std::vector<double> score, out(d, 0);
  double largest = -1e300, total = 0;
  for (uint32_t p = first; p <= last; ++p) {
    double s = 0;
    for (size_t i = 0; i < d; ++i) s += static_cast<double>(q[i]) * k[p * stride + i];
    score.push_back(s * scale);
    largest = std::max(largest, score.back());
  }
  for (uint32_t p = first; p <= last; ++p) {
    const double e = std::exp(score[p - first] - largest);
    total += e;
    for (size_t i = 0; i < d; ++i) out[i] += e * v[p * stride + i];
  }
  for (double& o : out) o /= total;
  return out;
}

struct Range {
  uint32_t first, last;
};
constexpr Range kRanges[] = {{0, 0},   {0, 1},  {0, 31}, {0, 32},   {5, 5},
                             {31, 32}, {7, 40}, {0, 99}, {64, 127}, {90, 199}};
constexpr uint32_t kPositions = 200;

TEST_P(AttentionKernels, F16) {
  for (uint32_t d : {2u, 6u, 10u, 16u, 64u, 80u, 96u, 128u, 256u}) {
    const size_t stride = d + 6;
    const std::vector<uint16_t> k = Random(d).halves(kPositions * stride, -4, 4),
                                v = Random(d + 1).halves(kPositions * stride);
    const std::vector<float> q = Random(d + 2).floats(d, -2, 2);
    std::vector<float> kf(k.size()), vf(v.size()), out(d);
    for (size_t i = 0; i < k.size(); ++i) {
      kf[i] = f16_to_f32(k[i]);
      vf[i] = f16_to_f32(v[i]);
    }
    const float scale = 1 / std::sqrt(static_cast<float>(d));
    for (const Range& r : kRanges) {
      table_->attend_f16(q.data(), k.data(), v.data(), stride, r.first, r.last, d, scale, out.data());
      const std::vector<double> want = naive(q, kf, vf, stride, r.first, r.last, scale);
      for (uint32_t i = 0; i < d; ++i) ASSERT_NEAR(out[i], want[i], 4e-6) << d << ": " << r.first << " … " << r.last;
    }
  }
}

TEST_P(AttentionKernels, I8) {
  for (uint32_t d : {2u, 10u, 64u, 96u, 128u}) {
    const size_t stride = d + 3, scale_stride = 2;
    Random random(d);
    std::vector<int8_t> k(kPositions * stride), v(kPositions * stride);
    for (int8_t& x : k) x = static_cast<int8_t>(static_cast<int>(random.below(255)) - 127);
    for (int8_t& x : v) x = static_cast<int8_t>(static_cast<int>(random.below(255)) - 127);
    const std::vector<float> ks = random.floats(kPositions * scale_stride, 0.01f, 0.03f),
                             vs = random.floats(kPositions * scale_stride, 0.001f, 0.01f), q = random.floats(d, -2, 2);
    std::vector<float> kf(k.size()), vf(v.size()), out(d);
    for (size_t i = 0; i < k.size(); ++i) {
      kf[i] = static_cast<float>(k[i]) * ks[i / stride * scale_stride];
      vf[i] = static_cast<float>(v[i]) * vs[i / stride * scale_stride];
    }
    const float scale = 1 / std::sqrt(static_cast<float>(d));
    for (const Range& r : kRanges) {
      table_->attend_i8(q.data(), k.data(), v.data(), ks.data(), vs.data(), stride, scale_stride, r.first, r.last, d,
                        scale, out.data());
      const std::vector<double> want = naive(q, kf, vf, stride, r.first, r.last, scale);
      for (uint32_t i = 0; i < d; ++i) ASSERT_NEAR(out[i], want[i], 4e-6) << d << ": " << r.first << " … " << r.last;
    }
  }
}

// Scores hundreds apart, in either order: nothing overflows, the winner takes all.
TEST_P(AttentionKernels, LargeScores) {
  const uint32_t d = 64, n = 80;
  for (float sign : {1.0f, -1.0f}) {
    std::vector<uint16_t> k(n * d), v(n * d);
    std::vector<float> q(d, 30.0f), out(d);
    for (uint32_t p = 0; p < n; ++p) {
      for (uint32_t i = 0; i < d; ++i) {
        k[p * d + i] = f32_to_f16(sign * static_cast<float>(p));
        v[p * d + i] = f32_to_f16(static_cast<float>(p));
      }
    }
    table_->attend_f16(q.data(), k.data(), v.data(), d, 0, n - 1, d, 1.0f, out.data());
    for (float o : out) ASSERT_NEAR(o, sign > 0 ? static_cast<float>(n - 1) : 0.0f, 1e-30f);
  }
}

TEST_P(AttentionKernels, NanIsNotLost) {
  const uint32_t d = 64, n = 40;
  std::vector<uint16_t> k(n * d, f32_to_f16(0.5f)), v(n * d, f32_to_f16(1.0f));
  k[17 * d + 3] = 0x7e00;
  std::vector<float> q(d, 1.0f), out(d);
  table_->attend_f16(q.data(), k.data(), v.data(), d, 0, n - 1, d, 1.0f, out.data());
  EXPECT_TRUE(std::isnan(out[0]));
}

TEST_P(AttentionKernels, StoreF16) {
  for (uint32_t n = 1; n < 70; ++n) {
    const std::vector<float> x = Random(n).floats(n, -100, 100);
    std::vector<uint16_t> out(n);
    table_->store_f16(x.data(), n, out.data());
    for (uint32_t i = 0; i < n; ++i) ASSERT_EQ(out[i], f32_to_f16(x[i]));
  }
}

TEST_P(AttentionKernels, StoreI8) {
  for (uint32_t n = 1; n < 140; ++n) {
    const std::vector<float> x = Random(n).floats(n, -3, 3);
    std::vector<int8_t> out(n), want(n);
    float scale = 0, want_scale = 0;
    table_->store_i8(x.data(), n, out.data(), &scale);
    reference().store_i8(x.data(), n, want.data(), &want_scale);
    ASSERT_EQ(out, want);
    ASSERT_EQ(scale, want_scale);
    for (uint32_t i = 0; i < n; ++i) ASSERT_NEAR(static_cast<float>(out[i]) * scale, x[i], 0.501f * scale);
  }
  for (float value : {0.0f, std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    for (uint32_t at : {0u, 9u, 66u}) {
      std::vector<float> x(67, value == 0.0f ? 0.0f : 1.0f);
      x[at] = value;
      std::vector<int8_t> out(67, 5);
      float scale = 3;
      table_->store_i8(x.data(), 67, out.data(), &scale);
      EXPECT_EQ(out, std::vector<int8_t>(67, 0));
      EXPECT_TRUE(value == 0.0f ? scale == 0.0f : std::isnan(scale)) << value << " at " << at;
    }
  }
}

SVQ_PER_TABLE(AttentionKernels);

}  // namespace
}  // namespace svq::kernels::testing
