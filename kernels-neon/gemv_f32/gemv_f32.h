// acc[r] = Σ_k code[r, k] · zf[k] in f32, for row blocks as in gemv/: activations not rounded, to measure what int8
// costs. zf [K], read up to K only. Each plane's sum is made of 4 partial sums by column modulo 4; planes are added
// with their weight in file order.
#pragma once
#include "kernels-neon/kernels.h"

namespace svq::kernels {
using GemvF32Fn = void(const Packed& w, const float* zf, uint32_t block_begin, uint32_t block_end, float* acc);
namespace scalar {
GemvF32Fn gemv_f32;
}
namespace sse {
GemvF32Fn gemv_f32;
}
namespace avx2 {
GemvF32Fn gemv_f32;
}
namespace avx512 {
GemvF32Fn gemv_f32;
}
}  // namespace svq::kernels
