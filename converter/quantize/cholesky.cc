#include "converter/quantize/cholesky.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/linalg_cholesky_ex.h>
#include <ATen/ops/linalg_solve_triangular.h>

#include <algorithm>

namespace svq::convert {
namespace {

at::Tensor block(const at::Tensor& a, int64_t row, int64_t rows, int64_t column, int64_t columns) {
  return a.narrow(0, row, rows).narrow(1, column, columns);
}

}  // namespace

bool upper_cholesky_(at::Tensor& a) {
  const int64_t n = a.size(0);
  for (int64_t begin = (n - 1) / kFactorBlock * kFactorBlock; begin >= 0; begin -= kFactorBlock) {
    const int64_t size = std::min(kFactorBlock, n - begin);
    at::Tensor corner = block(a, begin, size, begin, size);
    // The lower factor of a block in reversed order is, reversed back, its upper one.
    const auto [reversed, info] = at::linalg_cholesky_ex(corner.flip({0, 1}));
    if (info.item<int>() != 0) return false;
    const at::Tensor upper = reversed.flip({0, 1});
    corner.copy_(upper);
    if (begin == 0) break;
    at::Tensor above = block(a, 0, begin, begin, size);
    above.copy_(at::linalg_solve_triangular(upper.t(), above, /*upper=*/false, /*left=*/false));
    for (int64_t j = 0; j < begin; j += kFactorBlock) {
      at::Tensor rest = block(a, 0, j + kFactorBlock, j, kFactorBlock);
      rest.addmm_(above.narrow(0, 0, j + kFactorBlock), above.narrow(0, j, kFactorBlock).t(), 1, -1);
    }
  }
  return true;
}

at::Tensor solve_right(const at::Tensor& x, const at::Tensor& factor) {
  const at::Tensor half = at::linalg_solve_triangular(factor.t(), x, /*upper=*/false, /*left=*/false);
  return at::linalg_solve_triangular(factor, half, /*upper=*/true, /*left=*/false);
}

void mirror_(at::Tensor& a, bool upper_to_lower) {
  constexpr int64_t kStrip = 64;
  const int64_t n = a.size(0);
  for (int64_t begin = 0; begin < n; begin += kStrip) {
    const int64_t size = std::min(kStrip, n - begin);
    const at::Tensor left = block(a, begin, size, 0, begin), above = block(a, 0, begin, begin, size);
    const at::Tensor corner = block(a, begin, size, begin, size);
    if (upper_to_lower) {
      left.copy_(above.t());
      corner.copy_(corner.triu() + corner.triu(1).t());
    } else {
      above.copy_(left.t());
      corner.copy_(corner.tril() + corner.tril(-1).t());
    }
  }
}

}  // namespace svq::convert
