#include "converter/quantize/hessian.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>

#include "converter/base/error.h"
#include "converter/quantize/cholesky.h"
#include "converter/quantize/hadamard.h"
#include "converter/quantize/products.h"

namespace svq::convert {

bool all_finite(const at::Tensor& x) {
  constexpr int64_t kElements = int64_t{1} << 20;
  const at::Tensor flat = x.reshape({-1});
  // A sum is finite only if every term is (or it overflows, which f64 does not with f32 terms).
  for (int64_t begin = 0; begin < flat.numel(); begin += kElements) {
    const at::Tensor slice = flat.narrow(0, begin, std::min(kElements, flat.numel() - begin));
    if (!std::isfinite(slice.sum(at::kDouble).item<double>())) return false;
  }
  return true;
}

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
  at::Tensor h = sum_.to(at::kCPU, at::kFloat, /*non_blocking=*/false, /*copy=*/true);
  mirror_(h, /*upper_to_lower=*/true);
  return h.div_(static_cast<double>(tokens_));
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

namespace {

// Blocks on the diagonal, which the factorisation overwrites as a whole: [K, kFactorBlock].
at::Tensor corners_of(const at::Tensor& a) {
  const int64_t n = a.size(0);
  at::Tensor corners = at::empty({n, std::min(n, kFactorBlock)}, a.options());
  for (int64_t begin = 0; begin < n; begin += kFactorBlock) {
    const int64_t size = std::min(kFactorBlock, n - begin);
    corners.narrow(0, begin, size).narrow(1, 0, size).copy_(a.narrow(0, begin, size).narrow(1, begin, size));
  }
  return corners;
}

void restore_(at::Tensor& a, const at::Tensor& corners) {
  const int64_t n = a.size(0);
  for (int64_t begin = 0; begin < n; begin += kFactorBlock) {
    const int64_t size = std::min(kFactorBlock, n - begin);
    a.narrow(0, begin, size).narrow(1, begin, size).copy_(corners.narrow(0, begin, size).narrow(1, 0, size));
  }
  mirror_(a, /*upper_to_lower=*/false);
}

// Row i of Uᵀ over its diagonal element, U in the upper triangle.
at::Tensor unit_transposed(const at::Tensor& upper) {
  constexpr int64_t kTile = 16;  // columns of U that share cache lines
  const int64_t n = upper.size(0);
  at::Tensor out = at::zeros({n, n}, at::kFloat);
  const double* u = upper.data_ptr<double>();
  float* to = out.data_ptr<float>();
  at::parallel_for(0, (n + kTile - 1) / kTile, 1, [&](int64_t first, int64_t last) {
    for (int64_t tile = first; tile < last; ++tile) {
      const int64_t begin = tile * kTile, end = std::min(n, begin + kTile);
      for (int64_t j = 0; j < end; ++j) {
        for (int64_t i = std::max(begin, j); i < end; ++i)
          to[i * n + j] = static_cast<float>(u[j * n + i] / u[i * n + i]);
      }
    }
  });
  return out;
}

}  // namespace

HessianFactor factor_hessian(at::Tensor& hessian, double damping, const std::string& name) {
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
    const at::Tensor corners = corners_of(hessian);
    HessianFactor factor;
    const bool positive = upper_cholesky_(hessian);
    if (positive) {
      factor.diagonal = hessian.diagonal().square().to(at::kFloat);
      factor.feedback = unit_transposed(hessian);
    }
    restore_(hessian, corners);
    if (!positive || !factor.feedback.sum().isfinite().item<bool>()) continue;
    factor.damping = added;
    return factor;
  }
  throw Error(name + ": the Hessian of the calibration activations is not positive definite even with a damping of " +
              std::to_string(added) + "; a positive semi-definite matrix was expected");
}

}  // namespace svq::convert
