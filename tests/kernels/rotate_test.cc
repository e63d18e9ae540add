#include <cmath>
#include <cstring>

#include "tests/kernels/support.h"

namespace svq::kernels::testing {
namespace {

struct Size {
  uint32_t kind, block, factor;
};
// 576, 1536, 8960, 9728 as they occur; blocks smaller than any vector; factors of both parities; 1.
constexpr Size kSizes[] = {{0, 64, 1},   {1, 64, 1},  {2, 64, 9},  {2, 512, 3},  {2, 256, 35},
                           {2, 512, 19}, {1, 128, 1}, {1, 128, 7}, {1, 128, 70}, {1, 2048, 1},
                           {2, 1, 7},    {2, 2, 3},   {2, 4, 5},   {2, 8, 3},    {2, 16, 5},
                           {2, 32, 4},   {2, 32, 6},  {1, 1, 5},   {2, 128, 1},  {2, 64, 2}};

class RotateKernels : public PerTable {};

double norm2(const std::vector<float>& x) {
  double sum = 0;
  for (float v : x) sum += static_cast<double>(v) * v;
  return sum;
}

TEST_P(RotateKernels, EqualsTheReference) {
  for (const Size& s : kSizes) {
    const Rotated rotation(s.kind, s.block, s.factor);
    const uint32_t n = s.block * s.factor;
    std::vector<float> scratch(n);
    for (bool inverse : {false, true}) {
      const std::vector<float> x = Random(n).floats(n);
      std::vector<float> got = x, want = x;
      table_->rotate(got.data(), rotation.r, inverse, scratch.data());
      reference().rotate(want.data(), rotation.r, inverse, scratch.data());
      for (uint32_t i = 0; i < n; ++i) {
        if (s.kind == 2) {
          ASSERT_NEAR(got[i], want[i], 0x1p-23 * (s.factor + 10)) << s.block << " x " << s.factor << " at " << i;
        } else {
          ASSERT_EQ(got[i], want[i]) << s.block << " x " << s.factor << " at " << i;  // the Hadamard part is bit-exact
        }
      }
    }
  }
}

TEST_P(RotateKernels, InverseUndoesForwardAndLengthsAreKept) {
  for (const Size& s : kSizes) {
    const Rotated rotation(s.kind, s.block, s.factor);
    const uint32_t n = s.block * s.factor;
    std::vector<float> scratch(n);
    const std::vector<float> x = Random(n + 1).floats(n);
    for (bool first : {false, true}) {
      std::vector<float> y = x;
      table_->rotate(y.data(), rotation.r, first, scratch.data());
      ASSERT_NEAR(norm2(y), norm2(x), 2e-6 * norm2(x) + 1e-7) << s.block << " x " << s.factor;
      table_->rotate(y.data(), rotation.r, !first, scratch.data());
      for (uint32_t i = 0; i < n; ++i) ASSERT_NEAR(y[i], x[i], 4e-6) << s.block << " x " << s.factor << " at " << i;
    }
  }
}

// The definition, entry by entry: H[i][j] = (−1)^popcount(i & j) / sqrt(block), and the DCT across blocks.
TEST_P(RotateKernels, MatchesTheDefinition) {
  for (const Size& s : {Size{1, 64, 3}, Size{2, 64, 9}, Size{2, 32, 6}, Size{2, 4, 5}}) {
    const Rotated rotation(s.kind, s.block, s.factor);
    const uint32_t n = s.block * s.factor;
    std::vector<float> scratch(n), y = Random(17).floats(n);
    const std::vector<float> x = y;
    table_->rotate(y.data(), rotation.r, false, scratch.data());
    for (uint32_t f = 0; f < s.factor; ++f) {
      for (uint32_t i = 0; i < s.block; ++i) {
        double sum = 0;
        for (uint32_t g = 0; g < s.factor; ++g) {
          const double m = s.kind == 1 ? (f == g)
                                       : std::sqrt((f ? 2.0 : 1.0) / s.factor) *
                                             std::cos(3.14159265358979323846 * (2 * g + 1) * f / (2.0 * s.factor));
          for (uint32_t j = 0; j < s.block; ++j) {
            sum += m * (__builtin_popcount(i & j) % 2 ? -1 : 1) / std::sqrt(static_cast<double>(s.block)) *
                   x[g * s.block + j];
          }
        }
        ASSERT_NEAR(y[f * s.block + i], sum, 3e-6);
      }
    }
  }
}

TEST(Mix, IsOrthonormal) {
  for (uint32_t r : {1u, 2u, 3u, 9u, 19u, 35u, 95u}) {
    std::vector<float> m(r * r);
    make_mix(r, m.data());
    for (uint32_t i = 0; i < r; ++i) {
      for (uint32_t j = 0; j < r; ++j) {
        double dot = 0;
        for (uint32_t k = 0; k < r; ++k) dot += static_cast<double>(m[i * r + k]) * m[j * r + k];
        ASSERT_NEAR(dot, i == j, 2e-7);
      }
    }
  }
}

SVQ_PER_TABLE(RotateKernels);

}  // namespace
}  // namespace svq::kernels::testing
