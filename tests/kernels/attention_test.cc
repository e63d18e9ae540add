#include <cmath>
#include <algorithm>
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
      const AttendQuery query = {q.data(), out.data(), r.first, r.last};
      table_->attend_f16(&query, 1, k.data(), v.data(), stride, d, scale);
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
      const AttendQuery query = {q.data(), out.data(), r.first, r.last};
      table_->attend_i8(&query, 1, k.data(), v.data(), ks.data(), vs.data(), stride, scale_stride, d, scale);
      const std::vector<double> want = naive(q, kf, vf, stride, r.first, r.last, scale);
      for (uint32_t i = 0; i < d; ++i) ASSERT_NEAR(out[i], want[i], 4e-6) << d << ": " << r.first << " … " << r.last;
    }
  }
}

// Every number of queries, ranges that overlap, adjoin or stand apart: each equals the query alone, bit for bit. A NaN
// in the cache reaches those that attend its position, and no other.
TEST_P(AttentionKernels, AQueryDoesNotDependOnItsNeighbours) {
  constexpr Range kMixed[] = {{0, 99}, {0, 100}, {0, 100}, {3, 100}, {70, 101}, {0, 5},    {150, 199},
                              {0, 63}, {64, 64}, {0, 199}, {1, 126}, {60, 60},  {128, 130}};
  constexpr uint32_t kQueries = sizeof kMixed / sizeof *kMixed;
  for (uint32_t d : {6u, 64u, 80u, 128u}) {
    for (bool nan : {false, true}) {
      Random random(d);
      std::vector<uint16_t> k = random.halves(kPositions * d, -4, 4), v = random.halves(kPositions * d);
      std::vector<int8_t> k8(k.size()), v8(k.size());
      for (int8_t& x : k8) x = static_cast<int8_t>(static_cast<int>(random.below(255)) - 127);
      for (int8_t& x : v8) x = static_cast<int8_t>(static_cast<int>(random.below(255)) - 127);
      std::vector<float> ks = random.floats(kPositions, 0.01f, 0.03f), vs = random.floats(kPositions, 0.001f, 0.01f);
      if (nan) {
        v[101 * d + 1] = k[64 * d] = 0x7e00;
        ks[64] = vs[101] = std::numeric_limits<float>::quiet_NaN();
      }
      const std::vector<float> q = random.floats(kQueries * d, -2, 2);
      const auto attend = [&](bool f16, const AttendQuery* queries, uint32_t n) {
        if (f16) return table_->attend_f16(queries, n, k.data(), v.data(), d, d, 0.125f);
        table_->attend_i8(queries, n, k8.data(), v8.data(), ks.data(), vs.data(), d, 1, d, 0.125f);
      };
      for (bool f16 : {true, false}) {
        std::vector<float> alone(kQueries * d), together(kQueries * d);
        std::vector<AttendQuery> queries(kQueries);
        for (uint32_t i = 0; i < kQueries; ++i) {
          queries[i] = {q.data() + i * d, alone.data() + i * d, kMixed[i].first, kMixed[i].last};
          attend(f16, &queries[i], 1);
          const bool reached = nan && ((kMixed[i].first <= 64 && kMixed[i].last >= 64) ||
                                       (kMixed[i].first <= 101 && kMixed[i].last >= 101));
          ASSERT_EQ(std::isnan(alone[i * d + 1]), reached) << i;
          queries[i].out = together.data() + i * d;
        }
        for (uint32_t n = 1; n <= kQueries; ++n) {
          for (uint32_t i = 0; i < kQueries; i += n) attend(f16, &queries[i], std::min(n, kQueries - i));
          for (size_t i = 0; i < alone.size(); ++i) {
            ASSERT_TRUE(together[i] == alone[i] || (std::isnan(together[i]) && std::isnan(alone[i])))
                << n << " at a time, query " << i / d << ", head of " << d;
          }
        }
      }
    }
  }
}

// Results over adjoining positions, put together by their states, are the result over all of them.
TEST_P(AttentionKernels, StatesPutPartsTogether) {
  for (uint32_t d : {6u, 64u, 80u}) {
    Random random(d);
    const std::vector<uint16_t> k = random.halves(kPositions * d, -4, 4), v = random.halves(kPositions * d);
    std::vector<int8_t> k8(k.size()), v8(k.size());
    for (int8_t& x : k8) x = static_cast<int8_t>(static_cast<int>(random.below(255)) - 127);
    for (int8_t& x : v8) x = static_cast<int8_t>(static_cast<int>(random.below(255)) - 127);
    const std::vector<float> ks = random.floats(kPositions, 0.01f, 0.03f),
                             vs = random.floats(kPositions, 0.001f, 0.01f);
    for (uint32_t n : {1u, 3u, 5u}) {
      const std::vector<float> q = random.floats(n * d, -2, 2);
      for (bool f16 : {true, false}) {
        const auto attend = [&](std::vector<float>& out, std::vector<float>* states, uint32_t first, uint32_t last) {
          std::vector<AttendQuery> queries(n);
          for (uint32_t i = 0; i < n; ++i)
            queries[i] = {q.data() + i * d, out.data() + i * d, first, last, states ? states->data() + 2 * i : nullptr};
          if (f16) return table_->attend_f16(queries.data(), n, k.data(), v.data(), d, d, 0.125f);
          table_->attend_i8(queries.data(), n, k8.data(), v8.data(), ks.data(), vs.data(), d, 1, d, 0.125f);
        };
        std::vector<float> whole(n * d), a(n * d), b(n * d), a_state(2 * n), b_state(2 * n);
        attend(whole, nullptr, 3, 190);
        attend(a, &a_state, 3, 63);
        attend(b, &b_state, 64, 190);
        for (uint32_t i = 0; i < n; ++i) {
          const double m = std::max(a_state[2 * i], b_state[2 * i]);
          const double of_a = std::exp(a_state[2 * i] - m), of_b = std::exp(b_state[2 * i] - m);
          const double sum = a_state[2 * i + 1] * of_a + b_state[2 * i + 1] * of_b;
          EXPECT_GE(a_state[2 * i + 1], 1);  // the largest score's own weight
          for (uint32_t c = i * d; c < (i + 1) * d; ++c) {
            ASSERT_NEAR((a[c] * of_a + b[c] * of_b) / sum, whole[c], 4e-6) << d << ", " << n << ", " << c;
          }
        }
      }
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
    const AttendQuery query = {q.data(), out.data(), 0, n - 1};
    table_->attend_f16(&query, 1, k.data(), v.data(), d, d, 1.0f);
    for (float o : out) ASSERT_NEAR(o, sign > 0 ? static_cast<float>(n - 1) : 0.0f, 1e-30f);
  }
}

TEST_P(AttentionKernels, NanIsNotLost) {
  const uint32_t d = 64, n = 40;
  std::vector<uint16_t> k(n * d, f32_to_f16(0.5f)), v(n * d, f32_to_f16(1.0f));
  k[17 * d + 3] = 0x7e00;
  std::vector<float> q(d, 1.0f), out(d);
  const AttendQuery query = {q.data(), out.data(), 0, n - 1};
  table_->attend_f16(&query, 1, k.data(), v.data(), d, d, 1.0f);
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
