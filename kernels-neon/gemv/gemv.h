// acc[r] = Σ_k code[r, k] · z[k], the sum over all planes with their weights, for the 16-row blocks
// [block_begin, block_end); acc points at row 16 · block_begin. Padding rows give 0. Codes: schema/packing.h.
//
// z [Kpad] is zero beyond K; any value of int8 is allowed, -128 too. Kpad ≤ 65536: then |acc| ≤ 255 · 128 · 65536 and
// every intermediate below fit in int32. Exact on every instruction set.
//
// Kernels extract a crumb either by mask alone, which leaves the code times 4^p (divided out of the int32 sum at the
// end, exactly), or by shift and mask; each says which and why its accumulators cannot overflow.
#pragma once
#include "kernels-neon/kernels.h"

namespace svq::kernels {
using GemvFn = void(const Packed& w, const int8_t* z, uint32_t block_begin, uint32_t block_end, int32_t* acc);
namespace scalar {
GemvFn gemv;
}
namespace neon {
GemvFn gemv;
}
namespace dotprod {
GemvFn gemv;
}
namespace avx2 {
GemvFn gemv;
}
namespace avxvnni {
GemvFn gemv;
}
namespace avx512 {
GemvFn gemv;
GemvFn gemv_one_stream;  // for AMD's CPUs
}  // namespace avx512
}  // namespace svq::kernels
