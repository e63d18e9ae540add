// rmsnorm    y = weight ⊙ x / sqrt(mean(x²) + eps); weight f32 or null (ones); the mean accumulates in f64; y may be x.
// rope       half-split rotary embedding of one head, i < head_dim/2: (a, b) = (head[i], head[i + head_dim/2]) becomes
//            (a cos[i] − b sin[i], b cos[i] + a sin[i]).
// silu_mul   y = gate / (1 + exp(−gate)) · up; y may be gate or up. exp as in simd/exp.h.
// add        x += y
// axpby      x += a · y
#pragma once
#include "kernels-neon/kernels.h"

namespace svq::kernels {
using RmsnormFn = void(const float* x, const float* weight, float eps, uint32_t n, float* y);
using RopeFn = void(float* head, const float* cos, const float* sin, uint32_t head_dim);
using SiluMulFn = void(const float* gate, const float* up, uint32_t n, float* y);
using AddFn = void(float* x, const float* y, uint32_t n);
using AxpbyFn = void(float* x, const float* y, float a, uint32_t n);
namespace scalar {
RmsnormFn rmsnorm;
RopeFn rope;
SiluMulFn silu_mul;
AddFn add;
AxpbyFn axpby;
}  // namespace scalar
namespace sse {
RmsnormFn rmsnorm;
RopeFn rope;
SiluMulFn silu_mul;
AddFn add;
AxpbyFn axpby;
}  // namespace sse
namespace avx2 {
RmsnormFn rmsnorm;
RopeFn rope;
SiluMulFn silu_mul;
AddFn add;
AxpbyFn axpby;
}  // namespace avx2
namespace avx512 {
RmsnormFn rmsnorm;
RopeFn rope;
SiluMulFn silu_mul;
AddFn add;
AxpbyFn axpby;
}  // namespace avx512
}  // namespace svq::kernels
