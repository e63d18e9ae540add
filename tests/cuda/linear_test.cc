// Packed products against the scalar reference, exactly; f16 products within f32's rounding.
#include <cmath>

#include "kernels-cuda/emulation/device.h"
#include "kernels-cuda/emulation/simt.h"
#include "schema/packing.h"
#include "tests/cuda/on_stream.h"
#include "tests/kernels/support.h"

namespace svq::cuda::testing {
namespace {

using kernels::testing::Matrix;
using kernels::testing::Random;

Packed device_view(const kernels::Packed& p) {
  Packed out;
  out.rows = p.rows;
  out.columns = p.columns;
  out.n_planes = p.n_planes;
  for (uint32_t i = 0; i < p.n_planes; ++i) {
    out.plane[i] = p.plane[i];
    out.plane_bits[i] = p.plane_bits[i];
  }
  return out;
}

// Codes of the group's linears times n tokens by `kernel`, compared with the reference.
void check_group(const std::vector<const Matrix*>& group, uint32_t n, ProductKernel kernel, Matrix::Fill fill,
                 uint32_t sms) {
  const OnStream run;
  const uint32_t columns = group[0]->packed.columns;
  const auto padded = static_cast<uint32_t>(format::padded_columns(columns));
  Random random(columns + n);
  std::vector<int8_t> z(size_t{n} * padded, 0);
  for (uint32_t t = 0; t < n; ++t) {
    for (uint32_t k = 0; k < columns; ++k) {
      z[t * padded + k] =
          static_cast<int8_t>(fill == Matrix::kRandom ? static_cast<int>(random.below(256)) - 128 : -128);
    }
  }
  PackedProduct p;
  p.n = n;
  p.count = static_cast<uint32_t>(group.size());
  p.codes = z.data();
  p.multiprocessors = sms;
  std::vector<std::vector<int32_t>> acc;
  for (size_t i = 0; i < group.size(); ++i) {
    p.w[i] = device_view(group[i]->packed);
    p.acc_stride[i] = group[i]->blocks() * 16;
    acc.emplace_back(size_t{n} * p.acc_stride[i], -1);
    p.acc[i] = acc[i].data();
  }
  emulated_kernels().packed_product(run.stream, p, kernel);
  for (size_t i = 0; i < group.size(); ++i) {
    for (uint32_t t = 0; t < n; ++t) {
      std::vector<int32_t> want(p.acc_stride[i]);
      kernels::reference().gemv(group[i]->packed, z.data() + size_t{t} * padded, 0, group[i]->blocks(), want.data());
      const std::vector<int32_t> got(acc[i].begin() + static_cast<ptrdiff_t>(t * p.acc_stride[i]),
                                     acc[i].begin() + static_cast<ptrdiff_t>((t + 1) * p.acc_stride[i]));
      ASSERT_EQ(got, want) << group[i]->packed.rows << " x " << columns << ", linear " << i << ", token " << t << " of "
                           << n;
    }
  }
}

class PackedProducts : public ::testing::TestWithParam<uint32_t> {};
INSTANTIATE_TEST_SUITE_P(Bits, PackedProducts, ::testing::Range(2u, 9u));

TEST_P(PackedProducts, GemvEqualsTheReferenceForEverySize) {
  for (const uint32_t rows : {1u, 15u, 16u, 17u, 40u, 129u}) {
    for (const uint32_t columns : {4u, 60u, 64u, 68u, 132u, 576u, 1028u}) {
      const Matrix m(rows, columns, GetParam(), Matrix::kRandom, rows + columns);
      for (const uint32_t n : {1u, 2u}) check_group({&m}, n, ProductKernel::kGemv, Matrix::kRandom, 8);
    }
  }
}

TEST_P(PackedProducts, GemmEqualsTheReferenceForEverySize) {
  for (const uint32_t columns : {4u, 68u, 192u, 320u}) {
    for (const uint32_t rows : {1u, 17u, 70u}) {
      const Matrix m(rows, columns, GetParam(), Matrix::kRandom, rows + columns);
      for (const uint32_t n : {1u, 3u, 8u, 9u, 16u, 17u, 33u})
        check_group({&m}, n, ProductKernel::kGemm, Matrix::kRandom, 8);
    }
  }
  const Matrix wide(300, 128, GetParam(), Matrix::kRandom, 3), tall(700, 64, GetParam(), Matrix::kRandom, 4);
  check_group({&wide}, 70, ProductKernel::kGemm, Matrix::kRandom, 64);
  check_group({&tall}, 67, ProductKernel::kGemm, Matrix::kRandom, 1);  // few multiprocessors: the largest tiles
}

TEST_P(PackedProducts, ColumnsSplitBetweenBlocksGiveTheSame) {
  const Matrix m(40, 4096, GetParam(), Matrix::kRandom, 9);
  check_group({&m}, 5, ProductKernel::kGemm, Matrix::kRandom, 64);
  check_group({&m}, 1, ProductKernel::kGemv, Matrix::kRandom, 64);
  check_group({&m}, 1, ProductKernel::kGemv, Matrix::kRandom, 1);
}

TEST_P(PackedProducts, GroupsOfSeveralLinears) {
  const uint32_t other = GetParam() == 2 ? 4 : 2;
  const Matrix a(70, 192, GetParam(), Matrix::kRandom, 1), b(17, 192, other, Matrix::kRandom, 2),
      c(33, 192, GetParam(), Matrix::kRandom, 3);
  for (const uint32_t n : {1u, 2u, 3u, 20u}) {
    check_group({&a, &b, &c}, n, ProductKernel::kAuto, Matrix::kRandom, 8);
    check_group({&b, &a}, n, ProductKernel::kAuto, Matrix::kRandom, 8);
  }
}

// The largest sums that the format allows fit.
TEST_P(PackedProducts, ExtremeValuesDoNotOverflow) {
  const Matrix m(16, 65536, GetParam(), Matrix::kLargest, 1);
  check_group({&m}, 1, ProductKernel::kGemv, Matrix::kLargest, 1);
  check_group({&m}, 1, ProductKernel::kGemv, Matrix::kLargest, 64);
  check_group({&m}, 3, ProductKernel::kGemm, Matrix::kLargest, 1);
}

TEST(F16Products, AreWithinRoundingOfTheReferenceAndIndependentOfTheBatch) {
  const OnStream run;
  for (const uint32_t columns : {1u, 3u, 8u, 40u, 63u, 256u, 264u, 1000u}) {
    for (const uint32_t rows : {1u, 8u, 19u}) {
      const uint32_t n = 7;
      const auto w = Random(columns).halves(size_t{rows} * columns);
      const auto x = Random(rows).floats(size_t{n} * columns), bias = Random(3).floats(rows);
      std::vector<float> y(size_t{n} * rows), want(y.size());
      F16Product p;
      p.n = n;
      p.rows = rows;
      p.columns = columns;
      p.w = w.data();
      p.x = x.data();
      p.bias = bias.data();
      p.y = y.data();
      emulated_kernels().f16_product(run.stream, p);
      kernels::reference().matmul_f16(w.data(), columns, 0, rows, x.data(), columns, n, want.data(), rows);
      for (uint32_t i = 0; i < y.size(); ++i) {
        ASSERT_NEAR(y[i], want[i] + bias[i % rows], 1e-6 * std::sqrt(columns) + 1e-6) << rows << " x " << columns;
      }
      // Token by token, and added to what is there.
      for (uint32_t t = 0; t < n; ++t) {
        std::vector<float> one(rows, 0.0f);
        p.n = 1;
        p.x = x.data() + size_t{t} * columns;
        p.y = one.data();
        emulated_kernels().f16_product(run.stream, p);
        ASSERT_TRUE(std::equal(one.begin(), one.end(), y.begin() + t * rows));
        p.add = true;
        emulated_kernels().f16_product(run.stream, p);
        for (uint32_t r = 0; r < rows; ++r) ASSERT_EQ(one[r], y[t * rows + r] + y[t * rows + r]);
        p.add = false;
      }
    }
  }
}

TEST(PackedProductRaces, RandomOrderOfThreadsGivesTheSame) {
  const Matrix a(70, 320, 3, Matrix::kRandom, 5), b(40, 320, 4, Matrix::kRandom, 6);
  for (const uint64_t seed : {1u, 2u, 3u}) {
    simt::set_options({.seed = seed});
    for (const uint32_t n : {1u, 2u, 5u, 20u}) check_group({&a, &b}, n, ProductKernel::kAuto, Matrix::kRandom, 8);
  }
  simt::set_options({});
}

}  // namespace
}  // namespace svq::cuda::testing
