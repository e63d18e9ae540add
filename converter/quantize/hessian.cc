#include "converter/quantize/hessian.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/linalg_cholesky_ex.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <tuple>

#include "converter/base/error.h"
#include "converter/quantize/hadamard.h"
#include "converter/quantize/products.h"

namespace svq::convert {

HessianAccumulator::HessianAccumulator(int64_t columns) : columns_(columns) {}

void HessianAccumulator::add(const at::Tensor& x) {
  TORCH_CHECK(x.dim() == 2 && x.size(1) == columns_, "HessianAccumulator: expected [tokens, ", columns_, "], got ",
              x.sizes());
  const at::NoGradGuard no_grad;
  const at::Tensor f = x.to(at::kFloat);
  if (!sum_.defined()) sum_ = at::zeros({columns_, columns_}, f.options());
  add_products(f, f, sum_, /*upper=*/true);
  tokens_ += f.size(0);
}

void HessianAccumulator::restore(const at::Tensor& sum, int64_t tokens) {
  sum_ = sum;
  tokens_ = tokens;
}

at::Tensor HessianAccumulator::mean() const {
  if (tokens_ == 0) return at::zeros({columns_, columns_}, at::kFloat);
  const at::NoGradGuard no_grad;
  at::Tensor h = sum_.to(at::kCPU).triu().div_(static_cast<double>(tokens_));
  h.add_(h.triu(1).t().contiguous());
  return h;
}

at::Tensor transform_hessian(const at::Tensor& hessian, const at::Tensor& scale, const fb::Rotation& rotation) {
  at::Tensor h = hessian.to(at::kCPU).to(at::kDouble, /*non_blocking=*/false, /*copy=*/true).contiguous();
  if (scale.defined()) {
    const at::Tensor s = scale.to(at::kDouble);
    h.mul_(s.unsqueeze(0)).mul_(s.unsqueeze(1));
  }
  rotate_(h, 1, rotation, false);
  rotate_(h, 0, rotation, false);
  return h;
}

HessianFactor factor_hessian(at::Tensor& hessian, double damping, const std::string& name) {
  const int64_t columns = hessian.size(0);
  hessian = hessian.contiguous();
  at::Tensor diagonal = hessian.diagonal();
  double mean = diagonal.mean().item<double>();
  if (!(mean > 0.0)) {  // no activation reached this input: every direction counts the same
    diagonal.fill_(1.0);
    mean = 1.0;
  }
  double added = 0;
  for (double wanted = damping; wanted <= 1.0; wanted = std::max(10.0 * wanted, 1e-4)) {
    diagonal.add_((wanted - added) * mean);
    added = wanted;
    // A Cholesky factor of H with its order reversed is, reversed back, H = U Uᵀ with U upper triangular. Reversed in
    // place, and read reversed: at K = 8960 every copy would take 642 MB.
    const auto reverse = [&] {
      std::reverse(hessian.data_ptr<double>(), hessian.data_ptr<double>() + hessian.numel());
    };
    at::Tensor lower, info;
    reverse();
    std::tie(lower, info) = at::linalg_cholesky_ex(hessian);
    reverse();
    if (info.item<int>() != 0) continue;
    HessianFactor factor;
    factor.diagonal = lower.diagonal().square().flip({0}).to(at::kFloat);
    factor.feedback = at::zeros({columns, columns}, at::kFloat);
    at::parallel_for(0, columns, 16, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {  // row i of Uᵀ, over its diagonal element
        const double* column = lower.data_ptr<double>() + (columns - 1 - i) * lower.stride(1);
        const auto value = [&](int64_t j) { return column[(columns - 1 - j) * lower.stride(0)]; };
        float* out = factor.feedback.data_ptr<float>() + i * columns;
        for (int64_t j = 0; j <= i; ++j) out[j] = static_cast<float>(value(j) / value(i));
      }
    });
    if (!factor.feedback.sum().isfinite().item<bool>()) continue;
    factor.damping = added;
    return factor;
  }
  throw Error(name + ": the Hessian of the calibration activations is not positive definite even with a damping of " +
              std::to_string(added) + "; a positive semi-definite matrix was expected");
}

}  // namespace svq::convert
