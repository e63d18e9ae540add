#include "converter/train/codes.h"

#include <algorithm>
#include <tuple>

#include "converter/quantize/descent.h"

namespace svq::convert {

int64_t move_codes(at::Tensor& codes, at::Tensor& wish, const at::Tensor& gradient, const at::Tensor& curvature,
                   const at::Tensor& hessian, int bits, const CodeStep& step) {
  const at::NoGradGuard no_grad;
  const at::Tensor plain = hessian.to(at::kDouble);
  const double mean = std::max(plain.diagonal().mean().item<double>(), 1e-30);
  at::Tensor h, factor;
  // Sums in f32 can leave a small eigenvalue below zero: then the damping is raised.
  for (double damping = std::max(step.damping, 1e-6);; damping *= 10) {
    h = plain.clone();
    h.diagonal().add_(damping * mean);
    at::Tensor info;
    std::tie(factor, info) = at::linalg_cholesky_ex(h);
    if (info.item<int>() == 0) break;
  }
  const at::Tensor damped = h.to(at::kFloat).contiguous();
  // Rows without any curvature have no gradient either.
  const double floor = std::max(1e-6 * curvature.mean().item<double>(), 1e-300);
  const at::Tensor rates = curvature.clamp_min(floor).reciprocal().mul_(step.size).to(at::kFloat);
  // Transposed: [K, n], so that a column of the weight is contiguous.
  at::Tensor direction = at::cholesky_solve((gradient * rates.unsqueeze(1)).t().to(at::kDouble), factor).to(at::kFloat);
  at::Tensor errors = wish.t().contiguous().sub_(direction);
  at::Tensor columns = codes.t().contiguous();
  const at::Tensor before = columns.clone();
  for (int pass = 0; pass < step.passes; ++pass) {
    if (descend_(errors, columns, damped, bits) == 0) break;
  }
  codes.copy_(columns.t());
  wish.copy_(errors.t());
  return columns.ne(before).sum().item<int64_t>();
}

}  // namespace svq::convert
