// Moving codes end to end. The loss as a function of one row c of a linear's codes, others fixed, is modelled by
//   L(c + Δ) ≈ L(c) + g·Δ + ½ h Δ H Δᵀ
// with g the gradient, H = E[z zᵀ] of the activations that meet the codes, and h the mean squared gradient of the row's
// output (Gauss-Newton with the Kronecker approximation of Martens, Grosse 2015). Its minimum over real Δ is
// −g H⁻¹ / h; over integers the same coordinate descent as at quantization finds a near one: few codes move, where the
// model predicts the largest gain, and each move takes the others into account through H.
#pragma once
#include <ATen/ATen.h>

#include <cstdint>

namespace svq::convert {

struct CodeStep {
  double size = 1.0;     // of the step towards the model's minimum
  double damping = 0.1;  // added to H, of its mean diagonal
  int passes = 2;        // of coordinate descent
};

// codes [N, K] u8, changed in place; gradient [N, K] f32 of the mean loss; curvature [N] f64: h; hessian [K, K] f32;
// wish [N, K] f32: what earlier rounds wanted and codes could not follow, in code units; updated. Returns moved codes.
int64_t move_codes(at::Tensor& codes, at::Tensor& wish, const at::Tensor& gradient, const at::Tensor& curvature,
                   const at::Tensor& hessian, int bits, const CodeStep& step);

}  // namespace svq::convert
