// LDLQ: quantize column after column, feeding the error of the earlier ones into the later ones (QuIP, arXiv
// 2307.13304; the same as GPTQ). Blocks of 128 columns between matrix products.
#pragma once
#include <ATen/core/Tensor.h>

#include "converter/quantize/hessian.h"

namespace svq::convert {

// values: [K, n] f32 contiguous, the targets in code units, transposed; on return the errors w − c.
// codes: [K, n] u8 contiguous, overwritten with integers 0 … 2^bits − 1.
void ldlq_(at::Tensor& values, at::Tensor& codes, const HessianFactor& factor, int bits);

// The same without feedback: the nearest code of every value on its own.
void round_(at::Tensor& values, at::Tensor& codes, int bits);

}  // namespace svq::convert
