// Plain, slow counterparts of what converter/quantize computes, in f64 and straight from the definitions.
#pragma once
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/norm.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <numbers>

#include "converter/quantize/quantize.h"
#include "converter/quantize/random.h"

namespace svq::convert::test {

inline at::Tensor normal(std::vector<int64_t> shape, const char* name, uint64_t seed = 1) {
  NamedRandom random(seed, name);
  at::Tensor x = at::empty(shape, at::kFloat);
  for (int64_t i = 0; i < x.numel(); ++i) x.data_ptr<float>()[i] = static_cast<float>(random.normal());
  return x;
}

// Activations with a decaying spectrum and a few loud channels, as in a language model. [tokens, columns]
inline at::Tensor correlated_activations(int64_t tokens, int64_t columns, uint64_t seed = 1) {
  const int64_t latent = columns;
  at::Tensor spectrum = at::arange(1, latent + 1, at::kFloat).pow(-0.9);
  at::Tensor x = at::mm(normal({tokens, latent}, "latent", seed) * spectrum, normal({latent, columns}, "mixing", seed));
  x.add_(normal({tokens, columns}, "noise", seed), 0.05);
  x.narrow(1, columns / 3, 2).mul_(12.0);
  return x;
}

inline at::Tensor mean_hessian(const at::Tensor& x) { return at::mm(x.t(), x).div_(static_cast<double>(x.size(0))); }

// ‖a − b‖ / ‖b‖
inline double relative_difference(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor x = a.to(at::kDouble), y = b.to(at::kDouble);
  return (x - y).norm().item<double>() / std::max(1e-30, y.norm().item<double>());
}

// The matrix of a rotation, entry by entry: H_ij = (−1)^popcount(i & j) / sqrt(block), DCT-II across the blocks.
inline at::Tensor dense_rotation(const fb::Rotation& r, int64_t n) {
  at::Tensor out = at::zeros({n, n}, at::kDouble);
  if (r.kind() == fb::RotationKind::None) return at::eye(n, at::kDouble);
  const int64_t block = r.block(), factor = r.factor();
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      const int64_t fi = i / block, fj = j / block;
      double across = fi == fj;
      if (r.kind() == fb::RotationKind::Mixed) {
        across =
            std::sqrt((fi == 0 ? 1.0 : 2.0) / factor) *
            std::cos(std::numbers::pi * static_cast<double>((2 * fj + 1) * fi) / (2.0 * static_cast<double>(factor)));
      }
      const bool odd = std::popcount(static_cast<uint64_t>((i % block) & (j % block))) & 1;
      out.data_ptr<double>()[i * n + j] = across * (odd ? -1.0 : 1.0) / std::sqrt(static_cast<double>(block));
    }
  }
  return out;
}

// Ŵ = diag(s_out) H_outᵀ Q H_in diag(s_in), with Q spelt out code by code.
inline at::Tensor dense_linear(const QuantizedGroup& group, size_t index) {
  const QuantizedLinear& l = group.linears.at(index);
  const AffineMapsData& maps = group.maps.at(l.affine);
  const int d = maps.dim;
  at::Tensor q = at::zeros({l.rows, l.columns}, at::kDouble);
  for (int64_t r = 0; r < l.rows; ++r) {
    for (int64_t k = 0; k < l.columns; ++k) {
      const int64_t map = maps.columns_per_map > 0 ? k / maps.columns_per_map : 0, first = k / d * d;
      double v = maps.b[map][k - first].item<float>();
      for (int64_t i = 0; i < d && first + i < l.columns; ++i) {
        v += double{maps.a[map][k - first][i].item<float>()} * l.codes.data_ptr<uint8_t>()[r * l.columns + first + i];
      }
      q.data_ptr<double>()[r * l.columns + k] = v;
    }
  }
  at::Tensor w =
      at::mm(dense_rotation(l.output_rotation, l.rows).t(), at::mm(q, dense_rotation(group.rotation, l.columns)));
  if (l.out_scale.defined()) w.mul_(l.out_scale.to(at::kDouble).unsqueeze(1));
  if (group.in_scale.defined()) w.mul_(group.in_scale.to(at::kDouble).unsqueeze(0));
  return w;
}

// tr((Ŵ−W) H (Ŵ−W)ᵀ) / tr(W H Wᵀ)
inline double relative_error(const at::Tensor& quantized, const at::Tensor& weight, const at::Tensor& hessian) {
  const at::Tensor w = weight.to(at::kDouble), h = hessian.to(at::kDouble), e = quantized.to(at::kDouble) - w;
  return (at::mm(e, h) * e).sum().item<double>() / (at::mm(w, h) * w).sum().item<double>();
}

inline double largest(const at::Tensor& x) { return x.abs().max().item<double>(); }

}  // namespace svq::convert::test
