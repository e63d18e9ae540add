// The Hessian of a linear's output error, H = E[x xᵀ] of its input: accumulation, rotation, damping, factorisation.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include "converter/quantize/quantize.h"

namespace svq::convert {

// Of an f32 tensor. Slices of it are summed, as libtorch's sums in f64 copy all that they are of.
bool all_finite(const at::Tensor& x);

// Sums x xᵀ in f32 over batches of tokens. Only the upper block triangle is computed.
class HessianAccumulator {
 public:
  explicit HessianAccumulator(int64_t columns);
  void add(const at::Tensor& x);  // [tokens, columns], any float type, on any device; it is summed on that device
  int64_t tokens() const { return tokens_; }
  // The sum so far ([columns, columns] f32; undefined when nothing was added), and going on from one.
  const at::Tensor& sum() const { return sum_; }
  void restore(const at::Tensor& sum, int64_t tokens);
  at::Tensor mean() const;  // [columns, columns] f32, symmetric, on the CPU; zeros when nothing was added

 private:
  int64_t columns_, tokens_ = 0;
  at::Tensor sum_;
};

// R diag(scale) H diag(scale) Rᵀ in f64, the Hessian of u = R (scale ⊙ x). scale: [K] f32 or undefined (ones).
at::Tensor transform_hessian(const at::Tensor& hessian, const at::Tensor& scale, const fb::Rotation& rotation);

// H = V diag(d) Vᵀ with V unit upper triangular: tr(e H eᵀ) = Σ_k d_k (e V)_k², which LDLQ minimises column by column
// in the order 0 … K−1. The same as GPTQ's feedback through the Cholesky factor of H⁻¹, without forming the inverse.
struct HessianFactor {
  at::Tensor feedback;  // [K, K] f32: Vᵀ, unit lower triangular
  at::Tensor diagonal;  // [K] f32: d
  double damping = 0;   // what was added to the diagonal, in units of its mean
};

// Adds damping · mean(diag) to the diagonal of `hessian` (f64, changed in place) and factors it. If that is not
// positive definite the damping is raised tenfold, up to 1; beyond that throws Error naming `name`.
HessianFactor factor_hessian(at::Tensor& hessian, double damping, const std::string& name);

}  // namespace svq::convert
