// The Cholesky factorisation without a second matrix: that of 8960 columns takes 642 MB.
#pragma once
#include <ATen/core/Tensor.h>

namespace svq::convert {

// a = U Uᵀ, [K, K] f64 or f32, symmetric, row after row: U goes into the upper triangle. In blocks of kFactorBlock
// columns from the last to the first; below the blocks on the diagonal `a` stays what it was. False if it is not
// positive definite.
inline constexpr int64_t kFactorBlock = 256;
bool upper_cholesky_(at::Tensor& a);

// x ↦ x (U Uᵀ)⁻¹, [N, K] of the factor's type, with U in the upper triangle of `factor`.
at::Tensor solve_right(const at::Tensor& x, const at::Tensor& factor);

// The lower triangle from the upper one, or the other way round.
void mirror_(at::Tensor& a, bool upper_to_lower);

}  // namespace svq::convert
