// The differentiable pieces of a packed linear (schema/FORMAT.md), each one fused pass over the tokens:
//   u = H (scale ⊙ x);   z_g = A_gᵀ u_g, beta = Σ_g B_g·u_g;   acc = z Cᵀ;   y = out_scale ⊙ H_outᵀ (acc + beta 1)
// C: codes, centred on 0. All tensors f32 on the CPU; sums over tokens are taken in an order that does not depend on
// the number of threads.
#pragma once
#include <ATen/ATen.h>

#include <cstdint>

#include "svq_generated.h"

namespace svq::convert {

// u = H (scale ⊙ x); inverse: scale ⊙ Hᵀ x. x [T, K]; scale [K]; both may want gradients. Kind None: no rotation.
at::Tensor scale_and_rotate(const at::Tensor& x, const at::Tensor& scale, const fb::Rotation& rotation, bool inverse);

// u [T, K] → z [T, K] and beta [T]. a [G, d, d], b [G, d]: map g serves columns_per_map columns (0: all).
struct Affine {
  at::Tensor z, beta;
};
Affine apply_maps(const at::Tensor& u, const at::Tensor& a, const at::Tensor& b, int64_t columns_per_map);

// acc [T, N] = z Cᵀ. codes [N, K]: code − (2^bits − 1) / 2, in f32 or bf16, a constant; in bf16 with f32 sums if they
// are.
at::Tensor code_product(const at::Tensor& z, const at::Tensor& codes);

// y = out_scale ⊙ H_outᵀ (acc + beta 1). acc [T, N], beta [T], out_scale [N].
at::Tensor rotate_output(const at::Tensor& acc, const at::Tensor& beta, const at::Tensor& out_scale,
                         const fb::Rotation& rotation);

}  // namespace svq::convert
