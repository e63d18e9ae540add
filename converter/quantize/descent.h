// Coordinate descent on the weighted error tr((w − c) H (w − c)ᵀ) over integer codes, one column at a time.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>

namespace svq::convert {

// One pass over all columns. hessian: [K, K] f32, symmetric, positive diagonal. errors: [K, n] f32, w − c in code
// units, and codes: [K, n] u8, both contiguous and updated together. Returns the number of codes that moved; the
// weighted error never grows.
int64_t descend_(at::Tensor& errors, at::Tensor& codes, const at::Tensor& hessian, int bits);

// tr(e H eᵀ) by rows: [n] f64.
at::Tensor weighted_error(const at::Tensor& errors, const at::Tensor& hessian);

}  // namespace svq::convert
