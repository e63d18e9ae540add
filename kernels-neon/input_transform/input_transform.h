// Input side of a packed linear, split in two because linears that read the same x share the first half.
//
// scale_rotate      u = H (scale ⊙ x); scale [n] f16, or null for ones; u may be x. scratch [n].
// affine_quantize   for every group g of `dim` columns: z_g = A_gᵀ u_g (z[j] = Σ_i A[i][j] u[i]), beta = Σ_g B_g · u_g;
//                   delta = max|z| / 127; q.z[k] = round to nearest even of z[k] · (127 / max|z|), zero from n up to
//                   padded_columns(n). zf [n] receives z in f32. lost = Σ_k (z[k] − delta · q.z[k]): with m the middle
//                   of the codes, Σ_k code[k] z[k] ≈ delta · Σ_k code[k] q.z[k] + m · lost, where rounding errors meet
//                   code − m alone. Without that term they meet all of the code: at 2 bits 3.5 times the error's
//                   energy, at 4 bits 7 times, and the same in every row.
//   max|z| < 2^-100  counts as all zeros (127 / max would overflow): q.z = 0, delta = 0, lost = 0.
//   z not finite     q.z = 0, delta = NaN, so that every output shows it; lost = 0.
// dim is 4 or 8 and divides n and columns_per_map. Sums are f32.
#pragma once
#include "kernels-neon/kernels.h"

namespace svq::kernels {
inline constexpr float kQuantizeFloor = 0x1p-100f;
using ScaleRotateFn = void(const float* x, const uint16_t* scale, const Rotation& r, uint32_t n, float* u,
                           float* scratch);
using AffineQuantizeFn = void(const float* u, const Affine& a, uint32_t n, float* zf, Quantized* q);
namespace scalar {
ScaleRotateFn scale_rotate;
AffineQuantizeFn affine_quantize;
}  // namespace scalar
namespace sse {
ScaleRotateFn scale_rotate;
AffineQuantizeFn affine_quantize;
}  // namespace sse
namespace avx2 {
ScaleRotateFn scale_rotate;
AffineQuantizeFn affine_quantize;
}  // namespace avx2
namespace avx512 {
ScaleRotateFn scale_rotate;
AffineQuantizeFn affine_quantize;
}  // namespace avx512
}  // namespace svq::kernels
