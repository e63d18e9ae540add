// The differentiable pieces of a packed linear (schema/FORMAT.md), each one fused pass over the tokens:
//   u = H (scale ⊙ x);   z_g = A_gᵀ u_g, beta = Σ_g B_g·u_g;   acc = z Cᵀ;   y = out_scale ⊙ H_outᵀ (acc + beta 1)
// C: codes, centred on 0. On the CPU; all f32 but z and acc, which have the type of C (f32 or bf16, with their
// gradients). Sums are f32, over tokens in an order that does not depend on the number of threads.
#pragma once
#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

#include "svq_generated.h"

namespace svq::convert {

// scale ⊙ Hᵀ u. u [T, K]; scale [K]; both may want gradients. Kind None: no rotation.
at::Tensor rotate_back(const at::Tensor& u, const at::Tensor& scale, const fb::Rotation& rotation);

// a [G, d, d], b [G, d]: map g serves columns_per_map columns (0: all).
struct AffineMaps {
  at::Tensor a, b;
  int64_t columns_per_map = 0;
};
// z [T, K] and beta [T].
struct Affine {
  at::Tensor z, beta;
};
// u of x [T, K] and scale [K], and z, beta of each of the maps. z in f32 or bf16.
std::vector<Affine> transform_input(const at::Tensor& x, const at::Tensor& scale, const fb::Rotation& rotation,
                                    const std::vector<AffineMaps>& maps, at::ScalarType type);

// acc [T, N] = z Cᵀ. codes [N, K]: code − (2^bits − 1) / 2, a constant.
at::Tensor code_product(const at::Tensor& z, const at::Tensor& codes);

// y [T, N] = x Wᵀ for x [T, K] in f32; weight [N, K] may want gradients. `rounded` is x in the type of the products,
// f32 or bf16 with f32 sums, and what is kept for the backward pass: linears that read the same x share it.
at::Tensor float_product(const at::Tensor& x, const at::Tensor& rounded, const at::Tensor& weight);

// y = out_scale ⊙ H_outᵀ (acc + beta 1). acc [T, N], beta [T], out_scale [N].
at::Tensor rotate_output(const at::Tensor& acc, const at::Tensor& beta, const at::Tensor& out_scale,
                         const fb::Rotation& rotation);

}  // namespace svq::convert
