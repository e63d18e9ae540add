// Sums of products over tokens, aᵀ b in f32: what Hessians are made of, and where a conversion of a wide model spends
// most of its time.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>

namespace svq::convert {

// sum [M, N] f32 += aᵀ b; a [T, M], b [T, N] f32, all on one device. upper: only blocks that touch the upper triangle
// are sure to be added (a and b alike, M = N). Where bf16_products.h has products for this CPU, a and b are rounded to
// bfloat16, the sums are f32: the rounded values' own moments, exactly positive semi-definite, where a sum rounded to
// bfloat16 would not be.
void add_products(const at::Tensor& a, const at::Tensor& b, at::Tensor& sum, bool upper);

// The same without rounding, for tests.
void add_products_f32(const at::Tensor& a, const at::Tensor& b, at::Tensor& sum, bool upper);

}  // namespace svq::convert
