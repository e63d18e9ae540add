// exp(x) in f32 over a vector struct of this folder.
//
// x = n ln2 + r with |r| ≤ ln2/2 (ln2 in two parts, the first with trailing zeros, so that x − n · part is exact);
// exp(r) by the degree-7 Taylor polynomial 1 + r + … + r⁷/5040: the first omitted term, r⁸/40320, is below 8e-9 of
// exp(r), so that rounding is what remains: largest relative error over [−87, 88], measured in steps of 2e-5, 1.1e-7
// with SSE, 8e-8 with FMA. Below −87 the argument is clamped: the result is 1.6e-38 instead of a subnormal or 0. Above
// 88 it is clamped too, at 1.65e38. A NaN stays a NaN.
#pragma once
#include "kernels-neon/kernels.h"

namespace svq::kernels {
namespace {

template <class V>
inline typename V::F exp(typename V::F x) {
  using F = typename V::F;
  const F in = V::max(V::min(x, V::splat(88.0f)), V::splat(-87.0f));
  const F n = V::round(V::mul(in, V::splat(1.44269504f)));
  F r = V::sub(in, V::mul(n, V::splat(0.693359375f)));
  r = V::sub(r, V::mul(n, V::splat(-2.12194440e-4f)));
  F y = V::splat(1.0f / 5040);
  y = V::fma(y, r, V::splat(1.0f / 720));
  y = V::fma(y, r, V::splat(1.0f / 120));
  y = V::fma(y, r, V::splat(1.0f / 24));
  y = V::fma(y, r, V::splat(1.0f / 6));
  y = V::fma(y, r, V::splat(0.5f));
  y = V::fma(y, r, V::splat(1.0f));
  y = V::fma(y, r, V::splat(1.0f));
  return V::keep_nan(x, V::mul(y, V::exp2_integral(n)));
}

}  // namespace
}  // namespace svq::kernels
