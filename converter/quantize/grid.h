// The affine integer lattice: codes c in {0 … 2^bits − 1}^d stand for A c + B, one map for all columns or one per
// block.
//
// Code units. With e_g = A_g ε_g for every group, tr(e H eᵀ) = tr(ε H' εᵀ) where H' = diag(A_g)ᵀ H diag(A_g). So a
// target t is quantized onto any invertible A by quantizing A⁻¹ (t − B) onto plain integers under H': LDLQ, descent and
// rounding know integers only, and sequential feedback inside a group is Babai's nearest plane in the metric of H.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include "converter/quantize/quantize.h"

namespace svq::convert {

at::Tensor round_to_f16(const at::Tensor& x);  // f32 values that f16 holds exactly

// Step of the 2^bits-level uniform quantizer of least squared error for a unit normal variable (J. Max, 1960).
double closed_form_step(int bits);

// G [d, d] f32, rounded to f16: the identity, or a random orthogonal matrix fixed by (seed, name).
at::Tensor lattice_basis(const QuantizeOptions& options, const std::string& name);

// A = magnitude · G, B = −A · ((2^bits − 1) / 2) · 1, rounded to f16. magnitude: a power of two, so that A loses
// nothing.
AffineMapsData make_maps(const at::Tensor& basis, double magnitude, int bits, int64_t columns, int columns_per_map);

// True if every map is the same multiple of the identity with one offset.
bool is_scalar(const AffineMapsData& maps);

// Targets [n, K] divided by row_scale [n] (0 gives 0), in code units, transposed: [K, n] contiguous.
// Maps that are not scalar need K to be a multiple of d.
at::Tensor to_code_units(const at::Tensor& targets, const at::Tensor& row_scale, const AffineMapsData& maps);

// H' above, in the type of `hessian`; scalar maps give H itself, since a factor changes no choice of codes.
at::Tensor to_code_units(const at::Tensor& hessian, const AffineMapsData& maps);

// A c + B: codes [n, K] u8 → [n, K] f32.
at::Tensor decode(const at::Tensor& codes, const AffineMapsData& maps);

// The codeword nearest to each target in Euclidean distance, for any invertible A: targets [m, d], a [d, d], b [d],
// f32; returns [m, d] u8. Exact: Babai's point, then a search of the lattice within its distance (Schnorr-Euchner
// 1994). Throws Error if A is singular.
at::Tensor nearest_codes(const at::Tensor& targets, const at::Tensor& a, const at::Tensor& b, int bits);

}  // namespace svq::convert
