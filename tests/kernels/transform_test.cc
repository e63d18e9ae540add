// Input transform (scale, rotate, affine, int8) and output transform.
#include <cmath>
#include <limits>

#include "schema/packing.h"
#include "tests/kernels/support.h"

namespace svq::kernels::testing {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

class TransformKernels : public PerTable {};

struct Maps {
  Maps(uint32_t dim, uint32_t n, uint32_t span, uint64_t seed) {
    Random random(seed);
    affine.dim = dim;
    affine.columns_per_map = span;
    affine.n_maps = span ? (n + span - 1) / span : 1;
    a = random.floats(affine.n_maps * dim * dim);
    b = random.floats(affine.n_maps * dim);
    affine.a = a.data();
    affine.b = b.data();
  }
  std::vector<float> a, b;
  Affine affine;
};

struct Quantization {
  explicit Quantization(uint32_t n) : zf(n), z((n + 63) / 64 * 64, 99) { q.z = z.data(); }
  std::vector<float> zf;
  std::vector<int8_t> z;
  Quantized q;
};

TEST_P(TransformKernels, AffineQuantizeFollowsTheFormula) {
  for (uint32_t dim : {4u, 8u}) {
    for (uint32_t n : {8u, 24u, 64u, 88u, 576u, 1000u, 8960u}) {
      for (uint32_t span : {0u, 24u, 64u}) {
        const Maps maps(dim, n, span, n + dim);
        const std::vector<float> u = Random(n).floats(n, -3, 3);
        Quantization out(n);
        table_->affine_quantize(u.data(), maps.affine, n, out.zf.data(), &out.q);
        double beta = 0, largest = 0, lost = 0;
        for (uint32_t k = 0; k < n; ++k) {
          const uint32_t g = k / dim * dim, j = k % dim, map = span ? k / span : 0;
          double z = 0;
          for (uint32_t i = 0; i < dim; ++i) z += static_cast<double>(maps.a[(map * dim + i) * dim + j]) * u[g + i];
          ASSERT_NEAR(out.zf[k], z, 4e-7 * dim * 3) << dim << ' ' << n << ' ' << k;
          beta += static_cast<double>(maps.b[map * dim + j]) * u[k];
          largest = std::max(largest, std::fabs(static_cast<double>(out.zf[k])));
        }
        ASSERT_NEAR(out.q.beta, beta, 0x1p-24 * 3 * n) << dim << ' ' << n;
        ASSERT_NEAR(out.q.delta, largest / 127, 1e-7 * largest);
        for (uint32_t k = 0; k < n; ++k) {
          ASSERT_LE(std::fabs(out.z[k] - out.zf[k] * 127.0 / largest), 0.5001) << k;
          lost += out.zf[k] - static_cast<double>(out.q.delta) * out.z[k];
        }
        ASSERT_NEAR(out.q.lost, lost, 0x1p-18 * out.q.delta * n) << dim << ' ' << n;
        for (size_t k = n; k < out.z.size(); ++k) ASSERT_EQ(out.z[k], 0) << k;
        EXPECT_EQ(127, std::abs(*std::max_element(out.z.begin(), out.z.end(),
                                                  [](int8_t x, int8_t y) { return std::abs(x) < std::abs(y); })));
      }
    }
  }
}

TEST_P(TransformKernels, ScalarMapsGiveTheSame) {
  for (uint32_t dim : {4u, 8u}) {
    for (uint32_t n : {8u, 72u, 576u}) {
      std::vector<float> a(dim * dim, 0.0f), b(dim, -0.75f);
      for (uint32_t i = 0; i < dim; ++i) a[i * dim + i] = 0.5f;
      Affine affine;
      affine.dim = dim;
      affine.a = a.data();
      affine.b = b.data();
      const std::vector<float> u = Random(n).floats(n);
      Quantization plain(n), scalar(n);
      table_->affine_quantize(u.data(), affine, n, plain.zf.data(), &plain.q);
      affine.scalar = true;
      table_->affine_quantize(u.data(), affine, n, scalar.zf.data(), &scalar.q);
      EXPECT_EQ(plain.z, scalar.z);
      EXPECT_EQ(plain.zf, scalar.zf);
      EXPECT_EQ(plain.q.delta, scalar.q.delta);
      EXPECT_NEAR(plain.q.beta, scalar.q.beta, 1e-5);
      EXPECT_EQ(plain.q.lost, scalar.q.lost);
    }
  }
}

TEST_P(TransformKernels, ZeroTinyAndNonFiniteActivations) {
  const uint32_t n = 576;
  const Maps maps(4, n, 0, 1);
  for (float value : {0.0f, 0x1p-110f, -0.0f}) {
    std::vector<float> u(n, value);
    Quantization out(n);
    table_->affine_quantize(u.data(), maps.affine, n, out.zf.data(), &out.q);
    EXPECT_EQ(out.q.delta, 0.0f);
    EXPECT_EQ(out.q.lost, 0.0f);
    EXPECT_EQ(out.z, std::vector<int8_t>(n, 0));
  }
  for (float value : {kNan, kInfinity, -kInfinity}) {
    for (uint32_t at : {0u, 5u, 17u, n - 1}) {
      std::vector<float> u(n, 1.0f);
      u[at] = value;
      Quantization out(n);
      table_->affine_quantize(u.data(), maps.affine, n, out.zf.data(), &out.q);
      EXPECT_TRUE(std::isnan(out.q.delta)) << value << " at " << at;
      EXPECT_EQ(out.z, std::vector<int8_t>(n, 0));
    }
  }
  // Near the largest float: 127 / max is subnormal-free, nothing overflows.
  std::vector<float> u(n, 1e37f);
  Affine scalar;
  const float one[16] = {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1}, zero[4] = {};
  scalar.a = one;
  scalar.b = zero;
  scalar.scalar = true;
  Quantization out(n);
  table_->affine_quantize(u.data(), scalar, n, out.zf.data(), &out.q);
  EXPECT_EQ(out.z, std::vector<int8_t>(n, 127));
}

TEST_P(TransformKernels, ScaleRotateIsScaleThenRotate) {
  for (uint32_t factor : {3u, 9u, 35u}) {
    const uint32_t block = factor == 3 ? 4 : 64, n = block * factor;
    const Rotated rotation(2, block, factor);
    const std::vector<float> x = Random(n).floats(n);
    const std::vector<uint16_t> scale = Random(n + 1).halves(n, -2, 2);
    for (bool scaled : {true, false}) {
      std::vector<float> want = x, scratch(n), got(n), in_place = x;
      for (uint32_t i = 0; i < n && scaled; ++i) want[i] *= f16_to_f32(scale[i]);
      table_->rotate(want.data(), rotation.r, false, scratch.data());
      table_->scale_rotate(x.data(), scaled ? scale.data() : nullptr, rotation.r, n, got.data(), scratch.data());
      EXPECT_EQ(got, want);
      table_->scale_rotate(in_place.data(), scaled ? scale.data() : nullptr, rotation.r, n, in_place.data(),
                           scratch.data());
      EXPECT_EQ(in_place, want);
    }
  }
  // No rotation, any length: tails.
  for (uint32_t n = 1; n < 40; ++n) {
    const std::vector<float> x = Random(n).floats(n);
    const std::vector<uint16_t> scale = Random(n + 1).halves(n, -2, 2);
    std::vector<float> got(n), scratch(n);
    table_->scale_rotate(x.data(), scale.data(), Rotation{}, n, got.data(), scratch.data());
    for (uint32_t i = 0; i < n; ++i) ASSERT_EQ(got[i], x[i] * f16_to_f32(scale[i]));
  }
}

TEST_P(TransformKernels, OutputSide) {
  for (uint32_t n = 1; n < 70; ++n) {
    Random random(n);
    std::vector<int32_t> acc(n);
    for (int32_t& a : acc) a = static_cast<int32_t>(random.below(2000000)) - 1000000;
    std::vector<float> v(n), scratch(n);
    table_->dequantize(acc.data(), 0.37f, -1.5f, n, v.data());
    for (uint32_t i = 0; i < n; ++i) ASSERT_EQ(v[i], 0.37f * static_cast<float>(acc[i]) + -1.5f);
    const std::vector<uint16_t> scale = random.halves(n, -2, 2);
    const std::vector<float> bias = random.floats(n), start = random.floats(n);
    for (int which = 0; which < 4; ++which) {
      std::vector<float> y = start;
      table_->rotate_scale(y.data(), Rotation{}, which & 1 ? scale.data() : nullptr, which & 2 ? bias.data() : nullptr,
                           n, scratch.data());
      for (uint32_t i = 0; i < n; ++i) {
        const float scaled = which & 1 ? start[i] * f16_to_f32(scale[i]) : start[i];
        ASSERT_EQ(y[i], which & 2 ? scaled + bias[i] : scaled);
      }
    }
  }
  const Rotated rotation(2, 64, 9);
  const std::vector<float> start = Random(4).floats(576);
  std::vector<float> got = start, want = start, scratch(576);
  table_->rotate_scale(got.data(), rotation.r, nullptr, nullptr, 576, scratch.data());
  table_->rotate(want.data(), rotation.r, true, scratch.data());
  EXPECT_EQ(got, want);
}

// The algebra behind int8: y = delta · acc + beta + m · lost approximates Σ_k (A_g code_g + B_g) u_k, m the middle of
// the codes: the rounding errors of z meet code − m.
TEST_P(TransformKernels, AffineAndGemvGiveTheDequantizedProduct) {
  const uint32_t rows = 40, n = 576;
  for (uint32_t bits = 2; bits <= 8; ++bits) {
    const Matrix m(rows, n, bits, Matrix::kRandom, bits);
    const Maps maps(4, n, 192, 9);
    const std::vector<float> u = Random(2).floats(n);
    Quantization out(n);
    table_->affine_quantize(u.data(), maps.affine, n, out.zf.data(), &out.q);
    std::vector<int32_t> acc(48);
    table_->gemv(m.packed, out.z.data(), 0, 3, acc.data());
    std::vector<float> y(rows), w(n), exact(48);
    const float middle = format::middle_code(bits);
    table_->dequantize(acc.data(), out.q.delta, out.q.beta + middle * out.q.lost, rows, y.data());
    std::vector<uint16_t> codes(16 * n);
    for (uint32_t block = 0; block < 3; ++block) {
      table_->decode_block(m.packed, block, codes.data());
      table_->matmul_f16(codes.data(), n, 0, 16, out.zf.data(), n, 1, exact.data() + 16 * block, 48);
    }
    for (uint32_t r = 0; r < rows; ++r) {
      table_->decode_row(m.packed, maps.affine, r, w.data());
      double sum = 0;
      for (uint32_t k = 0; k < n; ++k) sum += static_cast<double>(w[k]) * u[k];
      const double top = (1 << bits) - 1, spread = std::sqrt(((top + 1) * (top + 1) - 1) / 12);  // of uniform codes
      ASSERT_NEAR(exact[r] / kCodeUnit + out.q.beta, sum, 1e-5 * n * top) << bits;
      // 5 sigma of the rounding errors, uniform over delta.
      ASSERT_NEAR(y[r], sum, 5 * 0.29 * out.q.delta * spread * std::sqrt(static_cast<double>(n))) << bits;
    }
  }
}

SVQ_PER_TABLE(TransformKernels);

}  // namespace
}  // namespace svq::kernels::testing
