// Rotations of schema/FORMAT.md on tensors. n = block · factor values are seen as [factor][block]: the normalised
// Hadamard matrix in Sylvester order along every run of `block` values, then (Mixed) the orthonormal DCT-II across
// runs.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>

#include "converter/quantize/quantize.h"

namespace svq::convert {

// n = 2^k · r with r odd gives block 2^k, factor r. With r = 1 the kind is Blocks: both are the same transform.
fb::Rotation make_rotation(int64_t n, RotationChoice choice);

// Rotates every vector of `x` along `dim` (0 or 1) in place. x: 2-dimensional, contiguous, f32 or f64, on the CPU.
// inverse: the transpose, which is the inverse. Kind None leaves x as it is.
void rotate_(at::Tensor& x, int64_t dim, const fb::Rotation& rotation, bool inverse);

}  // namespace svq::convert
