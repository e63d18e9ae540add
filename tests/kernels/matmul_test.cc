#include <cmath>
#include <cstring>

#include "tests/kernels/support.h"

namespace svq::kernels::testing {
namespace {

class MatmulKernels : public PerTable {};

TEST_P(MatmulKernels, FollowsTheFormulaForEveryTail) {
  for (uint32_t columns : {1u, 3u, 4u, 7u, 15u, 16u, 17u, 31u, 64u, 100u, 577u}) {
    const uint32_t rows = 21, tokens = 3;
    const std::vector<uint16_t> w = Random(columns).halves(rows * columns);
    const std::vector<float> x = Random(columns + 1).floats(tokens * columns);
    std::vector<float> y(tokens * (rows + 2), -7);
    table_->matmul_f16(w.data(), columns, 0, rows, x.data(), columns, tokens, y.data(), rows + 2);
    for (uint32_t t = 0; t < tokens; ++t) {
      for (uint32_t r = 0; r < rows; ++r) {
        double sum = 0;
        for (uint32_t k = 0; k < columns; ++k) {
          sum += static_cast<double>(f16_to_f32(w[r * columns + k])) * x[t * columns + k];
        }
        ASSERT_NEAR(y[t * (rows + 2) + r], sum, 0x1p-24 * columns + 1e-7) << columns;
      }
      ASSERT_EQ(y[t * (rows + 2) + rows], -7);
    }
  }
}

TEST_P(MatmulKernels, DoesNotDependOnBatchOrSplit) {
  const uint32_t rows = 45, columns = 203, tokens = 14;
  const std::vector<uint16_t> w = Random(1).halves(rows * columns);
  const std::vector<float> x = Random(2).floats(tokens * columns);
  std::vector<float> alone(tokens * rows), batch(tokens * rows), split(tokens * rows);
  for (uint32_t t = 0; t < tokens; ++t) {
    table_->matmul_f16(w.data(), columns, 0, rows, x.data() + t * columns, columns, 1, alone.data() + t * rows, rows);
  }
  for (uint32_t n = 1; n <= tokens; ++n) {
    table_->matmul_f16(w.data(), columns, 0, rows, x.data(), columns, n, batch.data(), rows);
    ASSERT_EQ(0, std::memcmp(alone.data(), batch.data(), n * rows * sizeof(float))) << n;
  }
  for (uint32_t step : {1u, 3u, 8u, 17u}) {
    for (uint32_t r = 0; r < rows; r += step) {
      table_->matmul_f16(w.data(), columns, r, std::min(r + step, rows), x.data(), columns, tokens, split.data(), rows);
    }
    ASSERT_EQ(alone, split) << step;
  }
}

TEST_P(MatmulKernels, RowConversion) {
  for (uint32_t n = 1; n < 70; ++n) {
    const std::vector<uint16_t> w = Random(n).halves(n, -100, 100);
    std::vector<float> out(n);
    table_->row_f16(w.data(), n, out.data());
    for (uint32_t i = 0; i < n; ++i) ASSERT_EQ(out[i], f16_to_f32(w[i]));
  }
}

SVQ_PER_TABLE(MatmulKernels);

}  // namespace
}  // namespace svq::kernels::testing
