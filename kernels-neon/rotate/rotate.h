// Rotation of a vector of n = block · factor values, in place.
//
// x is viewed as [factor][block]. forward: every row by the Hadamard matrix of size `block` in natural (Sylvester)
// order divided by sqrt(block); then, for kind 2, y[i][:] = Σ_j mix[i][j] x[j][:] with the orthonormal DCT-II. inverse:
// the transpose, that is mixᵀ first, then the same Hadamard, which is its own inverse. kind 0 leaves x alone.
//
// Order: each value is multiplied by 1/sqrt(block) first, then the butterflies run h = 1, 2, 4, …; there is nothing to
// fuse, so the Hadamard part is bit-identical on every instruction set. The mix uses the DCT's symmetry
// (row i is even in j for even i, odd for odd i), which halves its multiplications; its sums are f32.
//
// scratch: [n] floats for kind 2; unused otherwise.
#pragma once
#include "kernels-neon/kernels.h"

namespace svq::kernels {
using RotateFn = void(float* x, const Rotation& r, bool inverse, float* scratch);

// What stands around a rotation, in the same passes: x = out_scale ⊙ R (in_scale ⊙ from) + bias, n values. Scales are
// f16 or null (ones), bias f32 or null; from may be x.
struct RotateEnds {
  const float* from;
  const uint16_t* in_scale = nullptr;
  const uint16_t* out_scale = nullptr;
  const float* bias = nullptr;
};
using RotateEndsFn = void(float* x, const Rotation& r, uint32_t n, bool inverse, const RotateEnds& ends,
                          float* scratch);

namespace scalar {
RotateFn rotate;
}
namespace sse {
RotateFn rotate;
RotateEndsFn rotate_ends;
}  // namespace sse
namespace avx2 {
RotateFn rotate;
RotateEndsFn rotate_ends;
}  // namespace avx2
namespace avx512 {
RotateFn rotate;
RotateEndsFn rotate_ends;
}  // namespace avx512
}  // namespace svq::kernels
