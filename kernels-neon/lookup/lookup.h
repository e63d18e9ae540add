// decode_row: one row of a packed linear (an embedding): out[k] = (A_g · code_g + B_g)[k], f32 [K]: the row of Q before
// H_inᵀ and the scales.
// decode_block: the codes themselves of row block `block`, times kCodeUnit = 2⁻²⁴ and so exact in f16 [16, K]: an
// integer below 1024 is the pattern of that many units, a subnormal number. One scalar version serves every instruction
// set: the one runs once a token, on one row, and what the other decodes is then multiplied with many tokens.
#pragma once
#include "kernels-neon/kernels.h"

namespace svq::kernels {
using DecodeRowFn = void(const Packed& w, const Affine& a, uint32_t row, float* out);
using DecodeBlockFn = void(const Packed& w, uint32_t block, uint16_t* out);
namespace scalar {
DecodeRowFn decode_row;
DecodeBlockFn decode_block;
}  // namespace scalar
}  // namespace svq::kernels
