// Output side of a packed linear.
//
// dequantize     v[r] = delta · acc[r] + offset
// rotate_scale   v ← scale ⊙ Hᵀ v + bias, in place; scale [n] f16 or null (ones), bias [n] f32 or null. scratch [n].
#pragma once
#include "kernels-neon/kernels.h"

namespace svq::kernels {
using DequantizeFn = void(const int32_t* acc, float delta, float offset, uint32_t n, float* v);
using RotateScaleFn = void(float* v, const Rotation& r, const uint16_t* scale, const float* bias, uint32_t n,
                           float* scratch);
namespace scalar {
DequantizeFn dequantize;
RotateScaleFn rotate_scale;
}  // namespace scalar
namespace sse {
DequantizeFn dequantize;
RotateScaleFn rotate_scale;
}  // namespace sse
namespace avx2 {
DequantizeFn dequantize;
RotateScaleFn rotate_scale;
}  // namespace avx2
namespace avx512 {
DequantizeFn dequantize;
RotateScaleFn rotate_scale;
}  // namespace avx512
}  // namespace svq::kernels
