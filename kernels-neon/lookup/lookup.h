// One row of a packed linear (an embedding): out[k] = (A_g · code_g + B_g)[k], f32 [K]: the row of Q before H_inᵀ and
// the scales. One scalar version serves every instruction set: it runs once a token, on one row.
#pragma once
#include "kernels-neon/kernels.h"

namespace svq::kernels {
using DecodeRowFn = void(const Packed& w, const Affine& a, uint32_t row, float* out);
namespace scalar {
DecodeRowFn decode_row;
}
}  // namespace svq::kernels
